"""Where the object is in a picture as the model saw it: by its mask, else its boxes."""

from collections.abc import Sequence

import numpy as np

from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import label_cells
from hiercam_keras.metrics.maps import box_coverage

MASK, BOX = "mask", "box"


def object_maps(
    records: Sequence[Record], rows: Sequence[np.ndarray], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """How much of each cell is object.

    Args:
      records: of N pictures.
      rows: the geometry of each, (7,), as map stores have them.
      side: cells along each axis.

    Returns:
      float64 (N, side, side) in 0 .. 1, NaN where neither mask nor box is known, and N
      times "mask", "box" or "".
    """
    found = np.full((len(records), side, side), np.nan)
    kinds = np.full(len(records), "", "<U4")
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        window = geometry.Geometry.from_row(row)
        if record.mask_path is not None:
            found[number] = label_cells(record.mask_path, window, side) > 0
            kinds[number] = MASK
        elif record.boxes:
            boxes = window.to_input(np.array(record.boxes)) * (side / window.size)
            # Several boxes may overlap: a cell is object as far as one covers it.
            found[number] = box_coverage(boxes, (side, side)).max(axis=0)
            kinds[number] = BOX
    return found, kinds


def energy_on(energy: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the energy on the object and of the picture that it fills: (N,) twice.

    NaN where the object is not known. A degenerate map is at chance.

    Args:
      energy: (N, h, w), each sums to 1.
      objects: (N, h, w), see `object_maps`.
    """
    chance = objects.mean((1, 2))
    return (energy * objects).sum((1, 2)), chance
