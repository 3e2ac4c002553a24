"""What a map is made of: one definition each of degenerate, energy and min-max.

NumPy only, for every room: `cam` makes maps, `metrics` measures them, `report` shows
them. A map is any (..., h, w) array, one or many at once. Only its positive part
counts, since that is the evidence for a target.
"""

from typing import Any

import numpy as np

SIDE = 64  # cells of the maps on which shares of energy are taken
HOT = 0.5  # a cell of a min-max heatmap above it is hot
# A map whose range is below this share of its maximum is rounding noise on a constant.
_FLAT = 1e-6


def positive(maps: Any) -> np.ndarray:
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


def is_degenerate(maps: Any, xp: Any = np) -> Any:
    """Whether a map shows nothing: its positive part is 0, constant, or not finite.

    Args:
      maps: (..., h, w).
      xp: NumPy, or the module of another kind of arrays (jax.numpy).

    Returns:
      bool (...).
    """
    high = xp.maximum(xp.max(maps, axis=(-2, -1)), 0)
    low = xp.maximum(xp.min(maps, axis=(-2, -1)), 0)
    with np.errstate(invalid="ignore"):
        return ~(high - low > _FLAT * high) | ~xp.isfinite(high)


def energy(maps: Any) -> np.ndarray:
    """The positive part divided by its sum: float64 (..., h, w), each sums to 1.

    A degenerate map becomes uniform, 1/(h w) everywhere: it prefers no place.
    """
    maps = positive(maps)
    flat = is_degenerate(maps)[..., None, None]
    # By the maximum first: the sum of tiny values may round to zero.
    peak = maps.max(axis=(-2, -1), keepdims=True)
    maps = np.divide(maps, peak, out=np.ones_like(maps), where=~flat)
    return maps / maps.sum(axis=(-2, -1), keepdims=True)


def minmax(maps: Any) -> np.ndarray:
    """(h - min)/(max - min) of the positive part: float64 (..., h, w) in 0 .. 1.

    A degenerate map becomes zeros.
    """
    maps = positive(maps)
    flat = is_degenerate(maps)[..., None, None]
    low = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - low
    return np.divide(maps - low, span, out=np.zeros_like(maps), where=~flat)
