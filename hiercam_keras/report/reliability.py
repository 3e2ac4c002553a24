"""Reliability diagrams, one panel for each rank.

The share of right answers among few images is a matter of chance, so a curve has points
of neighboring bins with enough images, and a panel of few images has none.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hiercam_keras import wording
from hiercam_keras.report import style

_COLUMNS = 4


class Panel(NamedTuple):
    """The diagram of one rank.

    Attributes:
      title: the rank.
      ece: expected calibration error without temperature scaling, 0 .. 1.
      ece_scaled: the same with temperature scaling, or None.
      bins: name -> low, high and count of each bin.
      points: name -> confidence, accuracy, and the low and high end of its interval.
      images: number of images.
      least: images of a point; a panel with fewer images has no points.
    """

    title: str
    ece: float
    ece_scaled: float | None
    bins: Mapping[str, Mapping[str, np.ndarray]]
    points: Mapping[str, Mapping[str, np.ndarray]]
    images: int
    least: int


def save_reliability(path: str | os.PathLike, panels: Sequence[Panel]) -> Path:
    """Writes a PNG: accuracy against confidence, with the images of each bin below.

    Bars of the points are 95 % intervals.
    """
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
        figure.supxlabel(
            f"A point has {panels[0].least} or more images of neighboring bins; its "
            "bar is the 95 % interval.",
            fontsize=8,
            color=style.MUTED,
        )
        return style.save_png(path, style.to_png(figure))


def _draw(upper: Axes, lower: Axes, panel: Panel, first: bool) -> None:
    upper.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1.0, linestyle=":")
    for number, (name, table) in enumerate(panel.bins.items()):
        color = style.CYCLE[number]
        points = panel.points[name]
        share = points["accuracy"]
        upper.errorbar(
            points["confidence"],
            share,
            # Lists: of one point matplotlib 3.10 takes rows of an array for numbers.
            [(share - points["low"]).tolist(), (points["high"] - share).tolist()],
            color=color,
            marker="o",
            markersize=3.5,
            linewidth=1.6,
            elinewidth=0.8,
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
    few = panel.images < panel.least
    if few:
        text = wording.too_few(panel.images, "image")
    upper.set_title(f"{panel.title}\n{text}", fontsize=10)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    if not few:
        upper.legend(loc="upper left", fontsize=7)
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    upper.tick_params(labelbottom=False)
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    lower.set_xlabel("probability of the answer")
    if first:
        upper.set_ylabel("answers that are right")
        lower.set_ylabel("images")
