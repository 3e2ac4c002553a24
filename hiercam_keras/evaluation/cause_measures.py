"""The registry of measures of a map against causes: adding one is one function here.

A measure compares, for each picture, how much a map has on the parts with how much the
explained score falls when the parts are exchanged. It takes `Parts` and returns one
number for each picture, NaN where it is unknown. Pages list measures in the order of
this file; docs/METRICS.md describes each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hiercam_keras.metrics.part_ranks import rank_correlation

SIBLING, UNRELATED, REMOVED = "sibling", "unrelated", "removed"


@dataclass(frozen=True)
class Parts:
    """Maps of N pictures and the effects of their P parts, for one target.

    Attributes:
      energy: (N, P), share of the map's energy on each part.
      area: (N, P), share of the picture that each part fills.
      effects: how a part was exchanged -> (N, P), the score of the picture minus that
        with the part exchanged: above 0 where the part speaks for the target. NaN where
        there is no such exchange.
    """

    energy: np.ndarray
    area: np.ndarray
    effects: Mapping[str, np.ndarray]

    @property
    def lift(self) -> np.ndarray:
        """(N, P), energy over area; NaN for a part that is not visible."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.area > 0, self.energy / self.area, np.nan)


@dataclass(frozen=True)
class CauseMeasure:
    """One number of a picture: `compute` takes Parts of N pictures, returns (N,)."""

    name: str
    title: str
    compute: Callable[[Parts], np.ndarray]


CAUSE_MEASURES: dict[str, CauseMeasure] = {}


def cause_measure(name: str, title: str) -> Callable:
    """Registers the decorated function of Parts as a measure."""

    def register(compute: Callable[[Parts], np.ndarray]) -> Callable:
        CAUSE_MEASURES[name] = CauseMeasure(name, title, compute)
        return compute

    return register


@cause_measure("energy_correlation", "rank correlation of energy and effect")
def energy_correlation(parts: Parts) -> np.ndarray:
    """Rank correlation, over the parts, of the energy on a part and of the fall of the
    score when the part has the form of a sibling."""
    return rank_correlation(parts.energy, parts.effects[SIBLING])


@cause_measure("lift_correlation", "rank correlation of lift and effect")
def lift_correlation(parts: Parts) -> np.ndarray:
    """As `energy_correlation`, of the lift: independent of the area of a part."""
    return rank_correlation(parts.lift, parts.effects[SIBLING])


@cause_measure("single_deletion", "single-part deletion")
def single_deletion(parts: Parts) -> np.ndarray:
    """1/2 + 1/2 rank correlation of the energy on a part and the fall of the score when
    the part is removed: 0 .. 1 (Hesse et al. 2023, FunnyBirds, arXiv:2308.06248)."""
    return 0.5 + 0.5 * rank_correlation(parts.energy, parts.effects[REMOVED])


@cause_measure("top_part", "top part is the most effective one")
def top_part(parts: Parts) -> np.ndarray:
    """1 where the part of the largest lift is that of the largest effect, else 0."""
    effects = parts.effects[SIBLING]
    known = np.isfinite(effects) & np.isfinite(parts.lift)
    some = (known.sum(1) > 1) & (np.where(known, effects, -np.inf).max(1) > 0)
    first = np.where(known, parts.lift, -np.inf).argmax(1)
    most = np.where(known, effects, -np.inf).argmax(1)
    return np.where(some, first == most, np.nan)
