"""The figures of the compare page, drawn from its summary and its lifts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras import wording
from hiercam_keras.modes.compare_answer import answers
from hiercam_keras.modes.compare_lifts import Lift
from hiercam_keras.report import intervals, schema
from hiercam_keras.wording import spaced

Row = Mapping[str, Any]


def draw(summary: Sequence[Row], lifts: Sequence[Lift]) -> tuple[schema.Figure, ...]:
    """All figures."""
    figures = (accuracy(summary),)
    return (*figures, on_parts(lifts)) if lifts else figures


def accuracy(summary: Sequence[Row]) -> schema.Figure:
    """Accuracy of each model; the methods of one model have one accuracy."""
    rows = answers(summary)
    values = {
        row["model"]: tuple(row[name] for name in ("accuracy", "low", "high"))
        for row in rows
    }
    chances = {row["model"]: row["chance"] for row in rows}
    known = any(math.isfinite(low) for _, low, _ in values.values())
    xlabel = "accuracy, 95 % interval" if known else "accuracy"
    png = intervals.intervals_png({"Accuracy": values}, xlabel, chances, percent=True)
    counted = wording.count(rows[0]["pictures"], "picture")
    alt = "; ".join(f"{name} {value[0]:.1%}" for name, value in values.items())
    return schema.Figure(
        "Accuracy",
        png,
        f"Accuracy with intervals: {alt}",
        f"Over {counted}. The gray tick is guessing. From summary.csv.",
    )


def on_parts(lifts: Sequence[Lift]) -> schema.Figure:
    """One panel a part, one row a map."""
    panels, marked = {}, {}
    for one in lifts:
        title = f"{spaced(one.part)} ({one.rank})"
        panels.setdefault(title, {})[one.map] = (
            one.lift.value,
            one.lift.low,
            one.lift.high,
        )
        if one.step == one.rank:
            marked[title] = (one.map,)
    png = intervals.intervals_png(panels, "times chance", 1.0, marked)
    steps = max((one.lift.n for one in lifts if one.step), default=0)
    plain = max((one.lift.n for one in lifts if not one.step), default=0)
    caption = f"Of the plain maps over {wording.count(plain, 'picture')}"
    if steps:
        caption += (
            f", of the steps over {steps}. In orange the step whose trait the part "
            "carries"
        )
    return schema.Figure(
        "Energy of the maps on the parts",
        png,
        "Energy on each part over chance, for each map, as in the table.",
        f"{caption}. From lifts.csv.",
    )
