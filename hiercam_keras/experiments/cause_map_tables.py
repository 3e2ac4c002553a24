"""Tables of --mode=causes on maps: which of them agree with the causes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hiercam_keras.evaluation.cause_measures import CAUSE_MEASURES
from hiercam_keras.evaluation.map_controls import CONTROLS
from hiercam_keras.experiments import cause_pooling as pooling
from hiercam_keras.experiments.cause_pooling import CausedRun, View
from hiercam_keras.experiments.cause_tables import Models
from hiercam_keras.experiments.results import Result, joined, number, text
from hiercam_keras.metrics import statistics
from hiercam_keras.metrics.resampling import Estimate

MEASURE = "energy_correlation"  # by which methods are chosen
BASELINE = ("area", "picture")
DEFAULT = ("gradcam", "")
WITHOUT_NETWORK = {*CONTROLS, "random", "center_gaussian"}
WITHOUT_CLASS = {"eigencam"}  # asks for no class: one map for all questions
_KINDS = {
    "label": "Plain maps",
    "marginal": "Maps of marginals",
    "step": "Step maps",
    "contrast": "Maps of contrasts with the runner-up",
}


@dataclass(frozen=True)
class Agreement:
    """One method and layer, for one kind of target.

    Attributes:
      kind: of the targets.
      view: method and layer.
      val: mean rank correlation of energy and effect on val, over all ranks of the
        first model, by which it is chosen.
      test: the same on the split that is reported.
      beyond: test minus that of the baseline, p with Holm's correction over the
        methods, layers and kinds; None for the baseline.
      by_rank: (model, rank) -> on the reported split.
      beyond_by_rank: likewise minus the baseline, with Holm's correction.
    """

    kind: str
    view: View
    val: Estimate
    test: Estimate
    beyond: Estimate | None
    by_rank: dict[tuple[str, str], Estimate]
    beyond_by_rank: dict[tuple[str, str], Estimate]

    @property
    def name(self) -> str:
        """Method and layer in words."""
        return name_of(self.view)

    @property
    def is_control(self) -> bool:
        """Whether it knows nothing of the network, or of the question."""
        return self.view[0] in WITHOUT_NETWORK | WITHOUT_CLASS


def name_of(view: View) -> str:
    """Method and layer in words."""
    method, layer = view
    if method in WITHOUT_NETWORK:
        return method
    return f"{method} at {layer or 'the last activation'}"


def agreements(models: Models) -> list[Agreement]:
    """All kinds, methods and layers, each kind from the best on val to the worst.

    Means are of the first model: a figure over models of several ranks would take their
    difference for one between trainings.
    """
    runs = _first(models)
    first = runs[0].test
    found = []
    for kind in dict.fromkeys(kind for kind, _ in first.maps.targets):
        cells = _cells(models, kind)
        every = [target for target in first.maps.targets if target[0] == kind]
        for view in _views(first.maps.views):
            found.append(_one(models, runs, kind, view, cells, every))
    found = _corrected(found)
    order = list(_KINDS)
    return sorted(found, key=lambda a: (order.index(a.kind), -a.val.value))


def _first(models: Models) -> Sequence[CausedRun]:
    return next(iter(models.values()))


def _views(views: Sequence[View]) -> list[View]:
    """Without the controls that are the same at every layer, but for the first."""
    first = {}
    for method, layer in views:
        first.setdefault(method, layer)
    return [
        (method, layer)
        for method, layer in views
        if method not in WITHOUT_NETWORK or first[method] == layer
    ]


def _cells(models: Models, kind: str) -> list[tuple[str, tuple[str, str]]]:
    """(model, target) of a kind."""
    return [
        (model, target)
        for model, runs in models.items()
        for target in runs[0].test.maps.targets
        if target[0] == kind
    ]


def _one(models, runs, kind, view, cells, every) -> Agreement:
    mine = pooling.agreement(MEASURE, view, every)
    base = pooling.agreement(MEASURE, BASELINE, every)
    by_rank, beyond_by_rank = {}, {}
    for model, target in cells:
        own = pooling.agreement(MEASURE, view, [target])
        by_rank[model, target[1]] = pooling.estimate(models[model], own)
        if view != BASELINE:
            gap = pooling.minus(own, pooling.agreement(MEASURE, BASELINE, [target]))
            found = pooling.estimate(models[model], gap, test=True)
            beyond_by_rank[model, target[1]] = found
    beyond = None
    if view != BASELINE:
        beyond = pooling.estimate(runs, pooling.minus(mine, base), test=True)
    return Agreement(
        kind,
        view,
        pooling.estimate(runs, mine, "val"),
        pooling.estimate(runs, mine),
        beyond,
        by_rank,
        beyond_by_rank,
    )


def _corrected(found: Sequence[Agreement]) -> list[Agreement]:
    """With Holm's correction: over all means, and over all cells of models and ranks"""
    means = [one.beyond.p if one.beyond else np.nan for one in found]
    cells = [e.p for one in found for e in one.beyond_by_rank.values()]
    means, cells = statistics.holm(means), iter(statistics.holm(cells))
    return [
        replace(
            one,
            beyond=one.beyond and replace(one.beyond, p=float(p)),
            beyond_by_rank={
                key: replace(e, p=float(next(cells)))
                for key, e in one.beyond_by_rank.items()
            },
        )
        for one, p in zip(found, means, strict=True)
    ]


def is_above(found: Estimate | None) -> bool:
    """Whether a difference is above 0 by its interval and its corrected p."""
    return bool(found and found.p < statistics.ALPHA and found.verdict > 0)


def place_of(found: Sequence[Agreement], kind: str, view: View) -> tuple[int, int]:
    """Place of a method and layer by val among those that ask the network, and their
    number."""
    able = [one for one in found if one.kind == kind and not one.is_control]
    views = [one.view for one in able]
    return views.index(view) + 1, len(views)


def chosen(found: Sequence[Agreement], kind: str, count: int) -> list[Agreement]:
    """The best methods and layers of a kind by val alone."""
    able = [one for one in found if one.kind == kind and not one.is_control]
    return able[:count]


def views_table(found: Sequence[Agreement], kind: str) -> Result:
    """Every method and layer for one kind of target."""
    mine = [one for one in found if one.kind == kind]
    keys = list(mine[0].by_rank)
    rows = [
        (
            one.view[0],
            _layer(one.view),
            one.val,
            one.test,
            one.beyond,
            None if one.beyond is None else one.beyond.p,
            *(one.by_rank[key] for key in keys),
        )
        for one in mine
    ]
    above = [one.name for one in mine if is_above(one.beyond) and not one.is_control]
    able = [one for one in mine if not one.is_control]
    answer = (
        f"{len(above)} of {len(able)} combinations of method and layer agree with the "
        "causes more than the area of the parts does"
    )
    if DEFAULT in [one.view for one in mine]:
        place, count = place_of(found, kind, DEFAULT)
        own = next(one for one in mine if one.view == DEFAULT)
        answer += (
            f"; the default, {own.name}, is number {place} of {count} by val, with "
            f"{text(own.test)} on the reported images"
        )
    return Result(
        name=f"maps-{kind}",
        title=f"{_KINDS[kind]} against the causes",
        claim="Is the energy of a map on a part the larger, the more the explained "
        "score falls when this part has the form of a sibling's?",
        header=(
            "method",
            "layer",
            "val",
            "reported images",
            "minus area",
            "p",
            *(f"{rank} ({model} model)" for model, rank in keys),
        ),
        rows=rows,
        answer=f"{answer}.",
        note="Rank correlation over the parts of a picture; val, reported images and "
        f"minus area are means over all ranks of the {keys[0][0]} model, from the best "
        "on val to the worst. area: the share of the "
        "picture that a part fills, the control of column 'minus area'; edges: the "
        "gradient of the picture; random and center_gaussian know nothing of picture "
        "and network, eigencam nothing of the question: these cannot be chosen. p: "
        "sign-flip test over species, with Holm's correction over all methods, layers "
        "and kinds of targets. Brackets: 95 % intervals, species and seeds resampled.",
        figure=f"causes/maps-{kind}.png",
    )


def _layer(view: View) -> str:
    method, layer = view
    return "" if method in WITHOUT_NETWORK else layer or "the last activation"


def ranks_table(found: Sequence[Agreement]) -> Result:
    """Which methods agree with the causes at which rank."""
    rows, none = [], []
    for kind in dict.fromkeys(one.kind for one in found):
        mine = [one for one in found if one.kind == kind]
        able = [one for one in mine if not one.is_control]
        for model, rank in mine[0].by_rank:
            key = model, rank
            above = [one for one in able if is_above(one.beyond_by_rank[key])]
            best = max(able, key=lambda one: one.by_rank[key].value)
            default = next((o for o in able if o.view == DEFAULT), None)
            base = next(one for one in mine if one.view == BASELINE)
            rows.append(
                (
                    kind,
                    model,
                    rank,
                    f"{len(above)} of {len(able)}",
                    best.name,
                    best.by_rank[key],
                    default and default.by_rank[key],
                    base.by_rank[key],
                )
            )
            if not above:
                none.append(f"{kind} at {rank} ({model} model)")
    answer = "Some methods agree with the causes more than the area does at every rank"
    if none:
        answer = (
            f"No method agrees with the causes more than the area does: {joined(none)}"
        )
    return Result(
        name="ranks",
        title="Which method agrees with the causes at which rank",
        claim="At which rank does the energy of maps say more on the effects than the "
        "area of the parts?",
        header=(
            "target",
            "model",
            "rank",
            "above the area",
            "largest",
            "its correlation",
            "the default's",
            "the area's",
        ),
        rows=rows,
        answer=f"{answer}.",
        note="above the area: methods and layers with a rank correlation above that of "
        "the area (sign-flip test over species, Holm's correction over all methods, "
        "layers, kinds, models and ranks). largest: on these images, and so "
        "optimistic. Brackets: 95 % intervals, species and seeds resampled.",
    )


def chosen_table(models: Models, found: Sequence[Agreement], count: int) -> Result:
    """The best by val, tested on the reported split against default and area."""
    runs = _first(models)
    rows, gaps = [], []
    for kind in dict.fromkeys(one.kind for one in found):
        targets = [one for one in runs[0].test.maps.targets if one[0] == kind]
        best = chosen(found, kind, count)
        views = [one.view for one in best]
        extra = [o for o in found if o.kind == kind and o.view == DEFAULT]
        for one in [*best, *(o for o in extra if o.view not in views)]:
            gap = None
            if one.view != DEFAULT and extra:
                gap = pooling.estimate(
                    runs,
                    pooling.minus(
                        pooling.agreement(MEASURE, one.view, targets),
                        pooling.agreement(MEASURE, DEFAULT, targets),
                    ),
                    test=True,
                )
            gaps.append(gap)
            others = [
                pooling.estimate(runs, pooling.agreement(name, one.view, targets))
                for name in CAUSE_MEASURES
                if name != MEASURE
            ]
            place, able = place_of(found, kind, one.view)
            rows.append([kind, f"{place} of {able}", one.name, one.test, gap, *others])
    corrected = statistics.holm([gap.p if gap else np.nan for gap in gaps])
    answers = []
    for row, gap, p in zip(rows, gaps, corrected, strict=True):
        gap = gap and replace(gap, p=float(p))
        row[4] = gap
        if gap is not None and row[1].startswith("1 of"):
            words = "does not differ significantly from the default"
            if gap.p < statistics.ALPHA and gap.verdict:
                more = "more" if gap.verdict > 0 else "less"
                words = f"agrees with the causes {more} than the default"
            answers.append(
                f"{row[0]}: {row[2]} {words} ({text(gap)}, p = {number(gap.p)})"
            )
    return Result(
        name="chosen",
        title="The best by val, on the reported images",
        claim="Do methods and layers that agree with the causes on val agree with them "
        "on other images, too, and more than the default does?",
        header=(
            "target",
            "place by val",
            "method",
            CAUSE_MEASURES[MEASURE].title,
            "minus the default's",
            *(m.title for name, m in CAUSE_MEASURES.items() if name != MEASURE),
        ),
        rows=[tuple(row) for row in rows],
        answer="; ".join(answers) + "." if answers else "The default is the best.",
        note=f"The choice is by val alone, over all ranks of the {runs[0].spec.name} "
        "model. Last row of a target: the default. p: sign-flip test over species, "
        "with Holm's correction over the rows. Brackets: 95 % intervals, species and "
        "seeds resampled.",
    )
