"""metrics: quotients of sums, with intervals that resample whole groups.

The lift of a map on a part is such a quotient: the energy on the part, over all
pictures, divided by what a map without preference would have there. A mean of the
pictures' own quotients would be ruled by the pictures in which the part is tiny.
"""

from typing import Any

import numpy as np

_CHUNK = 500  # resamples at a time


def ratio_interval(
    numerator: Any,
    denominator: Any,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """sum(numerator) / sum(denominator) with its bootstrap interval.

    Args:
      numerator, denominator: (N,) of the same pictures; pairs that are not finite are
        left out.
      groups: (N,) labels of the clusters that are resampled, as the species; each
        picture its own if None.
      confidence: of the percentile interval.
      resamples: of the bootstrap.
      seed: makes the result a function of the arguments.

    Returns:
      (ratio, low, high); NaN where the denominator is 0, and for the interval with
      fewer than two groups.
    """
    above = np.asarray(numerator, np.float64)
    below = np.asarray(denominator, np.float64)
    if above.shape != below.shape or above.ndim != 1:
        raise ValueError(f"shapes {above.shape} and {below.shape}, expected (N,) twice")
    groups = np.arange(len(above)) if groups is None else np.asarray(groups)
    kept = np.isfinite(above) & np.isfinite(below)
    nan = float("nan")
    total = below[kept].sum()
    if not total > 0:
        return nan, nan, nan
    ratio = float(above[kept].sum() / total)
    _, place = np.unique(groups[kept], return_inverse=True)
    tops, bottoms = np.bincount(place, above[kept]), np.bincount(place, below[kept])
    size = len(tops)
    if size < 2:
        return ratio, nan, nan
    rng = np.random.default_rng([seed, 3])
    found = []
    for start in range(0, resamples, _CHUNK):
        drawn = rng.integers(0, size, (min(_CHUNK, resamples - start), size))
        bottom = bottoms[drawn].sum(axis=1)
        out = np.full(len(drawn), nan)
        found.append(
            np.divide(tops[drawn].sum(axis=1), bottom, out=out, where=bottom > 0)
        )
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.concatenate(found), [tail, 1 - tail])
    return ratio, float(low), float(high)
