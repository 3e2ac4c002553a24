"""Whole pictures of crops, for figures."""

import numpy as np
from PIL import Image

from hiercam_keras.data import decode, geometry
from hiercam_keras.data.records import Record
from hiercam_keras.report import whole

_SIDE = 1280  # px, longest side of a whole picture in figures
_SMALL = 480  # and on pages, next to its crop


def located(record: Record, row: np.ndarray) -> np.ndarray | None:
    """The picture of a crop, uint8 (H, W, 3), with the animal's box and what a network
    saw; None where the record is no crop. For the arguments see `of`."""
    if record.crop is None:
        return None
    return whole.located(of(record, row, _SMALL))


def of(record: Record, row: np.ndarray, side: int = _SIDE) -> whole.Picture:
    """The picture of a crop, and what a network saw of it.

    Args:
      record: of the crop.
      row: its geometry, (7,).
      side: px, longest side of the picture.

    Raises:
      decode.BadImage: the file cannot be read.
    """
    _, image = decode.examine(record.path)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    window = geometry.Geometry.from_row(row)
    seen = window.to_original(np.array([0.0, 0.0, window.size, window.size]))
    scale = np.array([image.width / record.width, image.height / record.height] * 2)
    box = np.array(record.detection.box_in(record.width, record.height))
    return whole.Picture(np.asarray(image), tuple(seen * scale), tuple(box * scale))
