"""metrics: does a map lie on the part that carries the evidence?

Procedural birds are drawn so that one part tells each rank and nothing else does. The
share of a map's energy on that part, over the part's share of the picture, is its lift:
1 is chance. What lies outside the bird is background, on which a habitat may be learned
in the bird's place.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from hiercam_keras.metrics import concentration


@dataclasses.dataclass(frozen=True)
class Planted:
    """Of N maps; arrays (N,). Shares are 0 .. 1.

    Attributes:
      energy: rank -> share of the energy on the part that carries it.
      area: rank -> share of the picture that is this part; 0 where it is not seen.
      background: share of the energy on nothing (label 0).
      background_area: share of the picture that is nothing.
    """

    energy: dict[str, np.ndarray]
    area: dict[str, np.ndarray]
    background: np.ndarray
    background_area: np.ndarray

    def lift(self, rank: str) -> np.ndarray:
        """Energy over area of each picture: (N,), 0 and up; NaN without the part."""
        energy, area = self.energy[rank], self.area[rank]
        out = np.full(energy.shape, np.nan)
        return np.divide(energy, area, out=out, where=area > 0)

    def mean_lift(self, rank: str) -> float:
        """Mean energy over mean area, of the pictures that show the part.

        Unlike the mean of the lifts it is not ruled by pictures in which the part is
        nearly hidden. NaN where none shows it.
        """
        shown = self.area[rank] > 0
        if not shown.any():
            return float("nan")
        return float(self.energy[rank][shown].mean() / self.area[rank][shown].mean())

    def background_lift(self) -> np.ndarray:
        """Background energy over background area: (N,); NaN without background."""
        out = np.full(self.background.shape, np.nan)
        area = self.background_area
        return np.divide(self.background, area, out=out, where=area > 0)


def planted_evidence(
    maps: Any, parts: Any, evidence: Mapping[str, tuple[str, int]]
) -> Planted:
    """Energies and areas on the parts that carry the ranks.

    Args:
      maps: (N, h, w); negative values count as 0, a map without energy as uniform.
      parts: (N, h, w) labels of the parts, 0 for the background, as large as the maps.
      evidence: rank -> (name of the part, its label), as a data source's `evidence`.

    Raises:
      ValueError: shapes differ, or a label is negative.
    """
    parts = np.asarray(parts)
    labels = [label for _, label in evidence.values()]
    most = max([int(parts.max(initial=0)), *labels]) + 1
    energy, area = concentration.part_energy(maps, parts, most)
    return Planted(
        energy={rank: energy[:, label] for rank, (_, label) in evidence.items()},
        area={rank: area[:, label] for rank, (_, label) in evidence.items()},
        background=energy[:, 0],
        background_area=area[:, 0],
    )


def background_by_habitat(
    background: Any, own_habitat: Any
) -> tuple[float, float, float]:
    """Does the background draw more energy where it tells the truth?

    Args:
      background: (N,) shares of energy on the background.
      own_habitat: (N,) bool, whether the bird stands in its family's habitat.

    Returns:
      (mean where it does, mean where it does not, their difference); NaN where there is
      no such picture. A model that uses the habitat has a difference above 0; one that
      does not has the same background energy in both.
    """
    background = np.asarray(background, np.float64)
    own = np.asarray(own_habitat, bool)
    if background.shape != own.shape or background.ndim != 1:
        raise ValueError(f"shapes {background.shape} and {own.shape}, expected (N,)")
    inside, outside = (
        float(values.mean()) if values.size else float("nan")
        for values in (background[own], background[~own])
    )
    return inside, outside, inside - outside
