"""Label images of body parts and masks as the model saw them, and the parts' names."""

from collections.abc import Sequence

import numpy as np

from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import label_cells
from hiercam_keras.maps import SIDE


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
    windows = [geometry.Geometry.from_row(row) for row in rows]
    pairs = zip(paths, windows, strict=True)
    return np.stack([label_cells(path, window, SIDE) for path, window in pairs])


def word(part: str) -> str:
    """A part's name as one says it."""
    return part.replace("_", " and ") if part == "bill_tail" else part.replace("_", " ")
