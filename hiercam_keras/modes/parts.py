"""Label images of body parts and masks as the model saw them, and the parts' names."""

from collections.abc import Sequence

import numpy as np

from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import read_labels

SIDE = 64  # cells of the maps on which shares are taken


def label_maps(
    records: Sequence[Record], rows: Sequence[np.ndarray], kind: str
) -> np.ndarray | None:
    """Label images as the model saw them.

    Args:
      records: of the pictures.
      rows: the geometry of each, (7,), as map stores have them.
      kind: "parts_path" or "mask_path".

    Returns:
      (N, SIDE, SIDE) integers; None if one of the pictures has none.
    """
    paths = [getattr(record, kind) for record in records]
    if None in paths or not paths:
        return None
    images = []
    for path, row in zip(paths, rows, strict=True):
        image = geometry.resize_mask(read_labels(path), geometry.Geometry.from_row(row))
        # The labels at the middle of each cell.
        at = ((np.arange(SIDE) + 0.5) * len(image) / SIDE).astype(int)
        images.append(image[np.ix_(at, at)])
    return np.stack(images)


def word(part: str) -> str:
    """A part's name as one says it."""
    return part.replace("_", " and ") if part == "bill_tail" else part.replace("_", " ")
