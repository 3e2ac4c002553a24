"""A contact sheet of drawn birds."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

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
