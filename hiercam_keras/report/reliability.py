"""Reliability diagrams, one panel for each rank."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from hiercam_keras.report import style

_COLUMNS = 4


class Panel(NamedTuple):
    """The diagram of one rank.

    Attributes:
      title: the rank.
      ece: expected calibration error without temperature scaling, 0 .. 1.
      ece_scaled: the same with temperature scaling, or None.
      bins: name -> low, high, count, confidence and accuracy of each bin.
    """

    title: str
    ece: float
    ece_scaled: float | None
    bins: Mapping[str, Mapping[str, np.ndarray]]


def save_reliability(path: str | os.PathLike, panels: Sequence[Panel]) -> Path:
    """Writes a PNG: accuracy against confidence, with the images of each bin below."""
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    with style.drawing():
        figure = style.new_figure(max(3.1 * columns, 3.6), 3.9 * rows + 0.3)
        grid = figure.add_gridspec(
            2 * rows, columns, height_ratios=[3, 1] * rows, hspace=0.02
        )
        for number, panel in enumerate(panels):
            row, column = divmod(number, columns)
            upper = figure.add_subplot(grid[2 * row, column])
            lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper)
            _draw(upper, lower, panel, first=column == 0)
        return style.save_png(path, style.to_png(figure))


def _draw(upper: Axes, lower: Axes, panel: Panel, first: bool) -> None:
    upper.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1.0, linestyle=":")
    for number, (name, table) in enumerate(panel.bins.items()):
        used = table["count"] > 0
        color = style.CYCLE[number]
        upper.plot(
            table["confidence"][used],
            table["accuracy"][used],
            color=color,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            label=name,
        )
        width = table["high"] - table["low"]
        lower.bar(
            table["low"],
            table["count"],
            width,
            align="edge",
            color=color,
            alpha=0.75 if number == 0 else 0.4,
        )
    text = f"ECE {panel.ece:.3f}"
    if panel.ece_scaled is not None:
        text += f" → {panel.ece_scaled:.3f}"
    upper.set_title(f"{panel.title}\n{text}", fontsize=10)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    upper.legend(loc="upper left", fontsize=7)
    upper.tick_params(labelbottom=False)
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.set_xlabel("probability of the answer")
    if first:
        upper.set_ylabel("answers that are right")
        lower.set_ylabel("images")
