"""The table of map sizes, layers and methods, with the same weights."""

import math
from collections.abc import Mapping, Sequence

from hiercam_keras import wording
from hiercam_keras.experiments.evidence import (
    LIFT,
    Evidence,
    own_and_others,
)
from hiercam_keras.experiments.pooling import OBJECT, MeasuredRun, Pool
from hiercam_keras.experiments.results import Result, joined, text
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.wording import spaced


def views_table(
    seen_by_view: Mapping[tuple, list[MeasuredRun]], rank: str, evidence: Evidence
) -> Result:
    """Map size, layer and method, with the same weights."""
    part, (own, others) = evidence[rank][0], own_and_others(evidence, rank)
    rows, seeds = [], len(next(iter(seen_by_view.values())))
    for (stride, layer, method), measured in seen_by_view.items():
        pool = Pool(measured)
        asked, step = f"asked-{rank}", f"step-{rank}"
        side = measured[0].table.values["map"].shape[-1]
        rows.append(
            (
                stride,
                layer or "last activation",
                f"{side} x {side}",
                method,
                pool.accuracy(rank),
                pool.lift(asked, own),
                pool.lift(step, own),
                pool.specificity(step, own, others),
                pool.lift(asked, OBJECT),
                pool.mean(pool.of("heatmap_area", asked)),
            )
        )
    same = comparable([row[4] for row in rows])
    rows = [(*row, "yes" if one else "no") for row, one in zip(rows, same, strict=True)]
    fair = [row for row in rows if row[-1] == "yes"]
    best = max(fair, key=lambda row: row[6].value)
    least = min(fair, key=lambda row: row[6].value)
    named = [
        f"{row[3]} on {row[2]} cells of {row[1]}, stride {row[0]}: {text(row[6])}"
        for row in (best, least)
    ]
    return Result(
        name="views",
        title=f"Map size, layer and method, for the {rank} model",
        claim="How do map size, layer and method change where the maps are?",
        header=(
            "stride",
            "layer",
            "map",
            "method",
            "accuracy",
            f"plain map on {spaced(part)}",
            f"step map on {spaced(part)}",
            "step map, own part minus others",
            "plain map on bird",
            "hot share of picture",
            "comparable",
        ),
        rows=rows,
        answer=f"Where the accuracy is not lost, the {rank} step's lift on "
        f"{spaced(part)} is highest for {named[0]}, and lowest for {named[1]}.",
        note=f"{wording.count(seeds, 'seed').capitalize()}. {VIEWS_NOTE}{LIFT}",
        missing=lost_views(rows),
        figure="study/views.png",
        short=f"The {rank} step finds {spaced(part)} best by {named[0]}.",
    )


VIEWS_NOTE = (
    "The same weights at each stride, without further training; the accuracy "
    "shows the cost. A view is not comparable if the interval of its accuracy is below "
    "that of the best view: then the network itself works differently, not only the "
    "size of its maps. "
)


def comparable(accuracies: Sequence[Estimate]) -> list[bool]:
    """Whether each accuracy's interval overlaps that of the best one."""
    best = max(accuracies, key=lambda one: one.value)
    floor = best.value if math.isnan(best.low) else best.low
    return [
        (one.value if math.isnan(one.high) else one.high) >= floor for one in accuracies
    ]


def lost_views(rows: Sequence[tuple]) -> tuple[str, ...]:
    """Sentence on the strides at which the accuracy is much lower, if any."""
    lost = {row[0]: row[4] for row in rows if row[-1] == "no"}
    if not lost:
        return ()
    named = joined([f"{stride} ({text(one)})" for stride, one in lost.items()])
    return (
        f"The effect of map size is unknown: at output stride {named} the network "
        "loses so much of its accuracy that its maps cannot be compared with those at "
        "the stride of its training.",
    )
