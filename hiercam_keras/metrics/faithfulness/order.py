"""Orders of removal of the pixels of a picture. NumPy only.

An order is an integer for each pixel: its place, 0 for the first to be removed. A step
removes all places below a count, so the number of removed pixels (or regions) is exact,
even with ties. Thresholds at percentiles would remove all zeros of a clipped map at
once.
"""

from typing import Any

import numpy as np


def positions(maps: Any) -> np.ndarray:
    """Places of the pixels, the highest value first: int32 (..., h, w), 0 .. h w - 1.

    "Most relevant first" (MoRF). Ties are in reading order; signed maps have fewer ties
    than clipped ones.

    Raises:
      ValueError: a map is not finite, or has fewer than two axes.
    """
    maps = _finite(maps)
    flat = maps.reshape(*maps.shape[:-2], -1)
    order = np.argsort(-flat, axis=-1, kind="stable")
    places = np.empty(flat.shape, np.int32)
    steps = np.broadcast_to(np.arange(flat.shape[-1], dtype=np.int32), flat.shape)
    np.put_along_axis(places, order, steps, axis=-1)
    return places.reshape(maps.shape)


def least_first(places: Any) -> np.ndarray:
    """The reverse order: "least relevant first" (LeRF)."""
    places = np.asarray(places)
    return places.max(axis=(-2, -1), keepdims=True) - places


def region_positions(maps: Any, side: int = 9) -> np.ndarray:
    """Places of square regions, the highest mean first: int32 (..., h, w).

    Samek et al. 2015 (arXiv:1509.06321): a grid of `side` x `side` pixels, 9 in the
    paper, all pixels of a region at the same place. Regions that the edge cuts are
    ordered by their mean, too.

    Args:
      maps: (..., h, w), finite.
      side: of a region, pixels, at least 1.

    Raises:
      ValueError: a map is not finite, or side is below 1.
    """
    maps = _finite(maps)
    if side < 1:
        raise ValueError(f"regions of {side} pixels, expected at least 1")
    rows, columns = (np.arange(0, length, side) for length in maps.shape[-2:])
    sums = np.add.reduceat(np.add.reduceat(maps, rows, axis=-2), columns, axis=-1)
    sizes = np.outer(_lengths(rows, maps.shape[-2]), _lengths(columns, maps.shape[-1]))
    places = positions(sums / sizes)
    places = np.repeat(places, _lengths(rows, maps.shape[-2]), axis=-2)
    return np.repeat(places, _lengths(columns, maps.shape[-1]), axis=-1)


def random_maps(seeds: Any, shape: tuple[int, int]) -> np.ndarray:
    """Maps of independent normal values, the chance level of any order: (N, h, w).

    A fair comparison needs the resolution and the resizing of the explained maps: noise
    of single pixels lowers a score more than blobs of the same area.

    Args:
      seeds: N integers, or sequences of integers; equal ones give equal maps.
      shape: h and w.
    """
    return np.stack([np.random.default_rng(seed).normal(size=shape) for seed in seeds])


def rearranged(maps: Any, places: Any) -> np.ndarray:
    """The values of each map in another order: the highest at place 0: (..., h, w).

    It gives a random order a map of the same values, which masks equally much.

    Args:
      maps: (..., h, w).
      places: int (..., h, w), see `positions`.
    """
    maps, places = np.asarray(maps), np.asarray(places)
    flat = maps.reshape(*maps.shape[:-2], -1)
    ordered = np.sort(flat, axis=-1)[..., ::-1]
    found = np.take_along_axis(ordered, places.reshape(flat.shape), axis=-1)
    return found.reshape(maps.shape)


def counts(total: int, steps: int) -> np.ndarray:
    """Numbers of removed places after 0 .. `steps` equal steps, rounded:
    int (steps + 1,), from 0 to `total`.

    Raises:
      ValueError: steps is not in 1 .. total.
    """
    if not 1 <= steps <= total:
        raise ValueError(f"{steps} steps over {total} places, expected 1 .. {total}")
    return np.round(np.linspace(0, total, steps + 1)).astype(int)


def _lengths(starts: np.ndarray, total: int) -> np.ndarray:
    return np.diff(np.append(starts, total))


def _finite(maps: Any) -> np.ndarray:
    maps = np.asarray(maps, np.float64)
    if maps.ndim < 2:
        raise ValueError(f"maps have shape {maps.shape}, expected (..., h, w)")
    if not np.isfinite(maps).all():
        raise ValueError("maps hold NaN or infinity, expected finite values")
    return maps
