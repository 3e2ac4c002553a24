"""Agreement of two models' maps for one question.

Two trainings that differ only in the seed give different maps. Their agreement is the
noise floor: maps count as different only if they agree less than that.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from hiercam_keras.evaluation.table import Table, same_pictures
from hiercam_keras.experiments.pooling import MeasuredRun, pick
from hiercam_keras.experiments.results import Result, joined, text, verdict
from hiercam_keras.metrics import agreement, resampling
from hiercam_keras.metrics.resampling import Estimate

# Two tables and the rank asked for in each.
Pair = tuple[Table, str, Table, str]
MEASURES = {
    "Pearson": agreement.pearson,
    "Spearman": agreement.spearman,
    "IoU of the top 20 %": agreement.iou_at_equal_area,
}


def agreement_table(
    measured: Sequence[MeasuredRun], names: dict, fine: str, coarse: str
) -> Result:
    """Agreement of models trained at `coarse` with `fine` models asked for `coarse`.

    Args:
      measured: trainings of both ranks, several seeds.
      names: condition -> its name.
      fine, coarse: ranks.
    """
    rows, answers, short, missing = [], [], [], []
    for condition, words in names.items():
        fines = pick(measured, (fine,), condition)
        coarses = pick(measured, (coarse,), condition)
        if not (fines and coarses):
            continue
        kinds = _kinds(fines, coarses, fine, coarse)
        found = {name: _agree(pairs) for name, pairs in kinds.items() if pairs}
        for name, by_measure in found.items():
            cells = [_interval(values) for values in by_measure.values()]
            rows.append((words, name, *cells))
        missing += same_map(words, rows[-len(found) :], fine, coarse)
        question, floor = list(kinds)[:2]
        if floor in found:
            gap = _gap(found[question], found[floor])
            short.append(f"{words}: {text(gap)}")
            answers.append(
                f"{words}: the two maps agree at {text(rows[-len(found)][2])} "
                f"(Pearson), "
                + verdict(
                    gap,
                    "more than two seeds at one rank do",
                    "less than two seeds at one rank do",
                    "as much as two seeds at one rank do",
                )
            )
    return Result(
        name="agreement",
        title=f"Trained at {coarse}, or trained at {fine} and asked for {coarse}",
        claim=f"Does asking a {fine} model for the {coarse} give the same map as "
        f"training at {coarse}?",
        header=("data", "maps compared", *MEASURES),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in answers)
        + ("." if answers else "A noise floor needs two seeds."),
        note="Mean agreement of two heatmaps of one test image; 1 is the same map. "
        "Pairs of different images show the agreement that comes from the center bias "
        "alone. Brackets: 95 % intervals, species resampled.",
        figure="study/agreement.png",
        missing=tuple(missing),
        short=f"Agreement of the {coarse} model's maps with the {fine} model's asked "
        f"for {coarse}, minus that of two seeds: {joined(short)}."
        if short
        else "",
    )


def same_map(words: str, rows: Sequence[tuple], fine: str, coarse: str) -> list[str]:
    """Sentence on a model with the same maps for all asked ranks, if any."""
    asked = f"one {fine} model asked for {coarse} and for {fine}"
    return [
        f"Plain maps do not follow the question: {asked} ({words}) gives maps that "
        f"correlate at {text(row[2])}."
        for row in rows
        if row[1] == asked and row[2].value > 0.95
    ]


def _kinds(
    fines: Sequence[MeasuredRun], coarses: Sequence[MeasuredRun], fine: str, coarse: str
) -> dict[str, list[Pair]]:
    """Pairs of maps by the comparison that they belong to."""
    by_seed = {one.spec.seed: one.table for one in fines}
    same = [(one.table, by_seed.get(one.spec.seed)) for one in coarses]
    return {
        f"{coarse} model and {fine} model asked for {coarse}, one seed": [
            (a, coarse, b, coarse) for a, b in same if b is not None
        ],
        f"two {coarse} models, two seeds": _two(coarses, coarse),
        f"two {fine} models asked for {coarse}, two seeds": _two(fines, coarse),
        f"two {fine} models asked for {fine}, two seeds": _two(fines, fine),
        f"one {fine} model asked for {coarse} and for {fine}": [
            (one.table, coarse, one.table, fine) for one in fines
        ],
        f"one {coarse} model, two different images": [
            (one.table, coarse, _shifted(one.table), coarse) for one in coarses
        ],
    }


def _two(measured: Sequence[MeasuredRun], rank: str) -> list[Pair]:
    return [
        (a.table, rank, b.table, rank) for a, b in itertools.combinations(measured, 2)
    ]


def _shifted(table: Table) -> Table:
    """The same example_ids, each with the map of an image half the split away."""
    order = np.argsort(table.example_ids, kind="stable")
    maps = table.values["map"][np.roll(order, len(order) // 2)]
    ordered = table.take(order)
    return dataclasses.replace(ordered, values={**ordered.values, "map": maps})


def _agree(
    pairs: Iterable[Pair],
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By measure: (values, species, example_ids), the pairs one after the other."""
    found = {name: [] for name in MEASURES}
    groups, ids = [], []
    for first, rank, second, other in pairs:
        one, two = same_pictures(first, second)
        a = one.of("map", f"asked-{rank}").astype(np.float64)
        b = two.of("map", f"asked-{other}").astype(np.float64)
        for name, measure in MEASURES.items():
            found[name].append(measure(a, b))
        groups.append(one.clusters)
        ids.append(one.example_ids)
    groups, ids = np.concatenate(groups), np.concatenate(ids)
    return {name: (np.concatenate(v), groups, ids) for name, v in found.items()}


def _interval(values: tuple) -> Estimate:
    return resampling.mean(values[0], values[1])


def _gap(question: dict, floor: dict) -> Estimate:
    """Agreement minus the noise floor (Pearson), paired by image."""
    measure = next(iter(MEASURES))
    first, second = (_by_image(one[measure]) for one in (question, floor))
    common = sorted(first.keys() & second.keys())
    delta = [first[name][0] - second[name][0] for name in common]
    return resampling.mean(delta, [first[name][1] for name in common])


def _by_image(values: tuple) -> dict[str, tuple[float, str]]:
    """example_id -> (mean over the pairs of models, species)."""
    numbers, groups, ids = values
    names, first, place = np.unique(ids, return_index=True, return_inverse=True)
    means = np.bincount(place, numbers) / np.bincount(place)
    return {
        str(name): (float(mean), str(groups[row]))
        for name, mean, row in zip(names, means, first, strict=True)
    }
