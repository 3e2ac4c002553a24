"""Estimates with intervals: whole groups of images are resampled.

Images of one species are alike, so an interval that resamples single images is too
narrow. All means, shares, differences, lifts and other functions of sums get their
intervals here, by one method, one number of draws and one rule for the seed. A group is
any label of an image: the species, a location, a camera. docs/METRICS.md has the
simulation behind the choice of the method, and where its coverage is below 95 %.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.special

from hiercam_keras import wording
from hiercam_keras.metrics.classification import score_interval

DRAWS = 10_000
# With fewer groups no method of the simulation has its nominal coverage.
MIN_GROUPS = 10
CONFIDENCE = 0.95

GROUPS, REPEATS, SIGNS = range(3)  # factors of random numbers
_CELLS = 2**20  # draws x groups at a time: 2 MB while cached, 8 MB in float64
_NAN = float("nan")

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Attributes:
      value: the figure, NaN if unknown.
      low, high: 95 % interval; NaN with fewer than `MIN_GROUPS` groups.
      n: images that it was computed from.
      groups: number of groups of these images.
      p: two-sided p-value of "the value is 0", NaN if not tested.
    """

    value: float
    low: float = _NAN
    high: float = _NAN
    n: int = 0
    groups: int = 0
    p: float = _NAN

    def __str__(self) -> str:
        text = wording.number(self.value) + wording.interval(self.low, self.high)
        p = f", p = {self.p:.2g}" if self.p == self.p else ""
        return f"{text}, n = {self.n} in {wording.count(self.groups, 'group')}{p}"

    @property
    def too_few(self) -> bool:
        """Whether there are too few groups for an interval and for any claim."""
        return self.groups < MIN_GROUPS

    @property
    def verdict(self) -> int:
        """1 above 0, -1 below 0, 0 if the interval contains 0 or is unknown."""
        return int(self.low > 0) - int(self.high < 0)


def of_sums(
    columns: Any,
    groups: Any,
    statistic: Statistic,
    repeats: Any = None,
    weights: Any = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """A function of column sums, with the expanded percentile interval.

    The tails of the percentile interval are those at which a normal distribution with
    the spread of the draws gives the t interval of as many groups (Hesterberg 2015,
    arXiv:1411.5279, "expanded percentile"). Groups of unequal size count as fewer of
    equal size: the degrees of freedom are Kish's effective number of groups, minus 1.

    Groups and repeats are resampled independently, and an image counts as often as
    both were drawn together (the pigeonhole bootstrap, Owen 2007, arXiv:0712.1111).
    With two or three repeats the interval is a poor prediction of a further one.

    Args:
      columns: (N, D), values of N images.
      groups: (N,), labels of the groups.
      statistic: column sums (R, D) -> R values; a mean divides by the sum of a column
        of ones, as resamples differ in size.
      repeats: (N,), labels of a second factor, such as the seed of the training.
      weights: (N,), contribution of an image to the size of its group: 1 by default,
        for a ratio the denominator.
      seed: makes the result a function of the arguments. Estimates of one seed and one
        number of groups share their draws.
      draws: number of resamples.

    Returns:
      The estimate; without an interval below `MIN_GROUPS` groups.

    Raises:
      ValueError: the shapes do not fit, or a value is not finite.
    """
    columns, groups = np.asarray(columns, np.float64), np.asarray(groups)
    ones = np.ones(len(groups))
    repeats = ones if repeats is None else np.asarray(repeats)
    weights = ones if weights is None else np.asarray(weights, np.float64)
    shapes = {one.shape for one in (groups, repeats, weights)}
    if columns.ndim != 2 or shapes != {columns.shape[:1]}:
        raise ValueError(
            f"columns {columns.shape}, groups {groups.shape}, repeats {repeats.shape} "
            f"and weights {weights.shape}, expected (N, D), (N,), (N,) and (N,)"
        )
    if not np.isfinite(columns).all():
        raise ValueError("columns hold NaN or infinity, expected finite values")
    if not len(columns):
        return Estimate(_NAN)
    resampled = _Resampled(columns, groups, statistic, repeats, weights, seed, draws)
    return resampled.estimate()


def mean(values: Any, groups: Any = None, repeats: Any = None, **options) -> Estimate:
    """Mean over images (N,); values that are not finite are left out.

    Booleans are a `share`. Each image is a group of its own if groups is None. The
    options are those of `of_sums`.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        return share(values, groups, repeats, **options)
    columns, groups, repeats = _known([values], groups, repeats)
    return of_sums(columns, groups, _quotient, repeats, **options)


def difference(
    a: Any, b: Any, groups: Any = None, repeats: Any = None, **options
) -> Estimate:
    """Mean of a - b over images (N,), which pairs them."""
    delta = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return mean(delta, groups, repeats, **options)


def lift(
    energy: Any, area: Any, groups: Any = None, repeats: Any = None, **options
) -> Estimate:
    """sum(energy) / sum(area) over images (N,); 1 is chance for shares of a map.

    A quotient of means: a mean of quotients would be dominated by images with only a
      few
    visible pixels of the part. Pairs that are not finite are left out.
    """
    columns, groups, repeats = _known([energy, area], groups, repeats)
    columns = columns[:, :2]
    if not columns[:, 1].sum() > 0:
        return Estimate(_NAN, n=len(columns), groups=len(np.unique(groups)))
    return of_sums(columns, groups, _quotient, repeats, columns[:, 1], **options)


def share(
    hits: Any,
    groups: Any = None,
    repeats: Any = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """Share of images (N,) with a hit, with Wilson's interval for grouped images.

    The number of trials is divided by the design effect of the draws, and the normal
    quantile replaced by that of t (Korn and Graubard 1998, Survey Methodology 24,
    193-201, with Wilson's in place of Clopper and Pearson's interval). Percentiles of
    draws fail for shares near 0 and 1: if all answers are right, they are all 1.

    Args:
      hits: bool, or 0 and 1; NaN if unknown.
      groups, repeats, seed, draws: as for `of_sums`.

    Raises:
      ValueError: hits have other values, or the shapes differ.
    """
    columns, groups, repeats = _known([hits], groups, repeats)
    if not len(columns):
        return Estimate(_NAN)
    if not np.isin(columns[:, 0], (0, 1)).all():
        raise ValueError("hits hold other values than 0 and 1")
    weights = columns[:, 1]
    resampled = _Resampled(columns, groups, _quotient, repeats, weights, seed, draws)
    found = resampled.estimate()
    if found.too_few:
        return found
    # Without any spread (all right) a group counts as one trial.
    variance = resampled.values().var() * found.groups / (found.groups - 1)
    spread = found.value * (1 - found.value)
    trials = min(spread / variance, found.n) if variance > 0 else found.groups
    low, high = score_interval(found.value, trials, resampled.quantile)
    return dataclasses.replace(found, low=float(low), high=float(high))


def chunks(seed: int, factor: int, size: int, draws: int) -> Iterator[tuple]:
    """(generator's key, rows) of the chunks in which `draws` x `size` cells are drawn.

    All random numbers of a seed have this key: seed, factor (GROUPS, REPEATS or SIGNS),
    number of groups, chunk.
    """
    rows = max(1, _CELLS // max(size, 1))
    for number, start in enumerate(range(0, draws, rows)):
        yield (seed, factor, size, number), min(rows, draws - start)


class _Resampled:
    """Values of a statistic on the sample and on its resamples."""

    def __init__(self, columns, groups, statistic, repeats, weights, seed, draws):
        names, place = np.unique(groups, return_inverse=True)
        _, row = np.unique(repeats, return_inverse=True)
        self._sums = np.zeros((row.max() + 1, len(names), columns.shape[1]))
        np.add.at(self._sums, (row, place), columns)
        self._statistic, self._seed, self._draws = statistic, seed, draws
        self._n, self._groups = len(columns), len(names)
        sizes = np.bincount(place, weights)
        total = (sizes**2).sum()
        effective = sizes.sum() ** 2 / total if total > 0 else len(names)
        freedom = max(effective - 1, 1.0)
        self.quantile = float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))

    def estimate(self) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(self._statistic(self._sums.sum((0, 1))[None])[0])
        low = high = _NAN
        if self._groups >= MIN_GROUPS and len(self.values()):
            spread = np.sqrt(self._groups / (self._groups - 1))
            tail = scipy.special.ndtr(-spread * self.quantile)
            low, high = map(float, np.quantile(self.values(), [tail, 1 - tail]))
        return Estimate(value, low, high, self._n, self._groups)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - as short-lived as the object
    def values(self) -> np.ndarray:
        """Finite values on the resamples."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.concatenate([self._statistic(sums) for sums in self._totals()])
        return found[np.isfinite(found)]

    def _totals(self) -> Iterator[np.ndarray]:
        """Column sums (rows, D) of resamples, in chunks."""
        repeats, size, width = self._sums.shape
        for key, rows in chunks(self._seed, GROUPS, size, self._draws):
            often = _drawn(key, rows).astype(np.float64)
            again = np.ones((rows, 1))
            if repeats > 1:
                again = _drawn((self._seed, REPEATS, repeats, key[-1]), rows)
            for part in np.array_split(np.arange(rows), -(-width // size)):
                yield sum(
                    again[part, one, None] * (often[part] @ self._sums[one])
                    for one in range(repeats)
                )


@functools.lru_cache(maxsize=32)
def _drawn(key: tuple[int, int, int, int], rows: int) -> np.ndarray:
    """Count of each of `size` groups in each of `rows` resamples: (rows, size)."""
    size = key[2]
    drawn = np.random.default_rng(key).integers(0, size, (rows, size))
    drawn += size * np.arange(rows)[:, None]
    often = np.bincount(drawn.ravel(), minlength=rows * size)
    kind = np.uint16 if size < 2**16 else np.uint32
    return often.reshape(rows, size).astype(kind)


def _known(values: list, groups: Any, repeats: Any) -> tuple:
    """Columns of the images with finite values only, then ones; their labels."""
    arrays = [np.asarray(one, np.float64) for one in values]
    groups = np.arange(len(arrays[0])) if groups is None else np.asarray(groups)
    repeats = np.zeros(len(groups)) if repeats is None else np.asarray(repeats)
    shapes = {one.shape for one in (*arrays, groups, repeats)}
    if len(shapes) > 1 or len(groups.shape) != 1:
        raise ValueError(
            f"values, groups and repeats of shapes {shapes}, expected (N,)"
        )
    kept = np.all(np.isfinite(arrays), axis=0)
    columns = np.stack([*(one[kept] for one in arrays), np.ones(kept.sum())], axis=1)
    return columns, groups[kept], repeats[kept]


def _quotient(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / sums[:, 1]
