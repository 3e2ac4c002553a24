"""A rule that sorts maps into coherent and incoherent.

Two things are measured of a map, and each may speak for it, against it, or neither:

* place: how much more of its energy is on the object than chance,
  excess = (energy - chance)/(1 - chance), which is 0 for a uniform map and 1 for one
  that is on the object only, however large the object is. For it from `min_excess` on,
  against it at or below `max_stray`.
* faithfulness: how much better than a random order its order of removal is, the mean of
  the deletion and the insertion gain. For it from `min_gain` on, against it at or below
  `max_loss`.

A map is coherent if something speaks for it and nothing against it, incoherent if
something speaks against it and nothing for it; else it is undecided. A map that shows
nothing (degenerate) is incoherent. Without mask or box the verdict rests on
faithfulness alone, and `basis` says on what each verdict rests.
"""

import dataclasses
from typing import Any

import numpy as np

COHERENT, INCOHERENT, UNDECIDED = "coherent", "incoherent", "undecided"
VERDICTS = (COHERENT, INCOHERENT, UNDECIDED)
# What a verdict rests on.
DEGENERATE, PLACE, FAITHFULNESS, BOTH, NOTHING = (
    "degenerate",
    "place",
    "faithfulness",
    "place+faithfulness",
    "nothing",
)


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """See the module's docstring; fields of `config.coherence`.

    Raises:
      ValueError: a threshold for a map is below the one against it.
    """

    min_excess: float = 0.15
    max_stray: float = 0.05
    min_gain: float = 0.1
    max_loss: float = 0.0

    def __post_init__(self):
        for low, high in (("max_stray", "min_excess"), ("max_loss", "min_gain")):
            if not getattr(self, low) < getattr(self, high):
                raise ValueError(
                    f"coherence.{low}={getattr(self, low)} and coherence.{high}="
                    f"{getattr(self, high)}, expected the first to be smaller"
                )


@dataclasses.dataclass(frozen=True)
class Coherence:
    """Of N maps: verdict and basis, text (N,); excess and gain, float64 (N,), NaN where
    unknown."""

    verdict: np.ndarray
    basis: np.ndarray
    excess: np.ndarray
    gain: np.ndarray

    def counts(self) -> dict[str, int]:
        """How many maps have each verdict; all three names are there."""
        return {name: int((self.verdict == name).sum()) for name in VERDICTS}


def coherence(
    degenerate: Any,
    energy: Any = None,
    chance: Any = None,
    deletion_gain: Any = None,
    insertion_gain: Any = None,
    thresholds: Thresholds | None = None,
) -> Coherence:
    """Sorts N maps by the rule above. None and NaN are values that are not known.

    Args:
      degenerate: bool (N,), no heatmap.
      energy: (N,) share of the energy on the object, 0 .. 1.
      chance: (N,) the object's share of the picture. Where it fills all of the picture
        no place is better than another, and place says nothing.
      deletion_gain, insertion_gain: (N,), of `faithfulness.measure`; one of them will
        do.
      thresholds: of the rule.

    Raises:
      ValueError: arrays of different lengths.
    """
    limits = thresholds or Thresholds()
    degenerate = np.asarray(degenerate, bool)
    energy, chance, down, up = (
        _known(values, degenerate.shape)
        for values in (energy, chance, deletion_gain, insertion_gain)
    )
    room = 1 - chance
    excess = np.full(degenerate.shape, np.nan)
    np.divide(energy - chance, room, out=excess, where=room > 1e-9)
    gain = _mean_of_known(down, up)
    place, faith = ~np.isnan(excess), ~np.isnan(gain)
    # Comparisons with NaN are false: what is unknown speaks neither way.
    good = (excess >= limits.min_excess) | (gain >= limits.min_gain)
    bad = (excess <= limits.max_stray) | (gain <= limits.max_loss)
    verdict = np.where(good & ~bad, COHERENT, np.where(bad & ~good, INCOHERENT, ""))
    verdict = np.where(verdict == "", UNDECIDED, verdict)
    basis = np.where(
        place & faith,
        BOTH,
        np.where(place, PLACE, np.where(faith, FAITHFULNESS, NOTHING)),
    )
    return Coherence(
        np.where(degenerate, INCOHERENT, verdict),
        np.where(degenerate, DEGENERATE, basis),
        excess,
        gain,
    )


def _known(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    if values is None:
        return np.full(shape, np.nan)
    values = np.asarray(values, np.float64)
    if values.shape != shape or values.ndim != 1:
        raise ValueError(f"values {values.shape} for maps {shape}, expected (N,)")
    return values


def _mean_of_known(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    mean = (first + second) / 2
    return np.where(np.isnan(first), second, np.where(np.isnan(second), first, mean))
