"""Names the part of the bird that distinguishes a taxon, and measures the accuracy.

A step map extends over the whole bird, and some parts are hot at every step, because
they are central or small. Therefore the lift of a part at a step (share of energy over
share of area, summed over the taxon's images) is divided by the lift of the same part
over all steps of the same images. The named part has the largest quotient.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.modes.guide_evidence import Evidence


@dataclass(frozen=True)
class Named:
    """How often the named part is the planted one, over taxa of one or several ranks.

    Attributes:
      right, taxa: numbers of correct and of all taxa.
      share, low, high: right/taxa and its 95 % interval, with taxa as independent.
      chance: expected share of a random part.
      constant: share of the best constant part for all taxa.
      always: that part.
    """

    right: int
    taxa: int
    share: float
    low: float
    high: float
    chance: float
    constant: float
    always: str


@dataclass(frozen=True)
class Check:
    """Results by rank, over all taxa, and as an unweighted mean over ranks.

    The finest rank has most of the taxa, so a guide that always names the part of this
    rank has a high share over all taxa, but not as a mean over ranks.
    """

    ranks: dict[str, Named]
    taxa: Named
    mean: Named


def lifts(evidence: Evidence, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Lift of every step on every part, over the images in `rows`: (R,) by part."""
    found = {}
    for part in evidence.parts:
        held = np.stack([evidence.of(part, rank)[rows] for rank in evidence.ranks])
        area = evidence.table.pictures[f"{part}_area"][rows]
        area = np.where(np.isfinite(held), area, 0.0)
        total = area.sum(1)
        found[part] = np.divide(
            np.nansum(held, 1), total, out=np.full(len(held), np.nan), where=total > 0
        )
    return found


def special(evidence: Evidence, rows: np.ndarray, rank: str) -> dict[str, float]:
    """Lift of each part at a step over the geometric mean of its lift at all steps.

    Args:
      evidence: of all images.
      rows: indices of the taxon's images.
      rank: that the step leads to.
    """
    found, step = {}, evidence.ranks.index(rank)
    for part, by_step in lifts(evidence, rows).items():
        known = by_step[np.isfinite(by_step) & (by_step > 0)]
        if np.isfinite(by_step[step]) and by_step[step] > 0:
            found[part] = float(by_step[step] / np.exp(np.log(known).mean()))
    return found


def name_part(evidence: Evidence, rows: np.ndarray, rank: str) -> str | None:
    """The part with the largest relative lift at a step (`special`), or None."""
    found = special(evidence, rows, rank)
    return max(found, key=found.get) if found else None


def check(
    named: dict[tuple[str, int], str | None], planted: dict[str, tuple[str, int]]
) -> Check | None:
    """Compares named parts with the planted ones.

    Args:
      named: part by (rank, label).
      planted: (part, label in the part images) by rank.

    Returns:
      The comparison; None if no part was named.
    """
    known = {key: part for key, part in named.items() if part and key[0] in planted}
    if not known:
        return None
    parts = {rank: part for rank, (part, _) in planted.items()}
    ranks = {
        rank: _count([key for key in known if key[0] == rank], known, parts)
        for rank in dict.fromkeys(rank for rank, _ in known)
    }
    return Check(ranks, _count(list(known), known, parts), _mean(ranks, parts))


def _count(keys: list, known: dict, parts: dict[str, str]) -> Named:
    right = sum(known[key] == parts[key[0]] for key in keys)
    low, high = wilson_interval(right, len(keys))
    ((always, most),) = Counter(parts[rank] for rank, _ in keys).most_common(1)
    return Named(
        right=right,
        taxa=len(keys),
        share=right / len(keys),
        low=float(low),
        high=float(high),
        chance=1 / len(set(parts.values())),
        constant=most / len(keys),
        always=always,
    )


def _mean(ranks: dict[str, Named], parts: dict[str, str]) -> Named:
    """Mean of the shares of the ranks.

    Its interval combines theirs by the method of Zou and Donner 2008 (Statistics in
    Medicine 27, 1693-1702) for a sum of proportions.
    """
    several, count = list(ranks.values()), len(ranks)
    share = sum(one.share for one in several) / count
    down = math.sqrt(sum((one.share - one.low) ** 2 for one in several)) / count
    up = math.sqrt(sum((one.high - one.share) ** 2 for one in several)) / count
    ((always, most),) = Counter(parts[rank] for rank in ranks).most_common(1)
    return Named(
        right=sum(one.right for one in several),
        taxa=sum(one.taxa for one in several),
        share=share,
        low=share - down,
        high=share + up,
        chance=several[0].chance,
        constant=most / count,
        always=always,
    )
