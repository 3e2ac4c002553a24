"""Learning curves, one panel for the loss and one for the accuracy.

Columns are those of log.csv: `epoch`, and any of `[val_][rank_]loss` and
`[val_][rank_]accuracy`. One color per run and rank; validation is the full line,
training the thin dashed one.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hiercam_keras.errors import UserError
from hiercam_keras.report import style

Columns = Mapping[str, Sequence[float]]

_WIDTH = 9.6  # inches
_COLUMN = re.compile(
    r"(?P<val>val_)?(?:(?P<head>.+?)_)??(?:sparse_)?(?:categorical_)?"
    r"(?P<what>loss|accuracy|acc)"
)


def series_of(columns: Columns) -> dict[tuple[str, str, bool], list[float]]:
    """Sorts a log: (head, "loss" | "accuracy", is validation) -> values per epoch.

    The head is "" for a model with one head and for the total loss. Columns that are
    neither (epoch, learning_rate, seconds) are left out.
    """
    series = {}
    for column, values in columns.items():
        match = _COLUMN.fullmatch(column)
        if match:
            what = "loss" if match["what"] == "loss" else "accuracy"
            key = (match["head"] or "", what, bool(match["val"]))
            series[key] = [float(value) for value in values]
    return series


def learning_curves_png(
    runs: Mapping[str, Columns],
    chances: Mapping[str, float] | None = None,
    title: str = "",
) -> bytes:
    """Draws the learning curves of one or several runs.

    Args:
      runs: name of the run (such as its rank) -> columns of its log.csv.
      chances: name of a run, or "run head", -> accuracy of guessing (dotted).
      title: above the figure.

    Returns:
      PNG bytes.

    Raises:
      UserError: no run has a column that could be drawn.
    """
    lines = _lines(runs)
    if not lines:
        found = sorted({name for columns in runs.values() for name in columns})
        raise UserError(
            f"no learning curve to draw: log columns are {found}, expected "
            "[val_][rank_]loss or [val_][rank_]accuracy"
        )
    with style.drawing():
        handles = _handles(lines, bool(chances))
        shape = style.legend_shape([one.get_label() for one in handles], _WIDTH)
        figure = style.new_figure(_WIDTH, 3.5 + shape.height)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            _draw(axes, what, lines, chances or {})
        for handle, label in zip(handles, shape.labels, strict=True):
            handle.set_label(label)
        figure.legend(handles=handles, loc="outside lower center", ncols=shape.columns)
        return style.to_png(figure)


def save_learning_curves(
    path: str | os.PathLike,
    runs: Mapping[str, Columns],
    chances: Mapping[str, float] | None = None,
    title: str = "",
) -> Path:
    """Writes `learning_curves_png` to a file, atomically."""
    return style.save_png(path, learning_curves_png(runs, chances, title))


def _lines(runs: Mapping[str, Columns]) -> dict[str, dict]:
    """Label of a curve -> {(what, is validation): (epochs, values)}."""
    lines: dict[str, dict] = {}
    for run, columns in runs.items():
        series = series_of(columns)
        heads = {head for head, _, _ in series}
        for (head, what, is_validation), values in series.items():
            if not head and len(heads) > 1:
                continue  # the total loss of several heads compares with nothing
            label = f"{run} {head}".strip() if head and head != run else run
            epochs = list(columns.get("epoch", range(len(values))))
            # Keras counts epochs from 0, people from 1.
            first = 1 - int(min(epochs)) if epochs and min(epochs) == 0 else 0
            epochs = [epoch + first for epoch in epochs]
            lines.setdefault(label, {})[what, is_validation] = (epochs, values)
    return lines


def _draw(
    axes: Axes, what: str, lines: Mapping[str, dict], chances: Mapping[str, float]
) -> None:
    top = 0.0
    for number, (label, curves) in enumerate(lines.items()):
        color = style.CYCLE[number % len(style.CYCLE)]
        for is_validation in (False, True):
            epochs, values = curves.get((what, is_validation), ((), ()))
            axes.plot(
                epochs,
                values,
                color=color,
                linewidth=2.0 if is_validation else 1.1,
                linestyle="-" if is_validation else (0, (3, 2)),
                alpha=1.0 if is_validation else 0.75,
                marker="o" if len(epochs) <= 25 else None,
                markersize=4 if is_validation else 2,
            )
            top = max([top, *(v for v in values if math.isfinite(v))])
        if what == "accuracy" and label in chances:
            axes.axhline(chances[label], color=color, linewidth=1.1, linestyle=":")
    axes.set_title(what.capitalize())
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if what == "accuracy":
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    elif top > 0:
        axes.set_ylim(0, 1.05 * top)


def _handles(lines: Mapping[str, dict], with_chance: bool) -> list[Line2D]:
    """Entries of the legend."""
    handles = [
        Line2D([], [], color=style.CYCLE[i % len(style.CYCLE)], linewidth=2.4, label=k)
        for i, k in enumerate(lines)
    ]
    handles += [
        Line2D([], [], color=style.MUTED, linewidth=2, label="validation"),
        Line2D(
            [], [], color=style.MUTED, linewidth=1.1, ls=(0, (3, 2)), label="training"
        ),
    ]
    if with_chance:
        handles.append(
            Line2D([], [], color=style.MUTED, linewidth=1.1, ls=":", label="guessing")
        )
    return handles
