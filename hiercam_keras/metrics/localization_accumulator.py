"""All localization figures in one pass over any number of maps.

It keeps counts for each group (the taxa of a rank) and a few numbers for each image,
but no maps.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import maps
from hiercam_keras.metrics import boxes as box_lib
from hiercam_keras.metrics.localization import (
    IGNORED,
    IOU_THRESHOLDS,
    BoxCounts,
    PixelCounts,
    localize_boxes,
    peak_of,
    points_at,
)

POINTING_TOLERANCE = 15.0  # pixels of a map of 224 x 224


class Truth(NamedTuple):
    """Ground truth of one image, in pixels of the map.

    Attributes:
      boxes: int (N, 4) as x0, y0, x1, y1; N may be 0.
      mask: uint8 (h, w): 1 on the object, 0 off it, 255 ignored; or None.
    """

    boxes: np.ndarray
    mask: np.ndarray | None


class Looked(NamedTuple):
    """The results of a map that do not depend on the ground truth.

    Attributes:
      boxes: at all thresholds.
      bins: (h, w) of the pixel histograms.
      energy: (h, w), sums to 1; uniform for a map without energy.
      peak: row and column of the maximum; None for a constant map.
    """

    boxes: box_lib.ThresholdBoxes
    bins: np.ndarray
    energy: np.ndarray
    peak: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """The figures of one image; NaN without a box or mask.

    Attributes:
      group: of the image.
      iou: of the largest region's box at the chosen threshold with the best true box.
      pointing: 1 or 0, whether the maximum is on the object or near it.
      energy_in_box, box_area: shares of the energy and of the picture.
      energy_in_mask, mask_area: likewise.
    """

    group: int
    iou: float
    pointing: float
    energy_in_box: float
    box_area: float
    energy_in_mask: float
    mask_area: float


class Tally:
    """Accumulates the localization figures of maps.

    Args:
      num_groups: groups of the breakdown.
      thresholds: (thresholds,) shares of a map's maximum, ascending from 0, below 1.
      tolerance: of the pointing game, pixels.

    Attributes:
      boxes: hits by threshold, over the images with a box.
      pixels: "mask" and "box" (boxes painted as masks) -> counts of pixels.
      rows: the figures of each image.
    """

    def __init__(
        self,
        num_groups: int = 1,
        thresholds: Any = box_lib.THRESHOLDS,
        tolerance: float = POINTING_TOLERANCE,
    ):
        self.tolerance = tolerance
        self.boxes = BoxCounts(thresholds, IOU_THRESHOLDS, num_groups)
        self.rows: list[ImageRow] = []
        self.pixels = {
            kind: PixelCounts(thresholds, num_groups) for kind in ("mask", "box")
        }

    @property
    def thresholds(self) -> np.ndarray:
        """(thresholds,) of boxes and pixels."""
        return self.boxes.thresholds

    @property
    def has_boxes(self) -> bool:
        """Whether an image with a box was counted."""
        return bool(self.boxes.images.sum())

    def look(self, score_map: Any, energy: Any) -> Looked:
        """Computes the results that do not depend on the ground truth.

        Args:
          score_map: (h, w) in 0 .. 1.
          energy: (h, w), the cam or its energy.
        """
        score_map = np.asarray(score_map)
        return Looked(
            box_lib.boxes_at_thresholds(score_map, self.thresholds),
            self.pixels["mask"].place(score_map),
            maps.energy(energy),
            peak_of(score_map),
        )

    def add(
        self, looked: Looked, truth: Truth, group: int, threshold: float = 0.0
    ) -> None:
        """Counts one map.

        Args:
          looked: of `look`.
          truth: of the image, with boxes or a mask.
          group: of the image.
          threshold: of the IoU in the image's row.
        """
        nan = float("nan")
        iou = in_box = box_area = in_mask = mask_area = nan
        target = None
        if len(truth.boxes):
            found = localize_boxes(looked.boxes, truth.boxes)
            self.boxes.add_localized(found, group)
            iou = float(found.largest[self.boxes.nearest(threshold)])
            target = box_lib.box_mask(truth.boxes, looked.bins.shape)
            self.pixels["box"].add_placed(looked.bins, target, group)
            in_box = float(looked.energy[target].sum())
            box_area = float(target.mean())
        if truth.mask is not None:
            self.pixels["mask"].add_placed(looked.bins, truth.mask, group)
            target, known = truth.mask == 1, truth.mask != IGNORED
            share = looked.energy[known].sum()
            in_mask = float(looked.energy[target].sum() / share) if share else nan
            mask_area = float(target.sum() / max(known.sum(), 1))
        if target is None:
            raise ValueError("the truth has neither a box nor a mask")
        pointing = float(points_at(looked.peak, target, self.tolerance))
        self.rows.append(
            ImageRow(group, iou, pointing, in_box, box_area, in_mask, mask_area)
        )

    def column(self, name: str) -> np.ndarray:
        """One figure of every image, float64 (N,)."""
        return np.array([getattr(row, name) for row in self.rows], np.float64)
