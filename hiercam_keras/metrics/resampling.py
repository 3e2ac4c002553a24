"""metrics: intervals for any figure that is a function of sums, as ratios are.

A lift is a quotient of two means, a difference in differences takes four of them: what
they share is that they follow from sums over images. Whole groups (species) are
resampled with all their images, of every seed, since images of one species are alike.
"""

import dataclasses
from collections.abc import Callable, Iterator
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
    repeats: Any = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A function of column sums, and its bootstrap interval.

    Groups and repeats are resampled independently, and an image counts as often as
    both were drawn together (the pigeonhole bootstrap, Owen 2007, arXiv:0712.1111).
    Two or three repeats are few: the interval then says little about a further one.

    Args:
      columns: (N, D), values of N images.
      groups: (N,), labels of the clusters, as the species.
      statistic: column sums (R, D) -> R values; a mean divides by the sum of a column
        of ones, as resamples differ in size.
      repeats: (N,), labels of a second factor, as the seed of the training.
      confidence: of the interval.
      resamples: bootstrap resamples.
      seed: makes the result a function of the arguments.

    Returns:
      The figure; its interval is NaN with fewer than two groups.

    Raises:
      ValueError: the shapes do not fit, or a value is not finite.
    """
    columns, groups = np.asarray(columns, np.float64), np.asarray(groups)
    repeats = np.zeros(len(groups), int) if repeats is None else np.asarray(repeats)
    if columns.ndim != 2 or not groups.shape == repeats.shape == columns.shape[:1]:
        raise ValueError(
            f"columns {columns.shape}, groups {groups.shape} and repeats "
            f"{repeats.shape}, expected (N, D), (N,) and (N,)"
        )
    if not np.isfinite(columns).all():
        raise ValueError("columns hold NaN or infinity, expected finite values")
    nan = float("nan")
    if not len(columns):
        return Estimate(nan, nan, nan)
    sums = _sums(columns, repeats, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(axis=(0, 1))[None])[0])
        if sums.shape[1] < 2:
            return Estimate(value, nan, nan)
        found = np.concatenate(
            [statistic(totals) for totals in _resampled(sums, resamples, seed)]
        )
    found = found[np.isfinite(found)]
    if not found.size:
        return Estimate(value, nan, nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _sums(columns: np.ndarray, repeats: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums (repeats, groups, D)."""
    _, row = np.unique(repeats, return_inverse=True)
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((row.max() + 1, place.max() + 1, columns.shape[1]))
    np.add.at(sums, (row, place), columns)
    return sums


def _resampled(sums: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Totals (rows, D) of resampled repeats and groups, some at a time."""
    rng = np.random.default_rng([seed, 2])
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        often = [
            rng.multinomial(size, np.full(size, 1 / size), size=rows)
            for size in sums.shape[1::-1]
        ]
        yield np.einsum("rg,rs,sgd->rd", *often, sums, optimize=True)


def mean(values: Any, groups: Any, repeats: Any = None, **options: Any) -> Estimate:
    """Mean over images (N,) with its interval; values that are not finite are out."""
    values = np.asarray(values, np.float64)
    kept = np.isfinite(values)
    columns = np.stack([values[kept], np.ones(kept.sum())], axis=1)
    repeats = None if repeats is None else np.asarray(repeats)[kept]
    groups = np.asarray(groups)[kept]
    return of_sums(columns, groups, lambda s: s[:, 0] / s[:, 1], repeats, **options)


def lift(energy: Any, area: Any, groups: Any, *rest: Any, **options: Any) -> Estimate:
    """Mean share of the energy over mean share of the area; 1 is chance.

    A quotient of means: the mean of quotients would be ruled by the images where the
    part is hidden but for a few pixels. Further arguments are those of `of_sums`.
    """
    columns = np.stack([np.asarray(energy), np.asarray(area)], axis=1)
    return of_sums(columns, groups, lambda s: s[:, 0] / s[:, 1], *rest, **options)
