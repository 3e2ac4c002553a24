"""Strategies for an answer at every rank, compared on the same images.

A model of each rank, the finest one rolled up, one model with a head for each rank, and
variants of that model. Besides the accuracy the table has what hierarchical losses aim
at: answers on one path of the tree, and the severity of mistakes.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hiercam_keras import wording
from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments.pooling import MeasuredRun, Pool, matched, paired, pick
from hiercam_keras.experiments.results import Result, joined, verdict
from hiercam_keras.experiments.training_grid import Condition
from hiercam_keras.metrics import hierarchy, resampling
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.taxonomy.tree import Taxonomy

SINGLE = "a model of each rank"
HEADS = "one model, a head of each rank"
ROLLED = "the same, its finest head rolled up"


class Route(NamedTuple):
    """The models that answer at each rank, whether they are rolled up, and the name of
    the strategy that it is compared with."""

    models: list[list[MeasuredRun]]
    rolled: bool
    against: str


def routes_of(
    measured: Sequence[MeasuredRun],
    ranks: Sequence[str],
    condition: Condition,
    multi: tuple[str, ...] | None,
    variants: Mapping[Condition, str],
) -> dict[str, Route]:
    """All strategies by name.

    Args:
      measured: trainings.
      ranks: coarse to fine.
      condition: of the single-rank models and the plain multi-rank one.
      multi: ranks of the multi-rank model, None without one.
      variants: conditions of other multi-rank models, with their names.
    """
    single = [pick(measured, (rank,), condition) for rank in ranks]
    routes = {SINGLE: Route(single, False, "")}
    finest = [single[-1]] * len(ranks)
    routes[f"{ranks[-1]} model, rolled up"] = Route(finest, True, SINGLE)
    if not multi:
        return routes
    plain = [pick(measured, multi, condition)] * len(ranks)
    routes[HEADS] = Route(plain, False, SINGLE)
    routes[ROLLED] = Route(plain, True, SINGLE)
    for variant, words in variants.items():
        changed = [pick(measured, multi, variant)] * len(ranks)
        routes[f"heads, {words}"] = Route(changed, False, HEADS)
        routes[f"finest head rolled up, {words}"] = Route(changed, True, ROLLED)
    return routes


def routes_table(
    routes: Mapping[str, Route],
    ranks: Sequence[str],
    taxonomy: Taxonomy,
    words: str = "",
    name: str = "routes",
) -> Result:
    """One row a strategy; `words` describe the data, `name` is that of the file."""
    rows, answers = [], []
    for title, route in routes.items():
        several = list(zip(ranks, route.models, strict=True))
        name_ = "rolled" if route.rolled else "predicted"
        cells = [Pool(model).accuracy(rank, name_) for rank, model in several]
        consistent, path = _paths(route, ranks, taxonomy)
        severity = _severity([route.models[-1]], ranks[-1], taxonomy)
        rows.append((title, *cells, consistent, path, severity))
        if route.against:
            base = routes[route.against]
            answers.append(_against(title, route, base, ranks, taxonomy))
    claim = (
        "Does one model for all ranks, or the finest model rolled up, answer as well "
        "as a model of each rank?"
    )
    if len(routes) > 4:
        claim += (
            " And what is the effect of hierarchical losses, a consistency term "
            "between the heads, and chained heads?"
        )
    return Result(
        name=name,
        title="Single-rank, rolled-up and multi-rank models"
        + (f" ({words})" if words else ""),
        claim=claim,
        header=(
            "answers by",
            *ranks,
            "on one path",
            "all ranks right",
            "height of mistakes",
        ),
        rows=rows,
        answer=". ".join(one[:1].upper() + one[1:] for one in answers) + ".",
        note="Accuracy at each rank; the share of images whose answers at all these "
        "ranks are on one path of the tree; the share where all are right; and how "
        f"many ranks up wrong answers at {ranks[-1]} meet the truth (Bertinetto et al. "
        "2020, arXiv:1912.09393; lower is better, 1 is a sibling). Brackets: 95 % "
        "intervals, species and seeds resampled; the sentences pair images and the "
        "seeds that both have, and are not corrected for their number.",
        figure=f"curves/{name}.png",
    )


def _against(title, route, base, ranks, taxonomy) -> str:
    """The differences between two strategies, as a sentence without its full stop."""
    found = {
        rank: _gap(first, second, rank, route.rolled, base.rolled)
        for rank, first, second in zip(ranks, route.models, base.models, strict=True)
    }
    few = [gap for gap in found.values() if gap.too_few]
    if few:
        return f"{title}, against {route.against}: {wording.too_few(few[0].groups)}"
    better = [
        verdict(gap, rank, rank, "") for rank, gap in found.items() if gap.verdict > 0
    ]
    worse = [
        verdict(gap, rank, rank, "") for rank, gap in found.items() if gap.verdict < 0
    ]
    words = [
        f"{verb} {joined(names)}"
        for verb, names in (("better at", better), ("worse at", worse))
        if names
    ] or ["no significant difference at any rank"]
    path = _path_gap(route, base, ranks, taxonomy)
    if path.verdict:
        words.append(
            "answers " + verdict(path, "more", "less", "") + " often on one path"
        )
    severity = _severity([route.models[-1], base.models[-1]], ranks[-1], taxonomy)
    if severity.verdict:
        words.append("mistakes " + verdict(severity, "farther off", "nearer", ""))
    return f"{title}, against {route.against}: {', '.join(words)}"


def _said(table: Table, rank: str, rolled: bool) -> np.ndarray:
    return table.of("rolled" if rolled else "predicted", f"asked-{rank}")


def _right(table: Table, rank: str, rolled: bool) -> np.ndarray:
    return _said(table, rank, rolled) == table.of("true", f"asked-{rank}")


def _gap(first, second, rank: str, *rolled: bool) -> Estimate:
    """Accuracy at a rank: first strategy minus second, paired by image."""

    def value(*tables: Table) -> np.ndarray:
        one, two = (
            _right(table, rank, roll)
            for table, roll in zip(tables, rolled, strict=True)
        )
        return one.astype(float) - two

    return paired([first, second], value)


def _on_path(several, ranks, rolled, taxonomy) -> np.ndarray:
    said = {
        rank: _said(table, rank, rolled)
        for rank, table in zip(ranks, several, strict=True)
    }
    return hierarchy.path_consistency(said, taxonomy)


def _paths(route: Route, ranks, taxonomy) -> tuple[Estimate, Estimate]:
    """Shares of images with answers on one path, and with all answers right."""

    def consistent(*tables: Table) -> np.ndarray:
        return _on_path(tables, ranks, route.rolled, taxonomy)

    def right(*tables: Table) -> np.ndarray:
        pairs = zip(tables, ranks, strict=True)
        return np.all([_right(*pair, route.rolled) for pair in pairs], axis=0)

    return paired(route.models, consistent), paired(route.models, right)


def _path_gap(route: Route, base: Route, ranks, taxonomy) -> Estimate:
    def value(*tables: Table) -> np.ndarray:
        own, other = tables[: len(ranks)], tables[len(ranks) :]
        one = _on_path(own, ranks, route.rolled, taxonomy)
        return one.astype(float) - _on_path(other, ranks, base.rolled, taxonomy)

    return paired([*route.models, *base.models], value)


def _severity(
    models: Sequence[Sequence[MeasuredRun]], rank: str, taxonomy: Taxonomy
) -> Estimate:
    """Mean height of a model's mistakes; of two models, first minus second."""
    columns, groups, repeats = [], [], []
    for seed, tables in matched(models):
        found = []
        for table in tables:
            said = (table.of(name, f"asked-{rank}") for name in ("true", "predicted"))
            height = taxonomy.lca_height(rank, *said)
            found += [height, height > 0]
        columns.append(np.stack(found, axis=1).astype(np.float64))
        groups.append(tables[0].clusters)
        repeats.append(np.full(len(tables[0]), seed))
    if not columns:
        return Estimate(float("nan"))

    def statistic(sums: np.ndarray) -> np.ndarray:
        means = sums[:, ::2] / sums[:, 1::2]
        return means[:, 0] - means[:, 1] if len(models) > 1 else means[:, 0]

    parts = map(np.concatenate, (columns, groups, repeats))
    columns, groups, repeats = parts
    return resampling.of_sums(columns, groups, statistic, repeats)
