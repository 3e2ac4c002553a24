"""Which part of the bird the guide names for a taxon, and how often it is right.

A step map is spread over the bird, and some parts are hot at every step, because they
lie in the middle or because they are small. So a part is named for what is special
about the step: its lift (energy over area, summed over the taxon's pictures) set
against the same part's lift at all steps of the same pictures. The named part is the
one for which this quotient is largest.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.modes.guide_evidence import Evidence


@dataclass(frozen=True)
class Named:
    """How often the planted part is named, over the taxa of a rank or of several.

    Attributes:
      right, taxa: counts.
      share, low, high: with its 95 % interval, taxa taken as independent.
      chance: share that naming a part at random would have.
      constant: share of the best answer that is the same for all taxa.
      always: that answer.
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
    """By rank, over all taxa, and as a mean over the ranks, which counts each alike.

    The finest rank has most of the taxa: over all of them a guide that always names
    that rank's part looks good, as a mean over the ranks it does not.
    """

    ranks: dict[str, Named]
    taxa: Named
    mean: Named


def lifts(evidence: Evidence, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Lift of every step on every part over some pictures: part -> (R,)."""
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
    """How much more a step lifts each part than the steps do on average: 1 is as much.

    Args:
      evidence: of all pictures.
      rows: the taxon's pictures.
      rank: into which the step leads.
    """
    found, step = {}, evidence.ranks.index(rank)
    for part, by_step in lifts(evidence, rows).items():
        known = by_step[np.isfinite(by_step) & (by_step > 0)]
        if np.isfinite(by_step[step]) and by_step[step] > 0:
            found[part] = float(by_step[step] / np.exp(np.log(known).mean()))
    return found


def name_part(evidence: Evidence, rows: np.ndarray, rank: str) -> str | None:
    """The part that the step looks at more than the other steps do; None if unknown."""
    found = special(evidence, rows, rank)
    return max(found, key=found.get) if found else None


def check(
    named: dict[tuple[str, int], str | None], planted: dict[str, tuple[str, int]]
) -> Check | None:
    """Compares with the parts that carry the ranks.

    Args:
      named: (rank, label) -> part.
      planted: rank -> (part, label in the part images).

    Returns:
      None where nothing was named.
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
    """Mean of the ranks' shares. Its interval is put together from theirs, as Zou and
    Donner 2008 (Statistics in Medicine 27, 1693-1702) do for a sum of proportions."""
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
