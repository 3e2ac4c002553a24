"""metrics: intervals for any figure that is a function of sums, as ratios are.

A lift is a quotient of two means, a difference in differences takes four of them: what
they share is that they follow from sums over images. Whole groups (species) are
resampled with all their images, of every seed, since images of one species are alike.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

_CHUNK = 250  # resamples at a time


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its percentile interval; NaN where it is not known."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 above 0, -1 below 0, 0 where the interval does not tell it from 0."""
        return int(self.low > 0) - int(self.high < 0)


def of_sums(
    columns: Any,
    groups: Any,
    statistic: Callable[[np.ndarray], np.ndarray],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A function of column sums, and its bootstrap interval.

    Args:
      columns: (N, D), values of N images.
      groups: (N,), labels of the clusters that are resampled.
      statistic: column sums (R, D) -> R values; a mean divides by the sum of a column
        of ones, as resamples differ in size.
      confidence: of the interval.
      resamples: bootstrap resamples.
      seed: makes the result a function of the arguments.

    Returns:
      The figure; its interval is NaN with fewer than two groups.

    Raises:
      ValueError: the shapes do not fit, or a value is not finite.
    """
    columns, groups = np.asarray(columns, np.float64), np.asarray(groups)
    if columns.ndim != 2 or groups.shape != columns.shape[:1]:
        raise ValueError(
            f"columns {columns.shape} and groups {groups.shape}, expected (N, D), (N,)"
        )
    if not np.isfinite(columns).all():
        raise ValueError("columns hold NaN or infinity, expected finite values")
    nan = float("nan")
    if not len(columns):
        return Estimate(nan, nan, nan)
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((place.max() + 1, columns.shape[1]))
    np.add.at(sums, place, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(axis=0, keepdims=True))[0])
        if len(sums) < 2:
            return Estimate(value, nan, nan)
        drawn = _resampled(sums, resamples, seed)
        found = np.concatenate([statistic(totals) for totals in drawn])
    tail = (1 - confidence) / 2
    found = found[np.isfinite(found)]
    if not found.size:
        return Estimate(value, nan, nan)
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _resampled(sums: np.ndarray, resamples: int, seed: int):
    """Totals (rows, D) of resampled groups, some at a time."""
    rng = np.random.default_rng([seed, 2])
    share = np.full(len(sums), 1 / len(sums))
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        yield rng.multinomial(len(sums), share, size=rows) @ sums


def mean(values: Any, groups: Any, **options: Any) -> Estimate:
    """Mean over images (N,) with its interval; values that are not finite are out."""
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    kept = np.isfinite(values)
    columns = np.stack([values[kept], np.ones(kept.sum())], axis=1)
    return of_sums(columns, groups[kept], lambda s: s[:, 0] / s[:, 1], **options)


def lift(energy: Any, area: Any, groups: Any, **options: Any) -> Estimate:
    """Mean share of the energy over mean share of the area; 1 is chance.

    A quotient of means: the mean of quotients would be ruled by the images where the
    part is hidden but for a few pixels.
    """
    columns = np.stack([np.asarray(energy), np.asarray(area)], axis=1)
    return of_sums(columns, groups, lambda s: s[:, 0] / s[:, 1], **options)


def lift_difference(
    first: Any, second: Any, first_area: Any, second_area: Any, groups: Any, **options
) -> Estimate:
    """Lift of the first minus lift of the second, on the same images (N,)."""
    columns = np.stack(
        [np.asarray(a) for a in (first, first_area, second, second_area)], axis=1
    )

    def statistic(s):
        return s[:, 0] / s[:, 1] - s[:, 2] / s[:, 3]

    return of_sums(columns, groups, statistic, **options)
