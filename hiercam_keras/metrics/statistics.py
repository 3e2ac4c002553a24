"""Tests of paired differences, with correction for multiple testing.

Everything is paired by image. Images of one species are alike, so the tests flip the
signs of whole groups, as intervals resample whole groups.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from hiercam_keras.metrics import resampling

ALPHA = 0.05  # significance level of corrected p-values
_EXACT_GROUPS = 12  # 2**12 sign patterns are fewer than the random draws


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over pairs, with interval, test and effect size.

    Attributes:
      count: pairs with two finite values.
      groups: number of groups of these pairs.
      mean_a, mean_b, difference: means over the pairs; difference = mean_a - mean_b.
      low, high: 95 % interval of the difference, groups resampled.
      p_value: of a sign-flip test over groups, two-sided.
      effect_size: difference over the standard deviation of the differences (d_z).
      share_greater: share of pairs with a > b; ties count half.
    """

    count: int
    groups: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    effect_size: float
    share_greater: float


def paired_difference(
    a: Any,
    b: Any,
    groups: Any = None,
    seed: int = 0,
    draws: int = resampling.DRAWS,
) -> PairedDifference:
    """Compares two values per image.

    Args:
      a, b: (N,) of the same images in the same order. A pair with a value that is
        not finite is left out.
      groups: (N,) labels of the groups, such as the species; None: one per image.
      seed: of the resamples and sign patterns.
      draws: number of resamples, and of random sign patterns of the test.

    Returns:
      The figures; all NaN without pairs. The interval is NaN with fewer than
      `resampling.MIN_GROUPS` groups.

    Raises:
      ValueError: a, b and groups are not (N,).
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"values {a.shape} and {b.shape}, expected (N,) twice")
    groups = np.arange(len(a)) if groups is None else np.asarray(groups)
    if groups.shape != a.shape:
        raise ValueError(f"groups have shape {groups.shape}, expected {a.shape}")
    kept = np.isfinite(a) & np.isfinite(b)
    a, b, groups = a[kept], b[kept], groups[kept]
    delta = a - b
    nan = float("nan")
    if not delta.size:
        return PairedDifference(0, 0, nan, nan, nan, nan, nan, nan, nan, nan)
    found = resampling.mean(delta, groups, seed=seed, draws=draws)
    return PairedDifference(
        count=found.n,
        groups=found.groups,
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(delta.mean()),
        low=found.low,
        high=found.high,
        p_value=sign_flip_test(delta, groups, seed, draws),
        effect_size=effect_size(delta),
        share_greater=float(((delta > 0) + 0.5 * (delta == 0)).mean()),
    )


def compare_all(
    pairs: Mapping[str, tuple[Any, Any]], groups: Any = None, **options: Any
) -> dict[str, dict[str, float]]:
    """A table of paired differences, with p-values corrected for their number.

    Args:
      pairs: name of the measure -> (a, b), each (N,).
      groups, options: as for `paired_difference`.

    Returns:
      name -> the fields of `PairedDifference` and `p_holm`.
    """
    rows = {
        name: dataclasses.asdict(paired_difference(a, b, groups, **options))
        for name, (a, b) in pairs.items()
    }
    adjusted = holm([row["p_value"] for row in rows.values()])
    for row, p in zip(rows.values(), adjusted, strict=True):
        row["p_holm"] = float(p)
    return rows


def holm(p_values: Any) -> np.ndarray:
    """P-values corrected for multiple testing: (K,), in the given order.

    Holm 1979 (Scand. J. Statist. 6, 65-70): the i-th smallest times K - i + 1, never
    below a smaller one's, at most 1. NaN stays NaN and is not counted.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def effect_size(differences: Any) -> float:
    """Mean over standard deviation (n - 1) of paired differences: Cohen's d_z.

    0 if all are 0; infinite if all are the same other value; NaN with fewer than two.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if differences.size < 2:
        return float("nan")
    mean = differences.mean()
    if np.ptp(differences) == 0:
        return float(np.sign(mean) * np.inf) if mean else 0.0
    return float(mean / differences.std(ddof=1))


def sign_flip_test(
    differences: Any,
    groups: Any = None,
    seed: int = 0,
    draws: int = resampling.DRAWS,
) -> float:
    """Two-sided p-value of a sign-flip permutation test over groups.

    Under the null hypothesis the sign of each group is random. With few groups all sign
    patterns are used, otherwise random ones; they include the observed one, so p is
    never 0.

    Args:
      differences: (N,), those that are not finite are left out.
      groups: (N,) labels of the groups; None: one per image.
      seed, draws: of the random sign patterns.
    """
    differences = np.asarray(differences, np.float64)
    groups = np.arange(len(differences)) if groups is None else np.asarray(groups)
    kept = np.isfinite(differences)
    if not kept.any():
        return float("nan")
    _, place = np.unique(groups[kept], return_inverse=True)
    sums = np.bincount(place, weights=differences[kept])
    scale = np.abs(sums).max()
    if scale == 0:
        return 1.0
    sums = sums / scale
    observed = abs(sums.sum()) * (1 - 1e-12) - 1e-12  # equal up to rounding
    size = len(sums)
    if size <= _EXACT_GROUPS:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ sums) >= observed))
    extreme = 0
    for key, rows in resampling.chunks(seed, resampling.SIGNS, size, draws):
        extreme += int((np.abs(_signs(key, rows) @ sums) >= observed).sum())
    return (1 + extreme) / (1 + draws)


@functools.lru_cache(maxsize=32)
def _random_bits(key: tuple[int, int, int, int], rows: int) -> np.ndarray:
    return np.random.default_rng(key).integers(0, 2, (rows, key[2]), dtype=np.int8)


def _signs(key: tuple[int, int, int, int], rows: int) -> np.ndarray:
    return _random_bits(key, rows) * 2.0 - 1.0
