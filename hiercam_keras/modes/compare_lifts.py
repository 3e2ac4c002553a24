"""Lifts of plain maps and steps on the parts, with intervals, in lifts.csv.

A lift is a map's energy on a part over the part's share of the picture: 1 is chance.
All of it follows from numbers.csv and steps.csv.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hiercam_keras import tables, workdir
from hiercam_keras.data.sources.annotations import Evidence
from hiercam_keras.evaluation.compare import lift_difference
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.compare_steps import Steps
from hiercam_keras.modes.comparison.measure import Compared


@dataclasses.dataclass(frozen=True)
class Lift:
    """One map on one part.

    Attributes:
      map: "species", or "step to the family".
      step: the rank that a step leads into, "" for a plain map.
      rank: that the part carries a trait of.
      part: its name.
      lift: over the pictures on which the lift is known.
      gain: of a step, its lift minus that of the same model's plain map on the same
        pictures; NaN for a plain map. p is corrected for the number of gains (Holm).
      gain_p: of the sign-flip test of the gain over species, not corrected.
    """

    map: str
    step: str
    rank: str
    part: str
    lift: Estimate
    gain: Estimate = Estimate(math.nan)
    gain_p: float = math.nan

    def row(self) -> dict[str, object]:
        """The row of lifts.csv."""
        lift, gain = self.lift, self.gain
        return {
            "map": self.map,
            "step": self.step,
            "rank": self.rank,
            "part": self.part,
            "pictures": lift.n,
            "lift": lift.value,
            "low": lift.low,
            "high": lift.high,
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "species": lift.groups,
            "gain_pictures": gain.n,
            "gain_species": gain.groups,
            "gain_p": self.gain_p,
            "gain_p_holm": gain.p,
        }


def measure(compared: Compared, steps: Steps, evidence: Evidence) -> list[Lift]:
    """The lifts of all maps on all parts: the plain maps first, then the steps.

    Args:
      compared: the numbers of all pictures.
      steps: of one model.
      evidence: which part carries which rank.
    """
    table, found = compared.table, []
    for model in table.questions:
        for rank, (part, _) in evidence.items():
            if not compared.known(f"part_{rank}"):
                continue
            lift = resampling.lift(
                table.of(f"part_{rank}", model),
                table.pictures[f"part_{rank}_area"],
                table.clusters,
            )
            found.append(Lift(model, "", rank, part, lift))
    found += _of_steps(compared, steps, evidence)
    adjusted = statistics.holm([one.gain_p for one in found])
    return [
        dataclasses.replace(one, gain=dataclasses.replace(one.gain, p=float(p)))
        for one, p in zip(found, adjusted, strict=True)
    ]


def _of_steps(compared: Compared, steps: Steps, evidence: Evidence) -> list[Lift]:
    table, found = compared.table, []
    place = {example_id: i for i, example_id in enumerate(table.example_ids)}
    at = [place[example_id] for example_id in steps.table.example_ids]
    for into in steps.ranks:
        for rank, (part, _) in evidence.items():
            name = f"part_{rank}"
            if name not in steps.parts or not compared.known(name):
                continue
            shares = np.full(len(table), np.nan)
            shares[at] = steps.table.of(name, into)
            if not np.isfinite(shares).any():
                continue  # only children: nothing was chosen
            area, species = table.pictures[f"{name}_area"], table.clusters
            over = np.where(np.isfinite(shares), area, np.nan)
            plain = table.of(name, steps.model)
            gain = lift_difference(shares, plain, area, species)
            lift = resampling.lift(shares, over, species)
            name = f"step to the {into}"
            found.append(Lift(name, into, rank, part, lift, gain, gain.p))
    return found


def write(out: Path, lifts: Sequence[Lift]) -> None:
    """Writes lifts.csv, and the same rows in lifts.json."""
    rows = [one.row() for one in lifts]
    header = tuple(Lift("", "", "", "", Estimate(math.nan)).row())
    tables.write_csv(out / "lifts.csv", header, rows)
    workdir.write_json(out / "lifts.json", [tables.json_row(row) for row in rows])
