"""Pictures in a grid with named rows and columns, each with a caption."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from hiercam_keras.report import overlay, style

_SIDE = 1.25  # inches
_WORDS = 20  # characters in a line of a caption


class Cell(NamedTuple):
    """A picture, uint8 (H, W, 3), and the words below it, lines apart by newlines."""

    picture: np.ndarray
    caption: str = ""


def grid_jpg(
    cells: Mapping[tuple[str, str], Cell], rows: Sequence[str], columns: Sequence[str]
) -> bytes:
    """Draws the pictures.

    Args:
      cells: (row, column) -> picture; places without one stay empty.
      rows, columns: names, in order.

    Returns:
      JPEG bytes: of pictures a PNG is six times as large.

    Raises:
      ValueError: a picture's row or column is not named.
    """
    unknown = [key for key in cells if key[0] not in rows or key[1] not in columns]
    if unknown:
        raise ValueError(f"pictures at {unknown}, which are no named rows and columns")
    with style.drawing():
        width = 0.9 + (_SIDE + 0.1) * len(columns)
        figure = style.new_figure(width, 0.4 + (_SIDE + 0.45) * len(rows))
        axes = figure.subplots(len(rows), len(columns), squeeze=False)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                ax = axes[i, j]
                ax.set_xticks([])
                ax.set_yticks([])
                ax.grid(False)
                ax.spines[:].set_visible(False)
                if i == 0:
                    ax.set_title(column, fontsize=9)
                if j == 0:
                    ax.set_ylabel(row, fontsize=9)
                cell = cells.get((row, column))
                if cell is None:
                    continue
                ax.imshow(cell.picture, interpolation="lanczos")
                lines = cell.caption.splitlines()
                words = "\n".join(style.wrapped(line, _WORDS) for line in lines)
                ax.set_xlabel(words, fontsize=6.5)
        png = style.to_png(figure)
    with Image.open(io.BytesIO(png)) as image:
        return overlay.encode(image.convert("RGB"), "jpg")
