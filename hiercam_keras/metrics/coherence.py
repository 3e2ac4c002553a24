"""A rule that classifies maps as coherent, incoherent or undecided.

Two criteria are measured, and each may be for a map, against it, or neither:

* place: how much more of its energy is on the object than chance,
  excess = (energy - chance)/(1 - chance), which is 0 for a uniform map and 1 for a map
  on the object only, for any size of the object. For it from `min_excess` on, against
  it at or below `max_stray`.
* faithfulness: the mean of the deletion and the insertion gain over a random order. For
  it from `min_gain` on, against it at or below
  `max_loss`.

A map is coherent if a criterion is for it and none against it, incoherent if one is
against it and none for it, and otherwise undecided. A degenerate map is incoherent.
Without mask or box the verdict depends on faithfulness alone; `basis` names the
criteria of each verdict.
"""

import dataclasses
from typing import Any

import numpy as np

COHERENT, INCOHERENT, UNDECIDED = "coherent", "incoherent", "undecided"
VERDICTS = (COHERENT, INCOHERENT, UNDECIDED)
# Criteria of a verdict.
DEGENERATE, PLACE, FAITHFULNESS, BOTH, NOTHING = (
    "degenerate",
    "place",
    "faithfulness",
    "place+faithfulness",
    "nothing",
)


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Thresholds of the rule; fields of `config.coherence`.

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
        """Number of maps by verdict, with all three verdicts as keys."""
        return {name: int((self.verdict == name).sum()) for name in VERDICTS}


def coherence(
    degenerate: Any,
    energy: Any = None,
    chance: Any = None,
    deletion_gain: Any = None,
    insertion_gain: Any = None,
    thresholds: Thresholds | None = None,
) -> Coherence:
    """Classifies N maps by the rule above. None and NaN are unknown values.

    Args:
      degenerate: bool (N,), whether there is no heatmap.
      energy: (N,) share of the energy on the object, 0 .. 1.
      chance: (N,) the object's share of the picture. If it fills the whole picture, the
        place criterion is neither for nor against a map.
      deletion_gain, insertion_gain: (N,), of `faithfulness.measure`; one of them is
        sufficient.
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
    # Comparisons with NaN are false: an unknown value is neither for nor against.
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
