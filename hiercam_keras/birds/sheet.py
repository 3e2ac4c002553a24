"""Contact sheets of drawn birds."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hiercam_keras.birds.bird import Bird
from hiercam_keras.birds.draw import PARTS as LABELS
from hiercam_keras.birds.interventions import HOWS, PARTS, exchanges
from hiercam_keras.birds.picture import render
from hiercam_keras.birds.traits import Look
from hiercam_keras.birds.tree import SyntheticSpecies

PART_COLORS = np.array(
    [
        [245, 245, 245],
        [120, 130, 150],
        [230, 140, 30],
        [40, 130, 200],
        [220, 30, 90],
        [90, 70, 50],
    ],
    dtype=np.uint8,
)


def contact_sheet(
    rows: Sequence[Sequence[tuple[Look, int]]],
    *,
    size: int = 128,
    seed: int = 0,
    gap: int = 4,
    parts: bool = False,
) -> Image.Image:
    """Birds in a grid.

    Args:
      rows: looks with the index of their habitat, row by row.
      size: side of one picture in pixels.
      seed: of the pictures; the same seed gives the same sheet.
      gap: white pixels between pictures.
      parts: draw the part labels instead of the pictures.

    Returns:
      An RGB image.
    """
    columns = max(len(row) for row in rows)
    step = size + gap
    sheet = Image.new("RGB", (columns * step + gap, len(rows) * step + gap), "white")
    for r, row in enumerate(rows):
        for c, (look, habitat) in enumerate(row):
            drawn = render(look, habitat, np.random.default_rng([seed, r, c]), size)
            picture = PART_COLORS[drawn.parts] if parts else drawn.image
            sheet.paste(Image.fromarray(picture), (gap + c * step, gap + r * step))
    return sheet


def tree_sheet(
    tree: Sequence[SyntheticSpecies],
    *,
    columns: int = 6,
    size: int = 128,
    seed: int = 0,
) -> Image.Image:
    """One row per order, species spread over its families, genera and patch places.

    Args:
      tree: as from `default_tree`.
      columns: species per order, at most as many as an order has.
      size: side of one picture in pixels.
      seed: of the pictures.

    Returns:
      An RGB image; every bird is in the habitat of its family.
    """
    orders = sorted({leaf.values[0] for leaf in tree})
    rows = []
    for order in orders:
        leaves = [leaf for leaf in tree if leaf.values[0] == order]
        count = min(columns, len(leaves))
        chosen = [leaves[i * len(leaves) // count] for i in range(count)]
        rows.append([(leaf.look, leaf.habitat) for leaf in chosen])
    return contact_sheet(rows, size=size, seed=seed)


_ROWS = {
    "sibling": "of a sibling",
    "unrelated": "of an unrelated taxon",
    "removed": "removed",
}


def exchange_sheet(
    bird: Bird, *, parts: Sequence[str] = PARTS, seed: int = 0, gap: int = 4
) -> Image.Image:
    """One bird with every exchange: a row for each way, a column for each part.

    The first column has the bird as it was, and the labels of its parts. The taxon that
    gave the form is named below each picture.

    Args:
      bird: its size is that of one picture.
      parts: columns, as for `exchanges`.
      seed: of the choice among taxa.
      gap: white pixels between pictures.

    Returns:
      An RGB image.
    """
    size = bird.size
    font = ImageFont.load_default(max(9, size // 11))
    line = round(1.4 * font.size)
    step, height = size + gap, size + line + gap
    left, top = line + gap, line
    sheet = Image.new(
        "RGB",
        (left + (len(parts) + 1) * step, top + len(HOWS) * height),
        "white",
    )
    pen = ImageDraw.Draw(sheet)

    def put(column: int, row: int, picture: np.ndarray, caption: str) -> None:
        x, y = left + column * step, top + row * height
        sheet.paste(Image.fromarray(picture), (x, y))
        face = _fitted(font, caption, size)
        pen.text((x + size // 2, y + size + line // 2), caption, "black", face, "mm")

    drawn = bird.draw()
    put(0, 0, drawn.image, "as it was")
    put(0, 1, PART_COLORS[drawn.parts], "its parts")
    _legend(pen, left, top + 2 * height, size, font)
    for column, part in enumerate(parts, 1):
        place = (left + column * step + size // 2, line // 2)
        pen.text(place, _words(part), "black", font, "mm")
    for row, how in enumerate(HOWS):
        face = _fitted(font, _ROWS[how], size)
        name = Image.new("RGB", (size, line), "white")
        middle = (size // 2, line // 2)
        ImageDraw.Draw(name).text(middle, _ROWS[how], "black", face, "mm")
        turned = name.transpose(Image.Transpose.ROTATE_90)
        sheet.paste(turned, (0, top + row * height))
    for number, one in enumerate(exchanges(bird, parts, seed=seed)):
        column, row = divmod(number, len(HOWS))
        caption = one.donor or ("" if one.changed else "no other form")
        put(column + 1, row, one.image, caption)
    return sheet


def _legend(pen: ImageDraw.ImageDraw, x: int, y: int, size: int, font) -> None:
    """Names of the parts next to their colors, in a square of `size`."""
    step = size // len(LABELS)
    for row, label in enumerate(LABELS[1:]):
        corner = y + row * step + step // 2
        left = x + step // 2
        box = (left, corner, left + step // 2, corner + step // 2)
        pen.rectangle(box, fill=tuple(PART_COLORS[row + 1].tolist()))
        place = (left + step, corner + step // 4)
        pen.text(place, _words(label), "black", font, "lm")


def _words(part: str) -> str:
    return part.replace("_", " ")


def _fitted(font, text: str, width: int):
    """The font, made smaller until a text fits the width in pixels."""
    while font.getlength(text) > width and font.size > 6:
        font = ImageFont.load_default(font.size - 1)
    return font
