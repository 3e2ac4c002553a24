"""Windows: the part of each resized image that crops can reach.

An image is resized and cut to its *window* in one step. Without augmentation the window
is the model's input; with random crops it is larger and contains all of them, so one
window serves every epoch and can be kept in memory.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hiercam_keras.data import decode, geometry
from hiercam_keras.data.records import Record

# Added before truncation to 8 bits. Weights are ratios of small integers, so exact
# halves are common, and their rounding would otherwise depend on round-off.
ROUNDING = 0.5017


class Windows(NamedTuple):
    """Windows of N images; all arrays are int32 (N, 2) and ordered height, width.

    Of examples that are a crop of their image, only the crop is resized to the usual
    size: the whole image then has a `resized` that is no whole number. With such
    examples `resized` and `start` are float64.

    Attributes:
      original: size of the original as displayed, pixels.
      resized: size of the whole image after resizing.
      start: top and left of the window in the resized whole image.
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
        reach. A crop moves by at most `size`, even in very long images.
    """
    original = np.array([(r.height, r.width) for r in records], np.int32)
    original = original.reshape(-1, 2)
    cropped = any(record.crop for record in records)
    # Top, left, height, width of the part that is resized.
    parts = np.array([_part(r) for r in records], float if cropped else np.int32)
    corner, extent = parts.reshape(-1, 2, 2).swapaxes(0, 1)
    resized = np.array(
        [geometry.resized_shape(w, h, size, layout)[::-1] for h, w in extent],
        np.int32,
    ).reshape(-1, 2)
    center = (resized - size) // 2
    reach = np.minimum(np.floor(center * crop_jitter), size).astype(np.int32)
    start = center - reach
    if cropped:
        scale = resized / extent
        resized, start = original * scale, start + corner * scale
    return Windows(original, resized, start, size + 2 * reach, size)


def _part(record: Record) -> tuple[float, float, float, float]:
    if record.crop is None:
        return 0, 0, record.height, record.width
    x0, y0, x1, y1 = record.crop
    return y0, x0, y1 - y0, x1 - x0


def read(
    path: Path,
    windows: Windows,
    index: int,
    first: Sequence[int] = (0, 0),
    count: Sequence[int] | None = None,
    reduce: bool = True,
    flip: Sequence[bool] = (False, False),
) -> np.ndarray:
    """A part of the window of one image, read with Pillow.

    Args:
      path: of its file.
      windows: of all images.
      index: of the image.
      first: top and left of the part in the window.
      count: height and width of the part; None for the whole window.
      reduce: whether a JPEG file may be decoded at 1/2, 1/4 or 1/8, see
        `decode.reduction`.
      flip: whether it is mirrored top to bottom and left to right.

    Returns:
      uint8 (height, width, 3). Pillow computes a part's position in single precision:
      its pixels equal those of the whole window up to one level.

    Raises:
      decode.BadImage: with the reason why there are no pixels.
    """
    height, width = (float(side) for side in windows.resized[index])
    least = (math.ceil(width), math.ceil(height))
    facts, image = decode.examine(path, least if reduce else None)
    tall, wide = _span(facts, image, least)
    begin = windows.start[index] + first
    end = begin + (windows.extent[index] if count is None else count)
    top, bottom = (float(edge) * tall / height for edge in (begin[0], end[0]))
    left, right = (float(edge) * wide / width for edge in (begin[1], end[1]))
    box = (left, top, min(right, image.width), min(bottom, image.height))
    size = (round(end[1] - begin[1]), round(end[0] - begin[0]))
    image = image.resize(size, Image.Resampling.BILINEAR, box)
    for mirrored, method in zip(flip, _FLIPS, strict=True):
        image = image.transpose(method) if mirrored else image
    return np.asarray(image)


_FLIPS = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)


def _span(facts, image, least):
    """Height and width of the whole image in decoded pixels."""
    times = decode.reduction(facts.width, facts.height, least)
    if image.size == (-(-facts.width // times), -(-facts.height // times)):
        return facts.height / times, facts.width / times
    # The file may be a smaller copy: scale by its own size.
    return image.height, image.width


def geometry_rows(
    windows: Windows,
    indices: np.ndarray,
    crop: np.ndarray,
    flip: np.ndarray,
) -> np.ndarray:
    """Geometry rows of augmented images, float32 (B, 7); see `geometry.Geometry`.

    Args:
      windows: of all images.
      indices: (B,) of the images.
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
