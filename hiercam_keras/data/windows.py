"""Data room: the part of each resized image that a model may come to see.

An image is resized and cut to its *window* in one step. Without augmentation the window
is the model's input; with random crops it is larger by what they may reach, so that the
same window serves every epoch and can be kept in memory.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hiercam_keras.data import decode, geometry
from hiercam_keras.data.records import Record

# Added before truncation to 8 bits. Weights are ratios of small integers, so that exact
# halves are common, and round-off alone would decide about them.
ROUNDING = 0.5017
_BILINEAR = Image.Resampling.BILINEAR


class Windows(NamedTuple):
    """Windows of N images; all arrays are int32 (N, 2) and ordered height, width.

    Attributes:
      original: size of the original as displayed, pixels.
      resized: size of the whole image after resizing.
      start: top and left of the window in the resized image.
      extent: height and width of the window.
      size: side of the model input.
    """

    original: np.ndarray
    resized: np.ndarray
    start: np.ndarray
    extent: np.ndarray
    size: int

    @property
    def num_bytes(self) -> int:
        """Memory that all windows take as uint8 RGB."""
        return int(self.extent.astype(np.int64).prod(axis=1).sum()) * 3


def plan(
    records: Sequence[Record],
    size: int,
    layout: geometry.Layout,
    crop_jitter: float = 0.0,
) -> Windows:
    """Windows of all records.

    Args:
      records: with their sizes.
      size: side of the model input, pixels.
      layout: see `geometry.resized_shape`.
      crop_jitter: 0..1, share of the slack around the center crop that random crops
        reach. However long an image is, a crop moves by at most `size`.
    """
    original = np.array([(r.height, r.width) for r in records], np.int32)
    original = original.reshape(-1, 2)
    resized = np.array(
        [geometry.resized_shape(w, h, size, layout)[::-1] for h, w in original],
        np.int32,
    ).reshape(-1, 2)
    center = (resized - size) // 2
    reach = np.minimum(np.floor(center * crop_jitter), size).astype(np.int32)
    return Windows(original, resized, center - reach, size + 2 * reach, size)


def read(path: Path, windows: Windows, index: int) -> np.ndarray:
    """The window of one image, uint8 (height, width, 3), read with Pillow.

    Raises:
      decode.BadImage: with the reason why there are no pixels.
    """
    _, image = decode.examine(path)
    # The file may be a smaller copy: scale by what is there.
    scale = np.array(image.size[::-1]) / windows.resized[index]
    top, left = windows.start[index] * scale
    bottom, right = (windows.start[index] + windows.extent[index]) * scale
    box = (left, top, min(right, image.width), min(bottom, image.height))
    height, width = (int(side) for side in windows.extent[index])
    # In floating point, as TensorFlow does it: on 8 bits Pillow rounds after each axis,
    # and one pixel in ten would differ.
    channels = [
        channel.convert("F").resize((width, height), _BILINEAR, box=box)
        for channel in image.split()
    ]
    return (np.stack(channels, axis=-1) + np.float32(ROUNDING)).astype(np.uint8)


def geometry_rows(
    windows: Windows,
    indices: np.ndarray,
    crop: np.ndarray,
    flip: np.ndarray,
) -> np.ndarray:
    """Geometry rows of augmented images, float32 (B, 7); see `geometry.Geometry`.

    Args:
      windows: of all images.
      indices: (B,) which of them.
      crop: int (B, 2) top and left of the crop in the window.
      flip: bool (B, 2) whether mirrored top to bottom and left to right.
    """
    original = windows.original[indices].astype(np.float64)
    scale = windows.resized[indices] / original
    offset = -(windows.start[indices] + crop).astype(np.float64)
    scale = np.where(flip, -scale, scale)
    offset = np.where(flip, windows.size - offset, offset)
    size = np.full((len(indices), 1), windows.size)
    columns = [original[:, ::-1], scale[:, ::-1], offset[:, ::-1], size]
    return np.concatenate(columns, axis=1).astype(np.float32)
