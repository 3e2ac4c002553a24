"""Regions of a map: its highest values, and the coverage of boxes."""

from typing import Any

import numpy as np

from hiercam_keras.maps import positive


def top_area(maps: Any, share: float) -> np.ndarray:
    """The `share` of the pixels with the highest values, as memberships 0 .. 1.

    The memberships sum to exactly `share` of the area. Pixels that tie at the cutoff
    share the rest equally: choosing the many zeros after a ReLU in reading order would
    make unrelated maps agree.

    Args:
      maps: (..., h, w).
      share: 0 < share <= 1, of the pixels.

    Returns:
      (..., h, w); sums to share * h * w. A constant map has `share` everywhere.

    Raises:
      ValueError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected 0 < share <= 1")
    maps = positive(maps)
    shape = maps.shape
    flat = maps.reshape(*shape[:-2], -1)
    count = share * flat.shape[-1]
    place = min(int(np.ceil(count)), flat.shape[-1])
    cutoff = np.partition(flat, -place, axis=-1)[..., -place, None]
    above, tied = flat > cutoff, flat == cutoff
    left = count - above.sum(axis=-1, keepdims=True)
    membership = above + tied * (left / tied.sum(axis=-1, keepdims=True))
    return membership.reshape(shape)


def box_coverage(boxes: Any, shape: tuple[int, int]) -> np.ndarray:
    """Share of each pixel that a box covers: (..., h, w) in 0 .. 1.

    Args:
      boxes: (..., 4) as x0, y0, x1, y1 in pixels of the map, where pixel i spans
        i .. i + 1. Boxes are clipped to the map.
      shape: (h, w) of the map.

    Raises:
      ValueError: the last axis is not 4 long.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes have shape {boxes.shape}, expected (..., 4)")
    x0, y0, x1, y1 = (boxes[..., i, None] for i in range(4))
    rows = np.arange(shape[0], dtype=np.float64)
    columns = np.arange(shape[1], dtype=np.float64)
    down = np.clip(np.minimum(y1, rows + 1) - np.maximum(y0, rows), 0, 1)
    across = np.clip(np.minimum(x1, columns + 1) - np.maximum(x0, columns), 0, 1)
    return down[..., :, None] * across[..., None, :]
