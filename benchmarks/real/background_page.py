"""The tables on background and bird of docs/REAL.md, from docs/real/background*.csv.

Shares are quotients of means: the mean fall without the background over the mean fall
without the whole picture, of the same replacement. The unit of the score cancels, so
that ranks can be compared. NumPy only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.real.names import STEP
from benchmarks.real.removal import HOWS, PARTS
from hiercam_keras import tables
from hiercam_keras.experiments.results import Cell
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate

Columns = dict[str, list[str]]
Markdown = Callable[[Sequence[str], Sequence[Sequence[Cell]]], str]
WAYS = {
    "blur": "blurred",
    "mean": "of one color",
    "other": "of another photograph",
}
# (score, rank) -> in words, in the order of the tables. The order of its own and as a
# step is one score; so are the genera and species of all taxa that are asked.
QUESTIONS = {
    ("log_odds", "order"): "order, own rank and step",
    ("log_odds", "family"): "family, own rank",
    ("log_odds", "species"): "species, own rank",
    ("step", "family"): "step to family",
    ("step", "genus"): "step to genus",
}
MARGINALS = {
    ("marginal", rank): f"{rank}, marginal" for rank in ("order", "family", "species")
}
# Pairs that are compared on the same photographs; the first one is the question.
PAIRS = (
    (("step", "family"), ("step", "genus")),
    (("log_odds", "order"), ("step", "family")),
    (("log_odds", "family"), ("log_odds", "species")),
    (("step", "family"), ("log_odds", "family")),
)
MAP_PAIRS = (
    (STEP + "family", STEP + "genus"),
    (STEP + "order", STEP + "family"),
    ("family", "species"),
    (STEP + "family", "family"),
)


@dataclass(frozen=True)
class Falls:
    """Falls of one score at one rank.

    Attributes:
      photographs, species: (N,) text.
      of: "<part>_<how>" -> float64 (N,), nats.
    """

    photographs: np.ndarray
    species: np.ndarray
    of: Mapping[str, np.ndarray]

    def take(self, kept: np.ndarray) -> "Falls":
        """The falls of some photographs."""
        of = {name: values[kept] for name, values in self.of.items()}
        return Falls(self.photographs[kept], self.species[kept], of)

    def both(self, other: "Falls") -> tuple["Falls", "Falls"]:
        """The photographs that two have, in one order."""
        _, mine, theirs = np.intersect1d(
            self.photographs, other.photographs, return_indices=True
        )
        return self.take(mine), other.take(theirs)


def share(part: np.ndarray, whole: np.ndarray, groups: np.ndarray) -> Estimate:
    """sum(part)/sum(whole), groups resampled; unknown where the whole does not fall."""
    if not whole.sum() > 0:
        return Estimate(float("nan"), n=len(whole), groups=len(np.unique(groups)))
    columns = np.stack([part, whole], 1)
    return resampling.of_sums(
        columns, groups, lambda sums: sums[:, 0] / sums[:, 1], weights=np.abs(whole)
    )


def difference(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
) -> Estimate:
    """Share of the first (part, whole) minus that of the second, on the same pictures.

    p is that of a sign-flip test over groups, of each picture's parts over the mean
    falls without the whole picture, which are held.
    """
    (a, whole_a), (b, whole_b) = first, second
    columns = np.stack([a, whole_a, b, whole_b], 1)
    found = resampling.of_sums(
        columns, groups, lambda s: s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3]
    )
    delta = a / whole_a.mean() - b / whole_b.mean()
    p = statistics.sign_flip_test(delta, groups)
    return Estimate(found.value, found.low, found.high, found.n, found.groups, p)


def read(columns: Columns, asked: str) -> dict[tuple[str, str], Falls]:
    """(score, rank) -> its falls, of background_<network>.csv."""
    who, score, rank = (np.array(columns[n]) for n in ("asked", "score", "rank"))
    names = [f"{part}_{how}" for part, hows in PARTS.items() for how in hows]
    values = {name: np.array(columns[name], float) for name in names}
    photographs, species = (np.array(columns[n]) for n in ("photograph", "species"))
    everything = Falls(photographs, species, values)
    mine = who == asked
    keys = zip(score[mine].tolist(), rank[mine].tolist(), strict=True)
    return {
        key: everything.take(mine & (score == key[0]) & (rank == key[1]))
        for key in dict.fromkeys(keys)
    }


def falls(columns: Columns, markdown: Markdown) -> str:
    """Falls without background and bird, and with as much elsewhere."""
    found = read(columns, "predicted")
    rows, tests = [], []
    for key, words in QUESTIONS.items():
        own = found[key]
        for how in HOWS:
            cells = {
                part: resampling.mean(own.of[f"{part}_{how}"], own.species)
                if how in PARTS[part]
                else ""
                for part in PARTS
            }
            background, elsewhere = (
                own.of[f"{part}_{how}"] for part in ("background", "elsewhere")
            )
            tests.append(statistics.sign_flip_test(background, own.species))
            tests.append(statistics.sign_flip_test(background - elsewhere, own.species))
            rows.append([words, WAYS[how], len(own.species), *cells.values()])
    adjusted = statistics.holm(tests).reshape(-1, 2)
    rows = [
        (*row[:4], _p(own), row[4], _p(control), *row[5:])
        for row, (own, control) in zip(rows, adjusted, strict=True)
    ]
    header = (
        "score",
        "replaced pixels are",
        "photographs",
        "background",
        "p, not 0",
        "as much elsewhere",
        "p, not alike",
        "bird",
        "as much elsewhere",
        "whole picture",
    )
    return markdown(header, rows)


def shares(columns: Columns, markdown: Markdown, asked: str = "predicted") -> str:
    """The background's share of the fall, by score and replacement."""
    found = read(columns, asked)
    rows = []
    for key, words in (QUESTIONS | MARGINALS).items():
        own = found.get(key)
        if own is None:
            continue
        rows.append(
            (
                words,
                len(own.species),
                *(
                    share(
                        own.of[f"background_{how}"], own.of[f"all_{how}"], own.species
                    )
                    for how in HOWS
                ),
            )
        )
    return markdown(("score", "photographs", *WAYS.values()), rows)


def comparisons(networks: Mapping[str, Columns], markdown: Markdown) -> str:
    """Differences of shares, paired; Holm's correction over each network's."""
    rows = []
    for name, columns in networks.items():
        found = read(columns, "predicted")
        mine = []
        for first, second in PAIRS:
            a, b = found[first].both(found[second])
            for how in HOWS:
                parts = [
                    (one.of[f"background_{how}"], one.of[f"all_{how}"])
                    for one in (a, b)
                ]
                each = [share(*pair, a.species) for pair in parts]
                mine.append(
                    [
                        name,
                        f"{QUESTIONS[first]} minus {QUESTIONS[second]}",
                        WAYS[how],
                        len(a.species),
                        *(one.value for one in each),
                        difference(*parts, a.species),
                    ]
                )
        adjusted = statistics.holm([row[-1].p for row in mine])
        rows += [(*row, _p(p)) for row, p in zip(mine, adjusted, strict=True)]
    header = (
        "network",
        "background's share of the fall",
        "replaced pixels are",
        "photographs",
        "first",
        "second",
        "difference",
        "p (Holm)",
    )
    return markdown(header, rows)


def maps(columns: Columns, markdown: Markdown) -> str:
    """Energy outside the box of each method and map."""
    rows = []
    for (method, layer), own in _methods(columns).items():
        for name in dict.fromkeys(own["map"]):
            here = own["map"] == name
            outside, area, species = (
                own[column][here] for column in ("outside", "area", "species")
            )
            known = np.isfinite(outside)
            gains = (
                resampling.mean(own[gain][here], species)
                for gain in ("deletion_gain", "insertion_gain")
            )
            rows.append(
                (
                    f"{method} at {layer}",
                    _words(name),
                    int(known.sum()),
                    resampling.mean(outside, species),
                    float(area[known].mean()),
                    resampling.lift(outside, np.where(known, area, np.nan), species),
                    *(gain if gain.n else "" for gain in gains),
                )
            )
    header = (
        "maps",
        "of",
        "photographs",
        "energy outside the box",
        "area outside",
        "lift",
        "deletion gain",
        "insertion gain",
    )
    return markdown(header, rows)


def map_comparisons(columns: Columns, markdown: Markdown) -> str:
    """Differences of the energy outside the box, paired; Holm over the table."""
    rows: list[list[Cell]] = []
    tests = []
    for (method, layer), own in _methods(columns).items():
        by_name = {name: own["map"] == name for name in dict.fromkeys(own["map"])}
        for first, second in MAP_PAIRS:
            a, b = (own["outside"][by_name[name]] for name in (first, second))
            species = own["species"][by_name[first]]
            found = statistics.paired_difference(a, b, species)
            tests.append(found.p_value)
            rows.append(
                [
                    f"{method} at {layer}",
                    f"{_words(first)} minus {_words(second)}",
                    found.count,
                    resampling.difference(a, b, species),
                ]
            )
    adjusted = statistics.holm(tests)
    header = ("maps", "energy outside the box", "photographs", "difference", "p (Holm)")
    return markdown(
        header, [(*row, _p(p)) for row, p in zip(rows, adjusted, strict=True)]
    )


def made(folder: Path, markdown: Markdown) -> dict[str, str]:
    """The tables by name, of the CSV files in `folder`."""
    networks = {
        path.stem.removeprefix("background_"): tables.read_csv(path)
        for path in sorted(folder.glob("background_lite*.csv"))
    }
    main = networks["lite0"]
    energies = tables.read_csv(folder / "background_maps.csv")
    return {
        "background-falls": falls(main, markdown),
        "background-shares": shares(main, markdown),
        "background-true": shares(main, markdown, "true"),
        "background-comparisons": comparisons(networks, markdown),
        "background-maps": maps(energies, markdown),
        "background-map-comparisons": map_comparisons(energies, markdown),
    }


def _methods(columns: Columns) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Method and layer -> its columns."""
    numbers = ("outside", "area", "deletion_gain", "insertion_gain")
    arrays = {
        name: np.array([float(cell or "nan") for cell in cells])
        if name in numbers
        else np.array(cells)
        for name, cells in columns.items()
    }
    keys = zip(columns["method"], columns["layer"], strict=True)
    return {
        key: {
            name: values[(arrays["method"] == key[0]) & (arrays["layer"] == key[1])]
            for name, values in arrays.items()
        }
        for key in dict.fromkeys(keys)
    }


def _words(name: str) -> str:
    return f"step to {name.removeprefix(STEP)}" if name.startswith(STEP) else name


def _p(value: float) -> str:
    return "" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
