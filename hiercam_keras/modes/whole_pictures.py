"""Whole pictures of crops, for figures."""

import numpy as np
from PIL import Image

from hiercam_keras.data import decode, geometry
from hiercam_keras.data.records import Record
from hiercam_keras.report import whole

_SIDE = 1280  # px, longest side of a whole picture in figures


def of(record: Record, row: np.ndarray) -> whole.Picture:
    """The picture of a crop, and what a network saw of it.

    Args:
      record: of the crop.
      row: its geometry, (7,).

    Raises:
      decode.BadImage: the file cannot be read.
    """
    _, image = decode.examine(record.path)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    window = geometry.Geometry.from_row(row)
    seen = window.to_original(np.array([0.0, 0.0, window.size, window.size]))
    scale = np.array([image.width / record.width, image.height / record.height] * 2)
    box = np.array(record.detection.box_in(record.width, record.height))
    return whole.Picture(np.asarray(image), tuple(seen * scale), tuple(box * scale))
