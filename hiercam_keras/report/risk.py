"""Hierarchical risk against coverage: how often an answer is wrong."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from hiercam_keras.report import style


def save_risk_coverage(
    path: str | os.PathLike,
    coverage: np.ndarray,
    risk: np.ndarray,
    area: float,
    points: Mapping[str, tuple[float, float]],
) -> Path:
    """Writes a PNG of the curve of one threshold, and of rules as points.

    Args:
      path: of the file.
      coverage, risk: (T,), 0 .. 1.
      area: under the curve.
      points: coverage and risk of rules by name.
    """
    with style.drawing():
        figure = style.new_figure(6.4, 4.4)
        axes = figure.add_subplot()
        axes.plot(
            coverage,
            risk,
            color=style.MUTED,
            linewidth=1.8,
            label=f"one threshold for all ranks, area {area:.3f}",
        )
        for number, (name, (said, wrong)) in enumerate(points.items()):
            axes.plot(
                said,
                wrong,
                color=style.CYCLE[number % len(style.CYCLE)],
                marker="osD^v<>"[number % 7],
                markersize=7,
                linestyle="",
                label=name,
            )
        axes.set_xlim(0, 1.02)
        axes.set_ylim(bottom=0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("coverage: how much the believed name says (0: root)")
        axes.set_ylabel("wrong believed names")
        axes.legend(loc="upper left", fontsize=8)
        return style.save_png(path, style.to_png(figure))
