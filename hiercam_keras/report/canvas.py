"""Drawing text and pictures on a Pillow image, for the sheets.

The fonts are those of matplotlib, so a sheet looks the same on every machine.
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
    known: int | None = None,
) -> int:
    """Writes taxa joined by ›, in lines; red from the first wrong one on.

    Args:
      draw: of the picture that is drawn on.
      spot: left and top of the text, in px.
      taxa: of a lineage, coarse to fine; "" at a rank that it skips.
      truth: the true lineage; empty for none.
      width: of a line, in px.
      known: number of taxa of `truth` that the model has; finer ones are neither right
        nor wrong. None for all.

    Returns:
      The y below the text.
    """
    left, y = spot
    x, face = left, font(12)
    right = True
    last = max((i for i, taxon in enumerate(taxa) if taxon), default=0)
    for i, taxon in enumerate(taxa):
        if truth and (known is None or i < known):
            right = right and i < len(truth) and truth[i] == taxon
        if not taxon:  # a rank that the lineage skips
            continue
        color = style.MUTED if right else style.WRONG
        text = clean(taxon) + (" ›" if i < last else "")
        if x > left and x + face.getlength(text) > left + width:
            x, y = left, y + 16
        *full, rest = wrapped(text, face, width)
        for line in full:
            draw.text((x, y), line, color, face)
            x, y = left, y + 16
        draw.text((x, y), rest, color, face)
        x += face.getlength(rest) + 5
    return y + 16 if taxa else y


def mark(
    draw: ImageDraw.ImageDraw, center: tuple[int, int], right: bool | None, color: str
) -> None:
    """Draws a check mark or a cross in a disc, which not every font has; a line across
    it if the truth is unknown."""
    x, y = center
    draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=color)
    if right is None:
        draw.line([(x - 4, y), (x + 4, y)], _WHITE, 2)
    elif right:
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
    """Writes text in lines of at most `width`; returns the y below them."""
    face, (left, y) = font(size, bold), spot
    for line in wrapped(clean(text), face, width):
        draw.text((left, y), line, color, face)
        y += round(1.3 * size)
    return y


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Breaks text into lines of at most `width` pixels; breaks longer words."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if face.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and face.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def scratch() -> ImageDraw.ImageDraw:
    """A throwaway canvas to measure the height of text."""
    return ImageDraw.Draw(Image.new("RGB", (1, 1)))


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
