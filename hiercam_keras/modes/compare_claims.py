"""What may be claimed of a difference between two models, in words.

A claim follows the test of statistics.csv that is corrected for the number of tests,
never the interval of a single difference. With too few groups there is no claim.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hiercam_keras import wording
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.metrics.statistics import ALPHA

# Kinds of rows in which two models answer about the same pictures.
_PAIRS = ("rank", "asked", "seed", "network", "method")


class Tested:
    """Differences of statistics.csv by their two models, in either order.

    Args:
      rows: of `comparison.differences`.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self._found = {
            (row["model_a"], row["model_b"], row["measure"]): _estimate(row)
            for row in rows
            if row["comparison"] in _PAIRS
        }

    def difference(self, measure: str, a: str, b: str) -> Estimate | None:
        """a - b with the corrected p-value; None where that was not tested."""
        if (b, a, measure) not in self._found:
            return self._found.get((a, b, measure))
        found = self._found[b, a, measure]
        return dataclasses.replace(
            found, value=-found.value, low=-found.high, high=-found.low
        )


def significant(found: Estimate) -> bool:
    """Whether the corrected test of an estimate with enough groups rejects 0."""
    return not found.too_few and found.p < ALPHA


def points(found: Estimate | None) -> str:
    """A difference of shares: `4.2 points more (1.0 to 7.4)`, or that there is none."""
    if found is None:
        return "a difference that was not tested"
    if found.too_few:
        return wording.too_few(found.groups)
    value, low, high = (100 * one for one in (found.value, found.low, found.high))
    if not significant(found):
        if max(abs(value), abs(low), abs(high)) < 0.05:
            return "no significant difference (less than 0.1 points)"
        text = ", ".join(
            [
                f"{wording.number(value, '{:+.1f}')} points",
                wording.interval(low, high, "{:+.1f}").strip(" ()"),
            ]
        )
        return f"{none_found(found)} ({text})"
    way = "more" if value > 0 else "fewer"
    return f"{abs(value):.1f} points {way}{span(low, high, '.1f')}"


def none_found(found: Estimate, other: str = "") -> str:
    """That a difference is not significant, and why if its own interval leaves out 0.

    The interval is of one difference, the test is corrected for all of the report.
    """
    said = f"no significant difference{other}"
    if found.low <= 0 <= found.high:
        return said
    return f"{said} after correction for several tests"


def span(low: float, high: float, digits: str) -> str:
    """An interval of a difference, without signs: the text gives the direction.

    With signs where it contains 0 in spite of a significant test: two methods differ.
    """
    if low <= 0 <= high:
        return wording.interval(low, high, f"{{:+{digits}}}")
    return wording.interval(*sorted((abs(low), abs(high))), f"{{:{digits}}}")


def _estimate(row: Mapping[str, Any]) -> Estimate:
    names = ("difference", "low", "high", "count", "groups", "p_holm")
    return Estimate(*(row[name] for name in names))
