"""Data room: antialiased resizing as two sparse products, outside Python's lock.

The kernel is Pillow's BILINEAR: a triangle as wide as the step between output pixels
where the image shrinks, and one input pixel wide where it grows.
"""

import numpy as np
from scipy import sparse


def taps(
    start: int, count: int, span: float, resized: int, length: int
) -> sparse.csr_array:
    """Weights of output pixels start .. start + count along one axis.

    Each row depends on its place alone, so that a part of an image gets the same pixels
    to the bit as the whole.

    Args:
      start: first output pixel.
      count: output pixels.
      span: length of the whole input, pixels; it may lie between two integers where
        a decoder has rounded up.
      resized: length of the whole output.
      length: input pixels that there are; those behind them are not seen.

    Returns:
      float32 (count, length); each row adds up to 1.
    """
    scale = span / resized
    support = max(scale, 1.0)
    center = (np.arange(start, start + count) + 0.5) * scale
    first = np.floor(center - support + 0.5)
    width = int(np.ceil(2 * support)) + 1
    place = first[:, None] + np.arange(width)
    weights = 1 - np.abs(place + 0.5 - center[:, None]) / support
    inside = (place >= 0) & (place < min(length, np.ceil(span)))
    weights = np.where(inside, np.maximum(weights, 0), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    columns = np.clip(place, 0, length - 1).astype(np.int32)
    rows = np.arange(0, count * width + 1, width, dtype=np.int32)
    values = weights.astype(np.float32).ravel()
    return sparse.csr_array((values, columns.ravel(), rows), shape=(count, length))


def resize(image: np.ndarray, rows, columns, rounding: float) -> np.ndarray:
    """Applies `taps` along both axes.

    Args:
      image: uint8 (H, W, 3).
      rows: taps (h, H).
      columns: taps (w, W).
      rounding: added before truncation to 8 bits.

    Returns:
      uint8 (h, w, 3).
    """
    height, width = rows.shape[0], columns.shape[0]
    rows, seen_rows = _cut(rows)
    columns, seen_columns = _cut(columns)
    seen = image[seen_rows, seen_columns]
    tall = rows @ seen.astype(np.float32).reshape(len(seen), -1)
    wide = columns @ _transpose(tall, height, seen.shape[1])
    wide += np.float32(rounding)
    return _transpose(wide, width, height).astype(np.uint8).reshape(height, width, 3)


def _cut(weights):
    """Weights of the pixels that count alone, and which these are."""
    low, high = int(weights.indices.min()), int(weights.indices.max()) + 1
    parts = (weights.data, weights.indices - np.int32(low), weights.indptr)
    shape = (weights.shape[0], high - low)
    return sparse.csr_array(parts, shape=shape), slice(low, high)


def _transpose(flat, height, width):
    """(height, width * 3) to (width, height * 3); pixels are moved whole."""
    pixels = np.ascontiguousarray(flat).view("V12").reshape(height, width)
    return np.ascontiguousarray(pixels.T).view(np.float32).reshape(width, height * 3)
