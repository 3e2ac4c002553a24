"""Agreement of two rankings of the parts of a picture."""

from typing import Any

import numpy as np
import scipy.stats

_LEAST = 3  # parts: the rank correlation of two is 1 or -1


def rank_correlation(a: Any, b: Any) -> np.ndarray:
    """Spearman's rank correlation over the parts of each picture: (N,), -1 .. 1.

    Args:
      a, b: (N, P), two numbers of P parts. Parts where one of them is NaN are left out;
        tied parts share the mean of their ranks.

    Returns:
      NaN for a picture with fewer than three known parts, or where all parts of `a` or
      of `b` are equal: there is no ranking.

    Raises:
      ValueError: the shapes differ, or are not (N, P).
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"parts of shapes {a.shape} and {b.shape}, expected (N, P)")
    known = np.isfinite(a) & np.isfinite(b)
    found = np.full(len(a), np.nan)
    patterns, place = np.unique(known, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.sum() >= _LEAST:
            rows = place.ravel() == number
            found[rows] = _correlation(a[rows][:, pattern], b[rows][:, pattern])
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ranks = [scipy.stats.rankdata(values, axis=1) for values in (a, b)]
    first, second = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    scale = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    with np.errstate(invalid="ignore"):
        return np.where(scale > 0, (first * second).sum(1) / scale, np.nan)
