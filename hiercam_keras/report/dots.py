"""Dot plots of values with intervals, one row for each measured quantity."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D

from hiercam_keras.report import style

_WIDTH = 8.2  # inches
# Value, low and high; an unknown end is NaN.
Point = tuple[float, float, float]


def dots_png(
    rows: Sequence[str],
    series: Mapping[str, Sequence[Point | None]],
    xlabel: str,
    reference: float | None = None,
    marks: Sequence[float | None] = (),
    mark_label: str = "guessing",
    pale: Sequence[int] = (),
) -> bytes:
    """Draws a dot with its interval for each row and series.

    Args:
      rows: names, top to bottom.
      series: name -> a point for each row, None for none.
      xlabel: what is measured.
      reference: x of a vertical line, such as the chance level.
      marks: x of a short tick in each row, such as the row's chance level.
      mark_label: name of the marks in the legend.
      pale: indices of the rows that cannot be compared with the others.

    Returns:
      PNG bytes.

    Raises:
      ValueError: a series has not one point for each row.
    """
    for name, points in series.items():
        if len(points) != len(rows):
            raise ValueError(
                f"series {name!r} has {len(points)} points, expected {len(rows)}"
            )
    with style.drawing():
        names = [*series, *([mark_label] if any(m is not None for m in marks) else [])]
        shape = style.legend_shape(names, _WIDTH) if len(names) > 1 else None
        labels = [style.wrapped(row, 40) for row in rows]
        lines = max((label.count("\n") + 1 for label in labels), default=1)
        row = max(0.34, 0.17 * len(series), 0.18 * lines)
        height = 0.9 + (shape.height if shape else 0.2) + len(rows) * row
        figure = style.new_figure(_WIDTH, height)
        ax = figure.subplots()
        if reference is not None:
            ax.axvline(reference, color=style.MUTED, linewidth=1.0, linestyle=":")
        handles = []
        for number, (name, points) in enumerate(series.items()):
            color = style.CYCLE[number % len(style.CYCLE)]
            shift = (number - (len(series) - 1) / 2) * min(0.22, 0.7 / len(series))
            for row, point in enumerate(points):
                if point is not None:
                    _draw(ax, row + shift, point, style.PALE if row in pale else color)
            handles.append(
                Line2D([], [], color=color, marker="o", linewidth=1.6, label=name)
            )
        for row, mark in enumerate(marks):
            if mark is not None and math.isfinite(mark):
                ax.plot([mark, mark], [row - 0.3, row + 0.3], color=style.MUTED)
        if any(mark is not None for mark in marks):
            handles.append(Line2D([], [], color=style.MUTED, label=mark_label))
        ax.set_yticks(range(len(rows)), labels)
        for row in pale:
            ax.get_yticklabels()[row].set_color(style.MUTED)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel(xlabel)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        if shape:
            for handle, label in zip(handles, shape.labels, strict=True):
                handle.set_label(label)
            figure.legend(
                handles=handles, loc="outside lower center", ncols=shape.columns
            )
        return style.to_png(figure)


def _draw(ax: Any, y: float, point: Point, color: str) -> None:
    value, low, high = point
    if not math.isfinite(value):
        return
    if math.isfinite(low) and math.isfinite(high):
        ax.plot([low, high], [y, y], color=color, linewidth=1.6, solid_capstyle="round")
    ax.plot([value], [y], "o", color=color, markersize=5)
