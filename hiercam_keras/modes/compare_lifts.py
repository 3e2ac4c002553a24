"""Where plain maps and steps lie on the bird: lifts with intervals, in lifts.csv.

A lift is a map's energy on a part over the part's share of the picture: 1 is chance.
All of it follows from numbers.csv and steps.csv, and the report's figure and third
sentence are made of lifts.csv alone.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.metrics import resampling, statistics
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes.compare_table import Numbers
from hiercam_keras.report import tables

Evidence = Mapping[str, tuple[str, int]]  # rank -> (part, label)


@dataclasses.dataclass(frozen=True)
class Lift:
    """One map on one part.

    Attributes:
      map: "species", or "step to the family".
      step: the rank that a step leads into, "" for a plain map.
      rank: the one whose trait the part carries.
      part: its name.
      pictures: of which the lift is.
      lift, low, high: with its 95 % interval, species resampled.
      gain, gain_low, gain_high: of a step, its lift minus that of the same model's
        plain map on the same pictures; NaN for a plain map.
      species: groups that the pictures are in.
      gain_pictures, gain_species: the same of the gain.
      gain_p, gain_p_holm: sign-flip test of the gain over species, and corrected for
        the number of gains.
    """

    map: str
    step: str
    rank: str
    part: str
    pictures: int
    lift: float
    low: float
    high: float
    gain: float = math.nan
    gain_low: float = math.nan
    gain_high: float = math.nan
    species: int = 0
    gain_pictures: int = 0
    gain_species: int = 0
    gain_p: float = math.nan
    gain_p_holm: float = math.nan

    @property
    def gain_estimate(self) -> Estimate:
        """The gain with its corrected p-value."""
        return Estimate(
            self.gain,
            self.gain_low,
            self.gain_high,
            self.gain_pictures,
            self.gain_species,
            self.gain_p_holm,
        )


_COUNTS = ("pictures", "species", "gain_pictures", "gain_species")
_FIELDS = tuple(field.name for field in dataclasses.fields(Lift))


def measure(
    numbers: Numbers, steps: Sequence[Mapping[str, str]], evidence: Evidence
) -> list[Lift]:
    """The lifts of all maps on all parts: the plain maps first, then the steps.

    Args:
      numbers: of all pictures.
      steps: rows of steps.csv, of one model; none without steps.
      evidence: which part carries which rank.
    """
    found = []
    for model in numbers.models:
        for rank, (part, _) in evidence.items():
            by_model = numbers.measures.get(f"part_{rank}")
            if by_model is None:
                continue
            shares = by_model[model]
            kept = np.isfinite(shares)
            over = np.where(kept, numbers.of_picture(f"part_{rank}_area"), np.nan)
            found.append(
                _with_counts(
                    Lift(model, "", rank, part, 0, *[math.nan] * 3),
                    resampling.lift(shares, over, numbers.species),
                )
            )
    found += _of_steps(numbers, steps, evidence)
    adjusted = statistics.holm([one.gain_p for one in found])
    return [
        dataclasses.replace(one, gain_p_holm=float(p))
        for one, p in zip(found, adjusted, strict=True)
    ]


def _with_counts(empty: Lift, found: Estimate) -> Lift:
    return dataclasses.replace(
        empty,
        lift=found.value,
        low=found.low,
        high=found.high,
        pictures=found.n,
        species=found.groups,
    )


def _of_steps(numbers, steps, evidence) -> list[Lift]:
    place = {example_id: i for i, example_id in enumerate(numbers.example_ids)}
    found = []
    for into in dict.fromkeys(row["rank"] for row in steps):
        rows = [row for row in steps if row["rank"] == into]
        at = [place[row["example_id"]] for row in rows]
        model = rows[0]["model"]
        for rank, (part, _) in evidence.items():
            by_model = numbers.measures.get(f"part_{rank}")
            if by_model is None or f"part_{rank}" not in rows[0]:
                continue
            shares = np.full(len(numbers.example_ids), np.nan)
            shares[at] = [float(row[f"part_{rank}"] or "nan") for row in rows]
            if not np.isfinite(shares).any():
                continue  # only children: nothing was chosen
            area, species = numbers.of_picture(f"part_{rank}_area"), numbers.species
            over = np.where(np.isfinite(shares), area, np.nan)
            # Both lifts are over the same areas, so that their difference is the
            # quotient of the paired differences.
            more = shares - by_model[model]
            both = np.where(np.isfinite(more), area, np.nan)
            gain = resampling.lift(more, both, species)
            step = Lift(
                f"step to the {into}",
                into,
                rank,
                part,
                0,
                *[math.nan] * 3,
                gain=gain.value,
                gain_low=gain.low,
                gain_high=gain.high,
                gain_pictures=gain.n,
                gain_species=gain.groups,
                gain_p=statistics.sign_flip_test(more, species),
            )
            found.append(_with_counts(step, resampling.lift(shares, over, species)))
    return found


def write(out: Path, lifts: Sequence[Lift]) -> None:
    """Writes lifts.csv, and the same rows in lifts.json."""
    rows = [dataclasses.asdict(one) for one in lifts]
    tables.write_csv(out / "lifts.csv", _FIELDS, rows)
    plain = [
        {
            name: None if isinstance(v, float) and not math.isfinite(v) else v
            for name, v in row.items()
        }
        for row in rows
    ]
    workdir.write_json(out / "lifts.json", plain)


def read(path: Path) -> list[Lift]:
    """Reads lifts.csv."""
    columns = tables.read_csv(path)
    texts = ("map", "step", "rank", "part")
    found = []
    for cells in zip(*(columns[name] for name in _FIELDS), strict=True):
        row = dict(zip(_FIELDS, cells, strict=True))
        numbers = {
            name: float(cell or "nan")
            for name, cell in row.items()
            if name not in texts
        }
        numbers |= {name: int(numbers[name]) for name in _COUNTS}
        found.append(Lift(**{name: row[name] for name in texts}, **numbers))
    return found
