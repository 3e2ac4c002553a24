"""metrics: intervals of any figure that adds up over groups, whole groups resampled.

Counts of every group are enough: accuracy at a threshold, a maximum over thresholds or
an area under a curve are worked out again from the summed counts of the drawn groups.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_CHUNK = 100  # resamples at a time


def group_interval(
    figure: Callable[..., np.ndarray],
    tables: tuple[Any, ...],
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a figure of sums over groups.

    Args:
      figure: takes each table's sums over the drawn groups, (R, ...), and gives (R,).
      tables: arrays (groups, ...) of counts.
      confidence: of the interval.
      resamples: times that as many groups are drawn as there are, with replacement.
      seed: makes the result a function of the arguments.

    Returns:
      (low, high); NaN with fewer than two groups.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected between 0 and 1")
    tables = tuple(np.asarray(table, np.float64) for table in tables)
    groups = len(tables[0])
    if groups < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 3])
    found = []
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = rng.multinomial(groups, np.full(groups, 1 / groups), rows)
        sums = [np.tensordot(drawn, table, 1) for table in tables]
        found.append(figure(*sums))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
