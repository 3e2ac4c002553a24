"""Which part of the bird the guide names for a taxon, and how often it is right.

A step map is spread over the bird, and some parts are hot at every step, because they
lie in the middle or because they are small. So a part is named for what is special
about the step: its lift (energy over area, summed over the taxon's pictures) set
against the same part's lift at all steps of the same pictures. The named part is the
one for which this quotient is largest.
"""

from dataclasses import dataclass

import numpy as np

from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.modes.guide_evidence import Evidence


@dataclass(frozen=True)
class Named:
    """Over taxa: how many have the planted part named.

    Attributes:
      right, taxa: counts.
      low, high: 95 % Wilson interval of the share, taxa taken as independent.
      chance: of naming a part at random.
    """

    right: int
    taxa: int
    low: float
    high: float
    chance: float


def lifts(evidence: Evidence, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Lift of every step on every part over some pictures: part -> (R,)."""
    found = {}
    for part, energy in evidence.part_energy.items():
        held = energy[:, rows]
        area = np.where(np.isfinite(held), evidence.part_area[part][rows], 0.0)
        total = area.sum(1)
        found[part] = np.divide(
            np.nansum(held, 1), total, out=np.full(len(held), np.nan), where=total > 0
        )
    return found


def special(evidence: Evidence, rows: np.ndarray, step: int) -> dict[str, float]:
    """How much more a step lifts each part than the steps do on average: 1 is as much.

    Args:
      evidence: of all pictures.
      rows: the taxon's pictures.
      step: number of the step.
    """
    found = {}
    for part, by_step in lifts(evidence, rows).items():
        known = by_step[np.isfinite(by_step) & (by_step > 0)]
        if np.isfinite(by_step[step]) and by_step[step] > 0:
            found[part] = float(by_step[step] / np.exp(np.log(known).mean()))
    return found


def name_part(evidence: Evidence, rows: np.ndarray, step: int) -> str | None:
    """The part that the step looks at more than the other steps do; None if unknown."""
    found = special(evidence, rows, step)
    return max(found, key=found.get) if found else None


def check(
    named: dict[tuple[str, int], str | None], planted: dict[str, tuple[str, int]]
) -> dict[str, Named]:
    """Compares with the parts that carry the ranks.

    Args:
      named: (rank, label) -> part.
      planted: rank -> (part, label in the part images).

    Returns:
      By rank, and under "" over all ranks; empty where nothing was named.
    """
    known = {key: part for key, part in named.items() if part and key[0] in planted}
    if not known:
        return {}
    chance = 1 / len({part for part, _ in planted.values()})

    def count(keys) -> Named:
        right = sum(known[key] == planted[key[0]][0] for key in keys)
        low, high = wilson_interval(right, len(keys))
        return Named(right, len(keys), float(low), float(high), chance)

    ranks = dict.fromkeys(rank for rank, _ in known)
    found = {rank: count([key for key in known if key[0] == rank]) for rank in ranks}
    return {"": count(list(known)), **found}
