"""Boxes around the regions of a score map, at every threshold.

The details are those of the reference evaluator of weakly supervised localization (Choe
et al. 2020, arXiv:2001.07437), so results are comparable with published ones: the map
is truncated to 8 bits, a threshold is int(t * max) and strictly exceeded, holes have
contours, too, "largest" refers to the area of the contour's polygon, which is 0 for a
line one pixel wide, and a box of w pixels from x on is x, x + w, clipped at the last
pixel.
"""

import dataclasses
from typing import Any

import numpy as np

from hiercam_keras.metrics.level_boxes import boxes_of_levels

THRESHOLDS = np.arange(0, 1, 0.001)


@dataclasses.dataclass(frozen=True)
class ThresholdBoxes:
    """Boxes of all contours of one map; equal cuts share their boxes.

    Attributes:
      level: (thresholds,) level of each threshold.
      boxes: (boxes, 4) int64 as x0, y0, x1, y1, grouped by level.
      starts: (levels,) position of each level's first box; every level has one.
      largest: (levels,) position of the box of the largest contour.
    """

    level: np.ndarray
    boxes: np.ndarray
    starts: np.ndarray
    largest: np.ndarray


def boxes_at_thresholds(score_map: Any, thresholds: Any = THRESHOLDS) -> ThresholdBoxes:
    """Boxes of the regions above each threshold of a map.

    A map has at most 255 levels, and at most as many as it has values.

    Args:
      score_map: (h, w) in 0 .. 1.
      thresholds: (thresholds,) in 0 .. 1, as shares of the map's maximum.

    Raises:
      ValueError: the map is not (h, w), or has values outside of 0 .. 1.
    """
    image = to_bytes(score_map)
    cuts = (np.asarray(thresholds) * np.float64(image.max())).astype(np.int64)
    # Cuts between the same two values of the map are equivalent.
    values = np.flatnonzero(np.bincount(image.ravel(), minlength=256))
    below = np.searchsorted(values, cuts, side="right")
    _, first, level = np.unique(below, return_index=True, return_inverse=True)
    found = boxes_of_levels(image, np.asarray(score_map), cuts[first])
    return ThresholdBoxes(level.reshape(-1), *found)


def box_iou(a: Any, b: Any) -> np.ndarray:
    """Intersection over union of boxes that include both corners: (N, M).

    A box spans x1 - x0 + 1 pixels. A union without area gives 0.

    Args:
      a: (N, 4), b: (M, 4) as x0, y0, x1, y1.
    """
    a, b = _boxes(a)[:, None], _boxes(b)[None]
    across = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1
    down = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1
    both = np.maximum(across, 0) * np.maximum(down, 0)
    sizes = [
        (box[..., 2] - box[..., 0] + 1) * (box[..., 3] - box[..., 1] + 1)
        for box in (a, b)
    ]
    union = sizes[0] + sizes[1] - both
    return np.divide(both, union, out=np.zeros(union.shape), where=union > 0)


def resize_boxes(
    boxes: Any, image_size: tuple[int, int], size: tuple[int, int] = (224, 224)
) -> np.ndarray:
    """Boxes in pixels of the resized image, truncated to integers: int64 (N, 4).

    Args:
      boxes: (N, 4) as x0, y0, x1, y1 in pixels of the original.
      image_size, size: width, height before and after. Two public data sets disagree
        on the order in their files: check it against the images.
    """
    boxes = _boxes(boxes).astype(np.float64)
    new = np.array([size[0], size[1]] * 2, np.float64)
    old = np.array([image_size[0], image_size[1]] * 2, np.float64)
    return (boxes * new / old).astype(np.int64)


def box_mask(boxes: Any, shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside any of the boxes, corners included: bool (h, w)."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in _boxes(boxes).tolist():
        mask[max(int(y0), 0) : int(y1) + 1, max(int(x0), 0) : int(x1) + 1] = True
    return mask


def to_bytes(score_map: Any) -> np.ndarray:
    """A map in 0 .. 1 truncated to 8 bits: uint8 (h, w).

    Raises:
      ValueError: the map is not (h, w), or has values outside of 0 .. 1.
    """
    score_map = np.asarray(score_map)
    if score_map.ndim != 2 or not score_map.size:
        raise ValueError(f"score map has shape {score_map.shape}, expected (h, w)")
    low, high = score_map.min(), score_map.max()
    if not (low >= 0 and high <= 1):  # False for NaN, too
        raise ValueError(
            f"score map holds {low} .. {high}, expected 0 .. 1: pass a heatmap after "
            "min-max"
        )
    # In float64, like the reference: a float16 product may round up to the next byte.
    return (score_map.astype(np.float64) * 255).astype(np.uint8)


def _boxes(boxes: Any) -> np.ndarray:
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have shape {boxes.shape}, expected (N, 4)")
    return boxes
