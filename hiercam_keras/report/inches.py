"""Draws text and pictures on a figure at places in inches, counted from its top left.

Text is fitted into a width: smaller, then on more lines, and never cut.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hiercam_keras.report import canvas, style


def show(
    figure: Figure, image: np.ndarray, left: float, top: float, side: float
) -> None:
    """Draws a picture as a square with rounded corners."""
    axes = axes_at(figure, left, top, side, side)
    axes.set_axis_off()
    shown = axes.imshow(image, interpolation="lanczos", aspect="auto")
    rounding = 0.06 / side
    frame = FancyBboxPatch(
        (rounding, rounding), 1 - 2 * rounding, 1 - 2 * rounding,
        boxstyle=f"round,pad={rounding}", transform=axes.transAxes, fill=False,
        edgecolor="none",
    )  # fmt: skip
    axes.add_patch(frame)
    shown.set_clip_path(frame)


def axes_at(
    figure: Figure, left: float, top: float, width: float, height: float
) -> Axes:
    """Axes at a place in inches, `top` counted from the top of the figure."""
    total_width, total_height = figure.get_size_inches()
    axes = figure.add_axes(
        (
            left / total_width,
            1 - (top + height) / total_height,
            width / total_width,
            height / total_height,
        )
    )
    axes.grid(False)
    return axes


def write_lines(
    figure: Figure,
    left: float,
    baseline: float,
    text: str,
    width: float,
    sizes: Sequence[tuple[float, int]],
    color: str = style.INK,
    weight: str = "normal",
) -> None:
    """Writes text within a width in inches, the last line on the baseline.

    Args:
      sizes: (font size, most lines) in the order in which they are tried; the last is
        used if none fits, so no text is cut.
    """
    size, lines = fitted(text, width, sizes, weight)
    for above, line in enumerate(reversed(lines)):
        at = baseline - above * 1.15 * size / 72
        write(figure, left, at, line, size, color, weight)


def fitted(
    text: str, width: float, sizes: Sequence[tuple[float, int]], weight: str
) -> tuple[float, list[str]]:
    """The font size and lines of text in a width, see `write_lines`."""
    scale = 8  # fonts have whole sizes
    for size, most in sizes:
        face = canvas.font(round(scale * size), weight == "bold")
        lines = canvas.wrapped(canvas.clean(text), face, int(scale * 72 * width))
        if len(lines) <= most:
            break
    return size, lines


def write(
    figure: Figure,
    left: float,
    baseline: float,
    text: str,
    size: float,
    color: str = style.INK,
    weight: str = "normal",
) -> None:
    """Writes one line of text on a baseline."""
    width, height = figure.get_size_inches()
    figure.text(
        left / width, 1 - baseline / height, canvas.clean(text), fontsize=size,
        color=color, weight=weight, va="baseline",
    )  # fmt: skip
