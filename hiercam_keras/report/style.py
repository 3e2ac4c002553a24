"""The look of all figures, and writing them to disk.

Figures are made without pyplot, which has global state and keeps figures open. Text is
never parsed as math markup: a folder may be called `$x$`, and `$\\frac` is an error.
"""

import contextlib
import io
import os
import textwrap
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hiercam_keras import wording
from hiercam_keras.workdir import write_bytes

INK = "#1f2430"
MUTED = "#6b7280"
FAINT = "#e5e7eb"
PALE = "#b6bcc6"  # entries that cannot be compared
PAPER = "#ffffff"
RIGHT = "#15803d"
WRONG = "#c2410c"
ACCENT = "#3457a6"
# Okabe and Ito's color-blind safe palette, without the yellow.
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4b5563")

_SETTINGS = {
    "axes.edgecolor": "#9ca3af",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """The look of this project's figures, while they are built and rendered."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # A name in a script that the bundled font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(
    width: float, height: float, layout: str | None = "constrained"
) -> Figure:
    """An empty figure of a size in inches, with a raster canvas.

    With a layout, matplotlib draws the figure twice, as its parts have to be measured.
    """
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure, dpi: int = 144, photographs: bool = False) -> bytes:
    """Renders a figure to the bytes of a PNG file, without a time stamp.

    Args:
      figure: of `new_figure`.
      dpi: pixels per inch.
      photographs: whether most of the figure is photographs, in which zlib finds hardly
        any repetitions: without a search it takes a third of the time, for 5 % more.
    """
    buffer = io.BytesIO()
    kept = {"compress_type": zlib.Z_RLE} if photographs else {}
    figure.savefig(
        buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs=kept
    )
    return buffer.getvalue()


def save_png(path: str | os.PathLike, png: bytes) -> Path:
    """Writes PNG bytes atomically and returns the path."""
    write_bytes(path, png)
    return Path(path)


def verdict(right: bool | None) -> str:
    """The color of an answer: right, wrong, or neither where nobody can say."""
    if right is None:
        return MUTED
    return RIGHT if right else WRONG


def percent(share: float | None, digits: int = 0) -> str:
    """0.4235 -> "42 %"; None and NaN -> a dash."""
    if share is None or share != share:
        return "–"
    return wording.number(100 * share, f"{{:.{digits}f}}") + " %"


def wrapped(label: str, width: int) -> str:
    """A label of a plot in lines of at most `width` letters; long words are broken."""
    return "\n".join(textwrap.wrap(label, width)) or label


class LegendShape(NamedTuple):
    """Layout of a legend below a figure: wrapped labels, columns, height in inches."""

    labels: list[str]
    columns: int
    height: float


def legend_shape(labels: Sequence[str], width: float) -> LegendShape:
    """Fits the entries of a legend below a figure that is `width` inches wide.

    A label that is wider than half of the figure is wrapped, and there are as many
    columns as the widest allows.
    """
    letters = int(12 * width)  # at the size of legends
    labels = [wrapped(label, letters // 2 - 8) for label in labels]
    lines = [label.split("\n") for label in labels]
    widest = max(len(line) for label in lines for line in label)
    columns = max(1, min(len(labels), 8, letters // (widest + 8)))
    rows = -(-len(labels) // columns)
    # Entries go down the columns; a row is as high as its highest label.
    highest = [max(map(len, lines[row::rows])) for row in range(rows)]
    return LegendShape(labels, columns, 0.2 * sum(highest))
