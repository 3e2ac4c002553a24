"""Room report: writing and pasting on a Pillow image, for the sheets.

The fonts are those that matplotlib brings, so that a sheet looks the same everywhere.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hiercam_keras.report import style

_WHITE = (255, 255, 255)


def lineage(
    draw: ImageDraw.ImageDraw,
    spot: tuple[int, int],
    taxa: Sequence[str],
    truth: Sequence[str],
    width: int,
) -> int:
    """Writes taxa joined by ›, broken into lines; red from the first false one on."""
    left, y = spot
    x = left
    right = True
    for i, taxon in enumerate(taxa):
        right = right and (not truth or (i < len(truth) and truth[i] == taxon))
        text = clean(taxon) + (" ›" if i + 1 < len(taxa) else "")
        text = _cut(text, font(12), width)
        length = font(12).getlength(text)
        if x > left and x + length > left + width:
            x, y = left, y + 16
        draw.text((x, y), text, style.MUTED if right else style.WRONG, font(12))
        x += length + 5
    return y + 16 if taxa else y


def mark(
    draw: ImageDraw.ImageDraw, center: tuple[int, int], right: bool, color: str
) -> None:
    """A check or a cross in a disc, drawn: not every font has the signs."""
    x, y = center
    draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=color)
    if right:
        draw.line([(x - 4, y), (x - 1, y + 3), (x + 4, y - 3)], _WHITE, 2)
    else:
        draw.line([(x - 3, y - 3), (x + 3, y + 3)], _WHITE, 2)
        draw.line([(x - 3, y + 3), (x + 3, y - 3)], _WHITE, 2)


def write(
    draw: ImageDraw.ImageDraw,
    spot: tuple[int, int],
    text: str,
    size: int,
    width: int,
    bold: bool = False,
    color: str = style.INK,
) -> int:
    """Writes one line, cut to `width`; returns the y below it."""
    face = font(size, bold)
    draw.text(spot, _cut(clean(text), face, width), color, face)
    return spot[1] + round(1.3 * size)


def _cut(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def clean(text: str) -> str:
    """Text on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """Scales an image to a square of `side` pixels."""
    if image.shape[:2] == (side, side):
        return image
    picture = Image.fromarray(image)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def paste(sheet: Image.Image, image: np.ndarray, spot: tuple[int, int]) -> None:
    """Puts a square picture with rounded corners on the sheet; `spot` is left, top."""
    sheet.paste(Image.fromarray(image), spot, _rounded(image.shape[0]))


@functools.lru_cache(maxsize=4)
def _rounded(side: int) -> Image.Image:
    mask = Image.new("L", (4 * side, 4 * side), 0)
    box = (0, 0, 4 * side - 1, 4 * side - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, 24, fill=255)
    return mask.resize((side, side), Image.Resampling.LANCZOS)


@functools.lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own DejaVu Sans, so that every machine draws the same."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size
    )
