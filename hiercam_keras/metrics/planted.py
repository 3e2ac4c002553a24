"""metrics: how much of a map lies on the parts that carry the evidence?

Procedural birds are drawn so that one part tells each rank and nothing else does. The
share of a map's energy on that part, over the part's share of the picture, is its lift:
1 is chance. `resampling.lift` makes lifts over pictures from these shares: mean energy
over mean area, so that pictures in which a part is nearly hidden do not dominate.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hiercam_keras.metrics import concentration

Name = TypeVar("Name")


class Planted(NamedTuple):
    """Shares by part, 0 .. 1: of the energy, (..., N), and of the picture, (N,)."""

    energy: dict[Any, np.ndarray]
    area: dict[Any, np.ndarray]


def part_shares(maps: Any, parts: Any, labels: Mapping[Name, int]) -> Planted:
    """Shares of the energy, and of the picture, that lie on each part.

    Args:
      maps: (..., N, h, w); negative values count as 0, a map without energy as a
        uniform one, whose lift is 1.
      parts: (N, h, w) labels of the parts, as large as the maps.
      labels: name of the part, or of what it tells -> its label.

    Raises:
      ValueError: shapes differ.
    """
    maps, parts = np.asarray(maps), np.asarray(parts)
    if parts.ndim != 3 or maps.shape[-3:] != parts.shape:
        raise ValueError(
            f"maps {maps.shape} and parts {parts.shape}, expected (..., N, h, w) and "
            "(N, h, w)"
        )
    masks = {name: parts == label for name, label in labels.items()}
    return Planted(
        {name: concentration.energy_inside(maps, own) for name, own in masks.items()},
        {name: concentration.area_share(own) for name, own in masks.items()},
    )
