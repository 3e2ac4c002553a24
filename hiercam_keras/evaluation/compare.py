"""Two questions about the same pictures: how their maps differ, with intervals."""

import dataclasses
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate

OBJECT = "object"
# Values of a table that are no measures of a map.
_LABELS = ("true", "predicted", "label", "degenerate", "trivial")


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """The first question against the second, over the pictures of a table.

    Every figure has its 95 % interval over species and the number of pictures that it
    rests on. Fewer than `resampling.MIN_GROUPS` species give no interval.

    Attributes:
      first, second: names of the questions.
      lifts: "object" or "part_<rank>" -> how much more lift the first question's maps
        have there. A lift is the energy on a region over the region's share of the
        picture; 1 is chance. p is of a sign-flip test over species.
      agreement: measure -> how alike the two maps of a picture are, see
        `metrics.agreement`; it is not tested against 0.
      differences: "correct" and every value of the table that is a number -> the mean
        of the first minus the second. p is corrected for their number (Holm).
    """

    first: str
    second: str
    lifts: dict[str, Estimate]
    agreement: dict[str, Estimate]
    differences: dict[str, Estimate]

    @property
    def lift(self) -> Estimate:
        """The difference of the lifts on the object; NaN where no object is known."""
        return self.lifts.get(OBJECT, Estimate(float("nan")))

    def __repr__(self) -> str:
        rows = [("lift", self.lifts), ("agreement", self.agreement)]
        rows.append(("difference", self.differences))
        lines = [
            f"  {kind} {name}: {estimate}"
            for kind, estimates in rows
            for name, estimate in estimates.items()
        ]
        return "\n".join([f"<{self.first} against {self.second}", *lines]) + ">"


def compare(table: Table, first: str, second: str, seed: int = 0) -> Comparison:
    """Compares the maps of two questions, picture by picture.

    Args:
      table: what `evaluate` returns.
      first, second: names of two of its questions.
      seed: of resamples and tests.

    Raises:
      UserError: the table has no such question, or both are the same.
    """
    for name in (first, second):
        if name not in table.questions:
            raise UserError(
                f"the table has no question {name!r}; it has "
                f"{', '.join(map(repr, table.questions))}"
            )
    if first == second:
        raise UserError(f"both questions are {first!r}: name two")
    groups = table.clusters
    return Comparison(
        first,
        second,
        _lifts(table, first, second, seed),
        {
            name: resampling.mean(values, groups, seed=seed)
            for name, values in _pair(table, first, second).items()
        },
        _differences(table, first, second, seed),
    )


def lift_difference(
    energy: Any, other: Any, area: Any, groups: Any, seed: int = 0
) -> Estimate:
    """The lift of a map's energy on a region minus that of another map's.

    Both are over the areas of the same pictures, so their difference is the lift of the
    paired difference. p is of a sign-flip test over groups.

    Args:
      energy, other: (N,), shares of the energy on the region; NaN where unknown.
      area: (N,), the region's share of the picture.
      groups: (N,).
    """
    more = np.asarray(energy, np.float64) - np.asarray(other, np.float64)
    area = np.where(np.isfinite(more), area, np.nan)
    found = resampling.lift(more, area, groups, seed=seed)
    p = statistics.sign_flip_test(more, groups, seed)
    return dataclasses.replace(found, p=p)


def _lifts(table: Table, first: str, second: str, seed: int) -> dict[str, Estimate]:
    regions = {OBJECT: "energy_on_object"}
    regions |= {name: name for name in table.values if name.startswith("part_")}
    return {
        region: lift_difference(
            table.of(name, first),
            table.of(name, second),
            table.pictures[f"{region}_area"],
            table.clusters,
            seed,
        )
        for region, name in regions.items()
        if np.isfinite(table.values[name]).any()
    }


def _pair(table: Table, first: str, second: str) -> dict[str, np.ndarray]:
    """How alike the maps are. Containment is of the first map in the second, and known
    in the order of the table's questions only."""
    if (first, second) in table.pairs:
        return table.pairs[first, second]
    found = table.pairs.get((second, first), {})
    return {name: values for name, values in found.items() if name != "containment"}


def _differences(
    table: Table, first: str, second: str, seed: int
) -> dict[str, Estimate]:
    right = {
        name: np.where(table.of("true", name) < 0, np.nan, table.right(name))
        for name in (first, second)
    }
    pairs = {"correct": (right[first], right[second])}
    for name, values in table.values.items():
        if values.ndim == 2 and name not in _LABELS and values.dtype.kind == "f":
            pairs[name] = table.of(name, first), table.of(name, second)
    rows = statistics.compare_all(pairs, table.clusters, seed=seed)
    return {
        name: Estimate(
            row["difference"],
            row["low"],
            row["high"],
            row["count"],
            row["groups"],
            row["p_holm"],
        )
        for name, row in rows.items()
        if row["count"]
    }
