"""metrics: differences between paired values, with intervals that can be trusted.

Everything is paired by image. Images of one species are alike, so whole species are
resampled, not images: otherwise intervals are too narrow and p-values too small.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_EXACT_GROUPS = 12  # 2**12 sign patterns are fewer than the usual random draws
_CHUNK = 1000  # resamples at a time: 1000 x 1,486 species in float64 are 12 MB


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Mean of a - b over pairs, and what is known about it.

    Attributes:
      count: pairs with two finite values.
      groups: groups that these pairs are in.
      mean_a, mean_b, difference: means over the pairs; difference = mean_a - mean_b.
      low, high: bootstrap interval of the difference, groups resampled.
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
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Compares two values per image.

    Args:
      a, b: (N,) of the same images in the same order. A pair with a value that is
        not finite is left out.
      groups: (N,) labels of the clusters, as the species; each image its own if None.
      confidence: of the interval.
      resamples: bootstrap resamples, and random sign patterns of the test.
      seed: makes the result a function of the arguments.

    Returns:
      The figures; all NaN without pairs. The interval is NaN with fewer than two
      groups, which say nothing about a third.
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
    sums, counts = _group_sums(delta, groups)
    low, high = _bootstrap_interval(sums, counts, confidence, resamples, seed)
    return PairedDifference(
        count=len(delta),
        groups=len(sums),
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=float(delta.mean()),
        low=low,
        high=high,
        p_value=_sign_flip_test(sums, resamples, seed),
        effect_size=effect_size(delta),
        share_greater=float(((delta > 0) + 0.5 * (delta == 0)).mean()),
    )


def mean_interval(
    values: Any,
    groups: Any = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(mean, low, high) of finite values, groups resampled; NaN where unknown."""
    values = np.asarray(values, dtype=np.float64)
    found = paired_difference(
        values, np.zeros_like(values), groups, confidence, resamples, seed
    )
    return found.difference, found.low, found.high


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
    """P-values corrected for their number: (K,), in the order they came.

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


def _group_sums(values: np.ndarray, groups: np.ndarray):
    _, place = np.unique(groups, return_inverse=True)
    counts = np.bincount(place)
    return np.bincount(place, weights=values), counts.astype(np.float64)


def _bootstrap_interval(
    sums: np.ndarray, counts: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile interval of sum/count over resampled groups."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected between 0 and 1")
    size = len(sums)
    if size < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 1])
    means = []
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = rng.integers(0, size, (rows, size))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip_test(sums: np.ndarray, resamples: int, seed: int) -> float:
    """Two-sided p-value: under no difference, a group's sign is a coin's.

    All sign patterns with few groups, else random ones, with the observed one among
    them, so that p is never 0.
    """
    scale = np.abs(sums).max()
    if scale == 0:
        return 1.0
    sums = sums / scale
    observed = abs(sums.sum()) * (1 - 1e-12) - 1e-12  # equal but for rounding
    size = len(sums)
    if size <= _EXACT_GROUPS:
        patterns = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ sums) >= observed))
    rng = np.random.default_rng([seed, 2])
    extreme = 0
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        signs = rng.integers(0, 2, (rows, size), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (1 + extreme) / (1 + resamples)
