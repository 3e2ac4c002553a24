"""The tables of docs/REAL.md, from docs/real/*.csv.

    python -m benchmarks.real.page

What is between `<!-- table: name -->` and `<!-- end -->` is replaced; the words around
the tables are a person's. Neither photographs nor weights are needed.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.real import background_page
from benchmarks.real.names import QUESTIONS, RANKS, STEP, elsewhere, pair, pairs
from hiercam_keras import tables, workdir
from hiercam_keras.experiments import results
from hiercam_keras.experiments.results import Cell
from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.resampling import Estimate

DOCS = Path(__file__).parents[2] / "docs"
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
Columns = dict[str, list[str]]


def render(text: str, found: dict[str, str]) -> str:
    """A page with its tables replaced by those of `found`, name -> Markdown.

    Raises:
      KeyError: the page names a table that there is not.
    """
    return _TABLE.sub(
        lambda match: f"{match[1]}{found[match[2]]}\n{match[3]}",
        text,
    )


def made(folder: Path) -> dict[str, str]:
    """Every table by name, of the CSV files in `folder`."""
    maps = tables.read_csv(folder / "maps.csv")
    folds = tables.read_csv(folder / "folds.csv")
    return {
        "answers": answers(maps),
        "agreement": agreement(maps),
        "boxes": boxes(maps),
        "folds": accuracy(folds),
        "differences": differences(folds),
        "orders": by_order(folds),
        **background_page.made(folder, markdown),
    }


def answers(maps: Columns) -> str:
    """How often the network is right, of the photographs that it can be right on."""
    rows = []
    for rank in RANKS:
        true, found = (np.array(maps[f"{rank}_{name}"]) for name in ("true", "answer"))
        known = true != ""
        hits = (true == found)[known]
        species = np.array(maps["species"])[known]
        rows.append(
            (
                rank,
                int(known.sum()),
                len(set(true[known])),
                int(hits.sum()),
                resampling.share(hits, species),
            )
        )
    header = ("rank", "photographs", "taxa", "right", "share right")
    return markdown(header, rows)


def agreement(maps: Columns) -> str:
    """Correlation of the maps of two ranks, and of two steps."""
    rows = []
    for two in pairs():
        values = _numbers(maps[pair(two)])
        kind = "steps" if two[0].startswith(STEP) else "maps"
        names = " and ".join(name.removeprefix(STEP) for name in two)
        found = resampling.mean(values, maps["species"])
        if found.n:
            rows.append((kind, names, found.n, found))
    for name in QUESTIONS:
        found = resampling.mean(_numbers(maps[elsewhere(name)]), maps["species"])
        kind = "steps" if name.startswith(STEP) else "maps"
        if found.n:
            names = f"{name.removeprefix(STEP)}, of different photographs"
            rows.append((kind, names, found.n, found))
    header = ("of the", "ranks", "photographs", "mean correlation")
    return markdown(header, rows)


def boxes(maps: Columns) -> str:
    """Energy on the boxes against their area, and how often the highest cell hits."""
    rows = []
    area = _numbers(maps["box_area"])
    for name in QUESTIONS:
        energy = _numbers(maps[f"{name}_energy"])
        known = np.isfinite(energy)
        if not known.any():
            continue
        lift = resampling.lift(energy, area, maps["species"])
        asked = "step to " if name.startswith(STEP) else ""
        rows.append(
            (
                asked + name.removeprefix(STEP),
                int(known.sum()),
                resampling.mean(energy, maps["species"]),
                float(area[known].mean()),
                lift,
                resampling.share(_numbers(maps[f"{name}_hit"]), maps["species"]),
            )
        )
    header = (
        "map of the",
        "photographs",
        "energy on the box",
        "area of the box",
        "lift",
        "highest cell on the box",
    )
    return markdown(header, rows)


def accuracy(folds: Columns) -> str:
    """Share of right answers of each network, over photographs and seeds."""
    orders = np.array(folds["order"])
    most, count = Counter(orders).most_common(1)[0]
    rows: list[tuple[Cell, ...]] = [
        (f"always {most}", "", count / len(orders), 1 / len(set(orders)), "")
    ]
    for name in networks(folds):
        hits = hits_of(folds, name)
        seeds = hits.mean(0)
        rows.append(
            (
                name,
                hits.shape[1],
                share(hits, folds["species"]),
                mean_over_orders(hits, folds["species"], orders),
                f"{seeds.min():.3f} to {seeds.max():.3f}",
            )
        )
    header = ("network", "seeds", "right", "right, each order alike", "seed by seed")
    return markdown(header, rows)


def differences(folds: Columns) -> str:
    """Right answers of one network minus another's, photograph by photograph."""
    names = networks(folds)
    rows = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            a, b = hits_of(folds, first), hits_of(folds, second)
            seeds = min(a.shape[1], b.shape[1])
            delta = (a - b) if a.shape == b.shape else a[:, :seeds] - b[:, :seeds]
            groups, repeats = _factors(delta, folds["species"])
            found = resampling.mean(delta.ravel(), groups, repeats)
            rows.append((first, second, seeds, found))
    return markdown(("network", "minus", "seeds", "difference"), rows)


def by_order(folds: Columns) -> str:
    """Right answers of each order: mean over seeds, without intervals."""
    orders = np.array(folds["order"])
    names = networks(folds)
    rows = []
    for order, count in Counter(orders).most_common():
        here = orders == order
        right = (hits_of(folds, name)[here].mean(1).sum() for name in names)
        rows.append((order, count, *(f"{value:.1f}" for value in right)))
    return markdown(("order", "photographs", *names), rows)


def networks(folds: Columns) -> list[str]:
    """The networks of folds.csv."""
    return [name for name in folds if name not in ("example_id", "species", "order")]


def hits_of(folds: Columns, network: str) -> np.ndarray:
    """(photographs, seeds) of 0.0 and 1.0: a digit a seed in folds.csv."""
    return np.array([list(map(float, cell.split())) for cell in folds[network]])


def share(hits: np.ndarray, species: Sequence[str]) -> Estimate:
    """Share of right answers; species and seeds are resampled."""
    groups, repeats = _factors(hits, species)
    return resampling.share(hits.ravel(), groups, repeats)


def mean_over_orders(
    hits: np.ndarray, species: Sequence[str], orders: np.ndarray
) -> Estimate:
    """Mean of the orders' shares of right answers.

    Resamples in which an order is missing are left out.
    """
    groups, repeats = _factors(hits, species)
    names = sorted(set(orders))
    here = (orders[:, None] == names).astype(float)  # (photographs, orders)
    ones = np.repeat(here, hits.shape[1], axis=0)
    columns = np.concatenate([ones * hits.ravel()[:, None], ones], axis=1)

    def mean(sums):
        right, asked = np.split(sums, 2, axis=1)
        return (right / asked).mean(1)

    return resampling.of_sums(columns, groups, mean, repeats)


def markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(map(results.text, row)) + " |" for row in rows]
    return "\n".join(lines)


def _factors(values: np.ndarray, species: Sequence[str]) -> tuple:
    """Species and seed of each of (photographs, seeds) values, flat."""
    count = values.shape[1]
    return np.repeat(species, count), np.tile(np.arange(count), len(values))


def _numbers(cells: Sequence[str]) -> np.ndarray:
    return np.array([float(cell) if cell else np.nan for cell in cells])


def main(docs: Path = DOCS, made_of: Callable = made) -> None:
    """Writes the tables into REAL.md."""
    path = docs / "REAL.md"
    workdir.write_text(path, render(path.read_text(), made_of(docs / "real")))


if __name__ == "__main__":
    main()
