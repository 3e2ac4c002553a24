"""metrics: the forms of a map that the other metrics start from.

A map is any (..., h, w) array, one or many at once. Negative values are clipped to 0,
as evidence for a target is its positive part. One rule holds for every metric on
energies: a map without any energy counts as a uniform one, which prefers no place.
"""

from typing import Any

import numpy as np


def as_maps(maps: Any) -> np.ndarray:
    """Maps as float64 (..., h, w), clipped at 0.

    Raises:
      ValueError: fewer than two axes, an empty map, or a value that is not finite.
    """
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(f"maps have shape {maps.shape}, expected (..., h, w)")
    if not np.isfinite(maps).all():
        raise ValueError("maps hold NaN or infinity, expected finite values")
    return np.maximum(maps, 0.0)


def energy(maps: Any) -> np.ndarray:
    """Maps divided by their sum: (..., h, w), each sums to 1.

    An all-zero map becomes uniform, 1/(h w) everywhere.
    """
    maps = as_maps(maps)
    # By the maximum first: the sum of tiny values may round to zero.
    peak = maps.max(axis=(-2, -1), keepdims=True)
    maps = np.divide(maps, peak, out=np.ones_like(maps), where=peak > 0)
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def minmax(maps: Any) -> np.ndarray:
    """(h - min)/(max - min) of each map: (..., h, w) in 0 .. 1.

    A constant map becomes zeros.
    """
    maps = as_maps(maps)
    low = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - low
    return np.divide(maps - low, span, out=np.zeros_like(maps), where=span > 0)


def is_degenerate(maps: Any) -> np.ndarray:
    """Whether a map is constant after clipping and so shows nothing: bool (...)."""
    maps = as_maps(maps)
    return maps.max(axis=(-2, -1)) == maps.min(axis=(-2, -1))


def top_area(maps: Any, share: float) -> np.ndarray:
    """The `share` of the pixels with the highest values, as memberships 0 .. 1.

    Exactly `share` of the area is taken. Pixels that tie at the cutoff share what is
    left equally, so that the many zeros after a ReLU are not taken in reading order,
    which would make unrelated maps agree.

    Args:
      maps: (..., h, w).
      share: 0 < share <= 1, of the pixels.

    Returns:
      (..., h, w); sums to share * h * w. A constant map has `share` everywhere.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected 0 < share <= 1")
    maps = as_maps(maps)
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
    """How much of each pixel a box covers: (..., h, w) in 0 .. 1.

    Args:
      boxes: (..., 4) as x0, y0, x1, y1 in pixels of the map, where pixel i spans
        i .. i + 1. What lies outside of the map is cut off.
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
