"""Draws text and pictures on a figure at places in inches, counted from its top left.

Text is fitted into a width: smaller, then on more lines, and never cut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch

from hiercam_keras.report import canvas, style


def paper(figure: Figure) -> Axes:
    """The only axes of a figure, as large as the figure, with inches as coordinates.

    Axes for each picture would take longer to make than the picture to draw.
    """
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.set_autoscale_on(False)
    return axes


def show(axes: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    """Draws a picture as a square with rounded corners."""
    shown = picture(axes, image, left, top, side, side)
    shown.set_clip_path(rounded(left, top, side, transform=axes.transData))


def picture(
    axes: Axes,
    image: np.ndarray,
    left: float,
    top: float,
    width: float,
    height: float,
    interpolation: str = "lanczos",
) -> AxesImage:
    """Draws a picture, stretched to a rectangle."""
    extent = (left, left + width, top + height, top)
    return axes.imshow(image, interpolation=interpolation, aspect="auto", extent=extent)


def rounded(left: float, top: float, side: float, **look: Any) -> FancyBboxPatch:
    """A square with rounded corners."""
    radius = 0.06
    inner = side - 2 * radius
    shape = f"round,pad={radius}"
    return FancyBboxPatch(
        (left + radius, top + radius), inner, inner, boxstyle=shape, **look
    )


def write_lines(
    axes: Axes,
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
        write(axes, left, at, line, size, color, weight)


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
    axes: Axes,
    left: float,
    baseline: float,
    text: str,
    size: float,
    color: str = style.INK,
    weight: str = "normal",
) -> None:
    """Writes one line of text on a baseline."""
    axes.text(
        left, baseline, canvas.clean(text), fontsize=size, color=color, weight=weight,
        va="baseline",
    )  # fmt: skip
