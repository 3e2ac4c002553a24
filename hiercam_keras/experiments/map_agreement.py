"""Agreement of two models' maps for one question.

Two trainings that differ only in the seed give different maps. Their agreement is the
noise floor: maps count as different only if they agree less than that.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hiercam_keras.evaluation.table import Table, same_pictures
from hiercam_keras.experiments.pooling import MeasuredRun, pick
from hiercam_keras.experiments.results import Result, joined, text, verdict
from hiercam_keras.metrics import agreement, resampling
from hiercam_keras.metrics.resampling import Estimate

MEASURES = {
    "Pearson": agreement.pearson,
    "Spearman": agreement.spearman,
    "IoU of the top 20 %": agreement.iou_at_equal_area,
}


class Pair(NamedTuple):
    """Two models, of one seed or of two, and the rank that each is asked for."""

    seeds: tuple[int, ...]
    first: Table
    rank: str
    second: Table
    other: str


class Agreed(NamedTuple):
    """Agreement of the maps of N images, by measure: each (N,)."""

    seeds: tuple[int, ...]
    ids: np.ndarray
    groups: np.ndarray
    values: Mapping[str, np.ndarray]


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
        found = {
            name: [_agree(pair) for pair in pairs]
            for name, pairs in kinds.items()
            if pairs
        }
        for name, several in found.items():
            cells = [_mean(_by_seed(several, measure)) for measure in MEASURES]
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
        "alone. Brackets: 95 % intervals, species and seeds resampled; of two seeds "
        "the pseudo-values of the jackknife, which need three seeds.",
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
    return {
        f"{coarse} model and {fine} model asked for {coarse}, one seed": [
            Pair((seed,), one, coarse, by_seed[seed], coarse)
            for seed, one in _tables(coarses)
            if seed in by_seed
        ],
        f"two {coarse} models, two seeds": _two(coarses, coarse),
        f"two {fine} models asked for {coarse}, two seeds": _two(fines, coarse),
        f"two {fine} models asked for {fine}, two seeds": _two(fines, fine),
        f"one {fine} model asked for {coarse} and for {fine}": [
            Pair((seed,), one, coarse, one, fine) for seed, one in _tables(fines)
        ],
        f"one {coarse} model, two different images": [
            Pair((seed,), one, coarse, _shifted(one), coarse)
            for seed, one in _tables(coarses)
        ],
    }


def _tables(measured: Sequence[MeasuredRun]) -> list[tuple[int, Table]]:
    return [(one.spec.seed, one.table) for one in measured]


def _two(measured: Sequence[MeasuredRun], rank: str) -> list[Pair]:
    return [
        Pair((seed, other), one, rank, two, rank)
        for (seed, one), (other, two) in itertools.combinations(_tables(measured), 2)
    ]


def _shifted(table: Table) -> Table:
    """The same example_ids, each with the map of an image half the split away."""
    order = np.argsort(table.example_ids, kind="stable")
    maps = table.values["map"][np.roll(order, len(order) // 2)]
    ordered = table.take(order)
    return dataclasses.replace(ordered, values={**ordered.values, "map": maps})


def _agree(pair: Pair) -> Agreed:
    one, two = same_pictures(pair.first, pair.second)
    a = one.of("map", f"asked-{pair.rank}").astype(np.float64)
    b = two.of("map", f"asked-{pair.other}").astype(np.float64)
    values = {name: measure(a, b) for name, measure in MEASURES.items()}
    return Agreed(pair.seeds, one.example_ids, one.clusters, values)


def _by_seed(several: Sequence[Agreed], measure: str) -> dict[int, Agreed]:
    """Agreement by seed, with the mean of all pairs; of the images of all pairs.

    For pairs of two seeds these are the pseudo-values of the jackknife: n times the
    mean of all pairs minus n - 1 times that of the pairs without the seed. Resampling
    them shows how much the seeds matter to a mean over pairs, as resampling the values
    of single seeds does to a mean over seeds. Two seeds have one pair.
    """
    common = functools.reduce(np.intersect1d, (one.ids for one in several))
    cut = [_cut(one, measure, common) for one in several]
    seeds = sorted({seed for one in several for seed in one.seeds})
    if len(several[0].seeds) == 1:
        return {one.seeds[0]: one for one in cut}
    total, count = np.mean([one.values[measure] for one in cut], axis=0), len(seeds)
    found = {}
    for seed in seeds:
        rest = [one.values[measure] for one in cut if seed not in one.seeds]
        left = np.mean(rest, axis=0) if rest else total
        pseudo = count * total - (count - 1) * left
        found[seed] = cut[0]._replace(seeds=(seed,), values={measure: pseudo})
    return found


def _cut(one: Agreed, measure: str, ids: np.ndarray) -> Agreed:
    order = np.argsort(one.ids, kind="stable")
    rows = order[np.searchsorted(one.ids, ids, sorter=order)]
    values = {measure: one.values[measure][rows]}
    return Agreed(one.seeds, ids, one.groups[rows], values)


def _mean(by_seed: Mapping[int, Agreed]) -> Estimate:
    columns = [
        (*one.values.values(), one.groups, np.full(len(one.ids), seed))
        for seed, one in by_seed.items()
    ]
    return resampling.mean(*map(np.concatenate, zip(*columns, strict=True)))


def _gap(question: Sequence[Agreed], floor: Sequence[Agreed]) -> Estimate:
    """Agreement minus the noise floor (Pearson), paired by image and seed."""
    measure = next(iter(MEASURES))
    first, second = (_by_seed(one, measure) for one in (question, floor))
    found = {}
    for seed in sorted(first.keys() & second.keys()):
        pair = first[seed], second[seed]
        ids = np.intersect1d(*(one.ids for one in pair))
        one, two = (_cut(each, measure, ids) for each in pair)
        delta = one.values[measure] - two.values[measure]
        found[seed] = one._replace(values={measure: delta})
    return _mean(found)
