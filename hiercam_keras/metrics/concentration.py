"""Size and position of a map's energy, and its share on the object.

Every function takes (..., h, w) and returns one value per map, shape (...). The
docstrings state the value of a map without energy.
"""

from typing import Any

import numpy as np
import scipy.ndimage

from hiercam_keras.maps import energy, minmax, positive


def area_above(maps: Any, threshold: float = 0.5) -> np.ndarray:
    """Share of the pixels with a min-max value above `threshold`: 0 .. 1.

    It is the area that is visible on an overlay. A constant map gives 0.
    """
    return (minmax(maps) > threshold).mean(axis=(-2, -1))


def area_at_energy(maps: Any, share: float = 0.5) -> np.ndarray:
    """Smallest share of the pixels that holds `share` of the energy: 0 .. 1.

    Pixels are taken from the highest down, the last one in part, so that a uniform
    map gives `share`, which is also the largest value. So does a map without energy.
    """
    return _area_at_energy(np.sort(_flat(energy(maps))), share)


def entropy(maps: Any, normalized: bool = True) -> np.ndarray:
    """Entropy of the energy, -sum p log p.

    Normalized by log(h w) it is 0 for one pixel and 1 for a uniform map, else it is
    in nats. A map without energy counts as uniform; of a single pixel it is 0.
    """
    return _entropy(_flat(energy(maps)), normalized)


def gini(maps: Any) -> np.ndarray:
    """Gini coefficient of the energy, sum_i (2i - n - 1) a_(i) / (n sum a).

    0 for a uniform map, 1 - 1/n for a single pixel of n (Hurley and Rickard 2009,
    arXiv:0811.4706). A map without energy gives 0.
    """
    return _gini(np.sort(_flat(energy(maps))))


def centroid(maps: Any) -> np.ndarray:
    """Center of the energy as x, y in shares of width and height: (..., 2), 0 .. 1.

    Pixel i of n is at (i + 0.5)/n. A map without energy has its center at 0.5, 0.5.
    """
    return _centroid(energy(maps))


def num_blobs(maps: Any, threshold: float = 0.5) -> np.ndarray:
    """Number of connected regions where the min-max value is above `threshold`: int.

    Pixels that touch at a corner are connected. A constant map has 0.
    """
    above = minmax(maps) > threshold
    shape = above.shape
    stack = above.reshape(-1, *shape[-2:])
    # Connected within a map, never between one map and the next.
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = True
    labels, found = scipy.ndimage.label(stack, structure)
    owner = np.full(found + 1, -1)
    owner[labels] = np.arange(len(stack))[:, None, None]
    counts = np.bincount(owner[1:], minlength=len(stack)) if found else 0
    return np.broadcast_to(counts, len(stack)).reshape(shape[:-2]).astype(np.int64)


def energy_inside(maps: Any, masks: Any) -> np.ndarray:
    """Share of the energy inside a mask: 0 .. 1.

    With boxes (`maps.box_coverage`) this is the score of the energy pointing game
    (Wang et al. 2020, Score-CAM, arXiv:1910.01279). Report it with `area_share`,
    which is what a uniform map scores; a map without energy scores just that.

    Args:
      maps: (..., h, w).
      masks: (..., h, w) bool, or coverage 0 .. 1; broadcasts against `maps`.
    """
    values = energy(maps)
    return (values * _as_masks(masks, values.shape)).sum(axis=(-2, -1))


def area_share(masks: Any) -> np.ndarray:
    """Share of the pixels inside a mask: the chance level of `energy_inside`."""
    return _as_masks(masks, np.shape(masks)).mean(axis=(-2, -1))


def shape_measures(maps: Any, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """All measures of the shape of maps, by name; one value per map.

    Names: area_above, area_at_energy, entropy, gini, centroid_x, centroid_y, blobs.
    """
    maps = positive(maps)
    values = energy(maps)
    center = _centroid(values)
    ordered = np.sort(_flat(values))  # the costly step, once for three measures
    return {
        "area_above": area_above(maps, threshold),
        "area_at_energy": _area_at_energy(ordered, 0.5),
        "entropy": _entropy(ordered, normalized=True),
        "gini": _gini(ordered),
        "centroid_x": center[..., 0],
        "centroid_y": center[..., 1],
        "blobs": num_blobs(maps, threshold),
    }


def _area_at_energy(ordered: np.ndarray, share: float) -> np.ndarray:
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected 0 < share <= 1")
    values = ordered[..., ::-1]
    held = np.cumsum(values, axis=-1)
    wanted = share * held[..., -1:]
    before = (held < wanted).sum(axis=-1)[
        ..., None
    ]  # number of pixels that hold less than the share
    last = np.take_along_axis(values, before, axis=-1)
    short = wanted - (np.take_along_axis(held, before, axis=-1) - last)
    return (before + short / last)[..., 0] / values.shape[-1]


def _entropy(values: np.ndarray, normalized: bool) -> np.ndarray:
    logs = np.log(values, out=np.zeros_like(values), where=values > 0)
    total = -(values * logs).sum(axis=-1)
    if normalized and values.shape[-1] > 1:
        total = total / np.log(values.shape[-1])
    return np.maximum(total, 0.0)


def _gini(ordered: np.ndarray) -> np.ndarray:
    count = ordered.shape[-1]
    weights = 2.0 * np.arange(1, count + 1) - count - 1
    return np.maximum(ordered @ weights / count, 0.0)


def _centroid(values: np.ndarray) -> np.ndarray:
    height, width = values.shape[-2:]
    x = values.sum(axis=-2) @ ((np.arange(width) + 0.5) / width)
    y = values.sum(axis=-1) @ ((np.arange(height) + 0.5) / height)
    return np.stack([x, y], axis=-1)


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:-2], -1)


def _as_masks(masks: Any, shape: tuple[int, ...]) -> np.ndarray:
    masks = np.asarray(masks, dtype=np.float64)
    if masks.ndim < 2 or masks.shape[-2:] != tuple(shape[-2:]):
        raise ValueError(
            f"masks have shape {masks.shape}, expected (..., h, w) as the maps' {shape}"
        )
    if masks.size and (masks.min() < 0 or masks.max() > 1):
        raise ValueError(
            f"masks hold {masks.min()} .. {masks.max()}, expected 0 .. 1: divide by 255"
        )
    return masks
