"""experiments: ways to an answer at every rank, on the same images.

A model of each rank, the finest one rolled up, one model with a head for each rank, and
variants of that model. Beside the accuracy stand what losses over the tree are for:
answers on one path, and how far off the mistakes are.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hiercam_keras import wording
from hiercam_keras.experiments.looks import Looks, same_images
from hiercam_keras.experiments.pieces import Condition
from hiercam_keras.experiments.seen import Pool, Seen, paired, pick
from hiercam_keras.experiments.tables import Table, joined, told
from hiercam_keras.metrics import hierarchy, resampling
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.taxonomy.tree import Taxonomy

SINGLE = "a model of each rank"
HEADS = "one model, a head of each rank"
ROLLED = "the same, its finest head rolled up"


class Route(NamedTuple):
    """The models that answer at each rank, whether rolled up, and the name of the route
    that it is held against."""

    models: list[list[Seen]]
    rolled: bool
    against: str


def routes_of(
    seen: Sequence[Seen],
    ranks: Sequence[str],
    condition: Condition,
    multi: tuple[str, ...] | None,
    variants: Mapping[Condition, str],
) -> dict[str, Route]:
    """All routes by name.

    Args:
      seen: pieces.
      ranks: coarse to fine.
      condition: of the single-rank models and the plain multi-rank one.
      multi: ranks of the multi-rank model, None without one.
      variants: conditions of other multi-rank models, with their words.
    """
    single = [pick(seen, (rank,), condition) for rank in ranks]
    routes = {SINGLE: Route(single, False, "")}
    finest = [single[-1]] * len(ranks)
    routes[f"{ranks[-1]} model, rolled up"] = Route(finest, True, SINGLE)
    if not multi:
        return routes
    plain = [pick(seen, multi, condition)] * len(ranks)
    routes[HEADS] = Route(plain, False, SINGLE)
    routes[ROLLED] = Route(plain, True, SINGLE)
    for variant, words in variants.items():
        changed = [pick(seen, multi, variant)] * len(ranks)
        routes[f"heads, {words}"] = Route(changed, False, HEADS)
        routes[f"finest head rolled up, {words}"] = Route(changed, True, ROLLED)
    return routes


def routes_table(
    routes: Mapping[str, Route],
    ranks: Sequence[str],
    taxonomy: Taxonomy,
    words: str = "",
    name: str = "routes",
) -> Table:
    """One row a route; `words` tell the data, `name` the file."""
    rows, answers = [], []
    for title, route in routes.items():
        several = list(zip(ranks, route.models, strict=True))
        cells = [_right(model, rank, route.rolled) for rank, model in several]
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
            " And what do losses over the tree, a term between the heads, and chained "
            "heads change?"
        )
    return Table(
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
        "ranks lie on one path of the tree; the share where all are right; and how "
        f"many ranks up wrong answers at {ranks[-1]} meet the truth (Bertinetto et al. "
        "2020, arXiv:1912.09393; lower is better, 1 is a sibling). Brackets: 95 % "
        "intervals, species and seeds resampled; the sentences pair images and the "
        "seeds that both have, and are not corrected for their number.",
        figure=f"curves/{name}.png",
    )


def _against(title, route, base, ranks, taxonomy) -> str:
    """What differs between two routes, as a sentence without its full stop."""
    found = {
        rank: _gap(first, second, rank, route.rolled, base.rolled)
        for rank, first, second in zip(ranks, route.models, base.models, strict=True)
    }
    few = [gap for gap in found.values() if gap.too_few]
    if few:
        return f"{title}, against {route.against}: {wording.too_few(few[0].groups)}"
    better = [
        told(gap, rank, rank, "") for rank, gap in found.items() if gap.verdict > 0
    ]
    worse = [
        told(gap, rank, rank, "") for rank, gap in found.items() if gap.verdict < 0
    ]
    words = [
        f"{verb} {joined(names)}"
        for verb, names in (("better at", better), ("worse at", worse))
        if names
    ] or ["no significant difference at any rank"]
    path = _path_gap(route, base, ranks, taxonomy)
    if path.verdict:
        words.append("answers " + told(path, "more", "less", "") + " often on one path")
    severity = _severity([route.models[-1], base.models[-1]], ranks[-1], taxonomy)
    if severity.verdict:
        words.append("mistakes " + told(severity, "farther off", "nearer", ""))
    return f"{title}, against {route.against}: {', '.join(words)}"


def _said(looks: Looks, rank: str, rolled: bool) -> np.ndarray:
    chosen = looks.rolled if rolled else looks.predicted
    return chosen[:, looks.rank_at(rank)]


def _right(model: Sequence[Seen], rank: str, rolled: bool) -> Estimate:
    pool = Pool(model)
    name = "rolled" if rolled else "predicted"
    return pool.mean(pool.of_rank(name, rank) == pool.of_rank("true", rank))


def _gap(first, second, rank: str, *rolled: bool) -> Estimate:
    """Accuracy of a route at a rank minus that of another, image by image."""

    def value(one: Looks, two: Looks) -> np.ndarray:
        true = one.true[:, one.rank_at(rank)]
        right = [
            _said(looks, rank, roll) == true
            for looks, roll in zip((one, two), rolled, strict=True)
        ]
        return right[0].astype(float) - right[1]

    return paired([first, second], value)


def _on_path(several, ranks, rolled, taxonomy) -> np.ndarray:
    said = {
        rank: _said(looks, rank, rolled)
        for rank, looks in zip(ranks, several, strict=True)
    }
    return hierarchy.path_consistency(said, taxonomy)


def _paths(route: Route, ranks, taxonomy) -> tuple[Estimate, Estimate]:
    """Shares of images with answers on one path, and with all answers right."""

    def consistent(*several: Looks) -> np.ndarray:
        return _on_path(several, ranks, route.rolled, taxonomy)

    def right(*several: Looks) -> np.ndarray:
        return np.all(
            [
                _said(looks, rank, route.rolled) == looks.true[:, looks.rank_at(rank)]
                for rank, looks in zip(ranks, several, strict=True)
            ],
            axis=0,
        )

    return paired(route.models, consistent), paired(route.models, right)


def _path_gap(route: Route, base: Route, ranks, taxonomy) -> Estimate:
    def value(*several: Looks) -> np.ndarray:
        own, other = several[: len(ranks)], several[len(ranks) :]
        one = _on_path(own, ranks, route.rolled, taxonomy)
        return one.astype(float) - _on_path(other, ranks, base.rolled, taxonomy)

    return paired([*route.models, *base.models], value)


def _severity(
    models: Sequence[Sequence[Seen]], rank: str, taxonomy: Taxonomy
) -> Estimate:
    """Mean height of a model's mistakes; of two, the first's minus the second's."""
    seeds = set.intersection(*({one.piece.seed for one in seen} for seen in models))
    columns, groups, repeats = [], [], []
    for seed in sorted(seeds):
        looks = same_images(
            *(next(s.looks for s in seen if s.piece.seed == seed) for seen in models)
        )
        found = []
        for one in looks:
            place = one.rank_at(rank)
            truth, said = one.true[:, place], one.predicted[:, place]
            height = taxonomy.lca_height(rank, truth, said)
            found += [height, height > 0]
        columns.append(np.stack(found, axis=1).astype(np.float64))
        groups.append(looks[0].group)
        repeats.append(np.full(len(looks[0].group), seed))
    if not columns:
        return Estimate(float("nan"))

    def statistic(sums: np.ndarray) -> np.ndarray:
        means = sums[:, ::2] / sums[:, 1::2]
        return means[:, 0] - means[:, 1] if len(models) > 1 else means[:, 0]

    parts = map(np.concatenate, (columns, groups, repeats))
    columns, groups, repeats = parts
    return resampling.of_sums(columns, groups, statistic, repeats)
