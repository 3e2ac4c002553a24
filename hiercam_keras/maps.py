"""Definitions of degenerate maps, energy and min-max scaling. NumPy only.

They are shared by `cam`, `metrics` and `report`. Maps are arrays (..., h, w). Only the
positive part is used, because it is the evidence for a target.
"""

from typing import Any

import numpy as np

SIDE = 64  # side in cells of the maps used to compute shares of energy
HOT = 0.5  # threshold of hot cells in a min-max heatmap
# A range below this fraction of the maximum is rounding noise of a constant map.
_FLAT = 1e-6


def positive(maps: Any) -> np.ndarray:
    """Maps as float64 (..., h, w), clipped at 0.

    Raises:
      ValueError: there are fewer than two axes, a map is empty, or a value is not
        finite.
    """
    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise ValueError(f"maps have shape {maps.shape}, expected (..., h, w)")
    if not np.isfinite(maps).all():
        raise ValueError("maps hold NaN or infinity, expected finite values")
    return np.maximum(maps, 0.0)


def is_degenerate(maps: Any, xp: Any = np) -> Any:
    """Whether the positive part of a map is 0, constant or not finite.

    Args:
      maps: (..., h, w).
      xp: the array module: numpy or jax.numpy.

    Returns:
      bool (...).
    """
    high = xp.maximum(xp.max(maps, axis=(-2, -1)), 0)
    low = xp.maximum(xp.min(maps, axis=(-2, -1)), 0)
    with np.errstate(invalid="ignore"):
        return ~(high - low > _FLAT * high) | ~xp.isfinite(high)


def energy(maps: Any) -> np.ndarray:
    """The positive part divided by its sum: float64 (..., h, w), each sums to 1.

    A degenerate map becomes uniform, 1/(h w) everywhere. Raises ValueError as
    `positive`.
    """
    maps = positive(maps)
    flat = is_degenerate(maps)[..., None, None]
    # Divided by the maximum first, as a sum of tiny values may round to zero.
    peak = maps.max(axis=(-2, -1), keepdims=True)
    maps = np.divide(maps, peak, out=np.ones_like(maps), where=~flat)
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def minmax(maps: Any) -> np.ndarray:
    """(h - min)/(max - min) of the positive part: float64 (..., h, w) in 0..1.

    A degenerate map becomes zeros. Raises ValueError as `positive`.
    """
    maps = positive(maps)
    flat = is_degenerate(maps)[..., None, None]
    low = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - low
    return np.divide(maps - low, span, out=np.zeros_like(maps), where=~flat)
