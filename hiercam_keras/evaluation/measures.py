"""The registry of per-map measures: adding one is adding one function here.

A measure takes `Maps` and returns one number for each map. Its name is the column of
the tables, its title the words of the pages; {noun} in it becomes what the pictures
show. Tables list measures in the order of this file. docs/METRICS.md describes each.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hiercam_keras.cam import heatmaps
from hiercam_keras.evaluation.regions import Regions
from hiercam_keras.maps import HOT, SIDE
from hiercam_keras.metrics import concentration


@dataclass(frozen=True)
class Maps:
    """Maps of N pictures for one question.

    Attributes:
      cams: (N, h, w), signed, at the resolution of their layer.
      degenerate: bool (N,), maps without positive variation; their energy counts as
        uniform, so every share of it is at chance.
      regions: of the pictures.
    """

    cams: np.ndarray
    degenerate: np.ndarray
    regions: Regions

    @functools.cached_property
    def energy(self) -> np.ndarray:
        """(N, SIDE, SIDE), resized ReLU(cam) over its sum; uniform if degenerate."""
        found = heatmaps.energy(self.cams, SIDE)
        found[self.degenerate] = 1 / SIDE**2  # as on the device, without its rounding
        return found

    @functools.cached_property
    def heat(self) -> np.ndarray:
        """(N, SIDE, SIDE), min-max heatmaps in 0 .. 1."""
        return heatmaps.heatmap(self.cams, SIDE)

    @functools.cached_property
    def shape(self) -> dict[str, np.ndarray]:
        """`concentration.shape_measures`, which share their costly steps."""
        return concentration.shape_measures(self.energy)


@dataclass(frozen=True)
class Measure:
    """One number of a map: `compute` takes Maps of N pictures and returns (N,), NaN
    where it is unknown."""

    name: str
    title: str
    compute: Callable[[Maps], np.ndarray]


MEASURES: dict[str, Measure] = {}


def measure(name: str, title: str) -> Callable:
    """Registers the decorated function of Maps as a measure."""

    def register(compute: Callable[[Maps], np.ndarray]) -> Callable:
        MEASURES[name] = Measure(name, title, compute)
        return compute

    return register


@measure("heatmap_area", "heatmap area")
def heatmap_area(maps: Maps) -> np.ndarray:
    """Share of the picture above HOT in the heatmap."""
    return concentration.area_above(maps.heat, HOT)


@measure("area_at_50", "area of half the energy")
def area_at_50(maps: Maps) -> np.ndarray:
    """Smallest share of the picture that holds half of the energy."""
    return maps.shape["area_at_energy"]


@measure("entropy", "entropy")
def entropy(maps: Maps) -> np.ndarray:
    """Entropy of the energy: 0 for one cell, 1 for a uniform map."""
    return maps.shape["entropy"]


@measure("softmax_entropy", "entropy of the map's softmax")
def softmax_entropy(maps: Maps) -> np.ndarray:
    """Entropy of the softmax over the signed map's cells, over log of their number.

    The map is scaled to a largest absolute value of 1 first, so it does not depend on
    the unit of the score. 1 for a constant map. In contrast to `entropy`, evidence
    against the target counts.
    """
    cells = maps.cams.reshape(len(maps.cams), -1).astype(np.float64)
    cells = np.where(np.isfinite(cells).all(1, keepdims=True), cells, 0.0)
    scale = np.abs(cells).max(1, keepdims=True)
    cells = cells / np.where(scale > 0, scale, 1.0)
    shares = np.exp(cells - cells.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return -(shares * np.log(shares)).sum(1) / np.log(max(cells.shape[1], 2))


@measure("gini", "gini")
def gini(maps: Maps) -> np.ndarray:
    """Gini coefficient of the energy: 0 for a uniform map."""
    return maps.shape["gini"]


@measure("num_blobs", "hot spots")
def num_blobs(maps: Maps) -> np.ndarray:
    """Connected regions above half of the largest energy."""
    return maps.shape["blobs"]


@measure("centroid_x", "center, x")
def centroid_x(maps: Maps) -> np.ndarray:
    """Center of the energy in shares of the width."""
    return maps.shape["centroid_x"]


@measure("centroid_y", "center, y")
def centroid_y(maps: Maps) -> np.ndarray:
    """Center of the energy in shares of the height."""
    return maps.shape["centroid_y"]


@measure("energy_on_object", "energy on the {noun}")
def energy_on_object(maps: Maps) -> np.ndarray:
    """Share of the energy on the object; its area for a degenerate map."""
    return (maps.energy * maps.regions.objects).sum((1, 2))


def part_energy(maps: Maps, labels: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Share of the energy on each part: name -> (N,), NaN without part images."""
    parts = maps.regions.parts
    if parts is None:
        return {name: np.full(len(maps.cams), np.nan) for name in labels}
    return {
        name: concentration.energy_inside(maps.energy, parts == label)
        for name, label in labels.items()
    }


def part_area(regions: Regions, labels: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Share of each picture that a part fills: name -> (N,)."""
    if regions.parts is None:
        return {name: np.full(len(regions.kinds), np.nan) for name in labels}
    return {
        name: concentration.area_share(regions.parts == label)
        for name, label in labels.items()
    }
