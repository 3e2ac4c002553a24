"""Reads parts of windows with the pixels of tf.data, without TensorFlow.

Importing TensorFlow and building a tf.data graph takes seconds of processor time, a
picture takes milliseconds. For a small number of pictures this module computes what
`pipeline_window` computes, in the same order and in single precision, so that the
pixels of a picture do not depend on how many are read with it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hiercam_keras.data import decode, decode_regions, resize_windows

_FLOAT = np.float32


def read(
    path: Path,
    windows: resize_windows.Windows,
    index: int,
    first: Sequence[int] = (0, 0),
    count: Sequence[int] | None = None,
    reduce: bool = True,
    flip: Sequence[bool] = (False, False),
) -> np.ndarray:
    """A part of the window of one image, with the arguments of `resize_windows.read`.

    Returns:
      uint8 (height, width, 3), equal to the pixels of `pipeline_window.read`; those of
      `resize_windows.read` for a file that has another size than planned.

    Raises:
      decode.BadImage: with the reason why there are no pixels.
    """
    extent = windows.extent[index] if count is None else np.asarray(count)
    cuts = decode_regions.of(
        windows, np.array([index]), np.array([first]), extent[None], reduce
    )
    scale, shift = np.split(cuts.fit[0], 2)
    times = decode.REDUCTIONS[cuts.branch[0]]
    tall, wide, *place = cuts.place[0].tolist()
    least = tuple(math.ceil(side) for side in windows.resized[index][::-1])
    facts, image = decode.examine(path, least if reduce else None)
    if facts.format != "JPEG":  # only JPEG is decoded at a reduced scale
        place = [times * edge for edge in place]
        scale, times = scale / _FLOAT(times), 1
    if image.size != (-(-wide // times), -(-tall // times)):
        return resize_windows.read(path, windows, index, first, count, reduce, flip)
    top, left, height, width = place
    pixels = np.asarray(image)[top : top + height, left : left + width]
    # The axes are (column, color, row) after the second pass.
    rows = _resize_rows(pixels, scale[0], shift[0], int(extent[0]))
    resized = _resize_rows(rows.transpose(1, 2, 0), scale[1], shift[1], int(extent[1]))
    resized = (resized + _FLOAT(resize_windows.ROUNDING)).astype(np.uint8)
    resized = resized.transpose(2, 0, 1)
    return resized[:: -1 if flip[0] else 1, :: -1 if flip[1] else 1]


def _resize_rows(
    image: np.ndarray, scale: np.float32, shift: np.float32, count: int
) -> np.ndarray:
    """Resizes an array (H, ...) along its first axis to `count` rows.

    As TensorFlow's ScaleAndTranslate with the kernel "triangle" and antialias
    (tensorflow/core/kernels/image/scale_and_translate_op.cc): every step rounds to
    single precision, and rows are added from the first to the last.

    Args:
      image: of numbers.
      scale, shift: output = input * scale + shift, in rows.
      count: number of rows of the result.

    Returns:
      float32 (count, ...).
    """
    height, half = len(image), _FLOAT(0.5)
    step = _FLOAT(1) / scale
    reach = max(step, _FLOAT(1))
    center = (np.arange(count, dtype=_FLOAT) + half) * step - step * shift
    last = height - 1
    begin = np.clip(np.ceil(center - reach - half), 0, last).astype(int)
    end = np.clip(np.floor(center + reach - half), 0, last).astype(int)
    rows = begin[:, None] + np.arange((end - begin).max() + 1)
    away = (rows.astype(_FLOAT) + half - center[:, None]) * (_FLOAT(1) / reach)
    weights = np.maximum(_FLOAT(1) - np.abs(away), _FLOAT(0))
    weights[rows > end[:, None]] = 0
    total = np.zeros(count, _FLOAT)
    for column in weights.T:
        total += column
    weights *= (_FLOAT(1) / total)[:, None]
    rows = np.minimum(rows, last)
    result = np.zeros((count, image[0].size), _FLOAT)
    flat = image.reshape(height, -1)
    for row, weight in zip(rows.T, weights.T, strict=True):
        result += flat[row].astype(_FLOAT) * weight[:, None]
    return result.reshape(count, *image.shape[1:])
