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
    """

    def __init__(
        self,
        num_groups: int = 1,
        thresholds: Any = box_lib.THRESHOLDS,
        tolerance: float = POINTING_TOLERANCE,
    ):
        self.thresholds = np.asarray(thresholds, np.float64)
        self.tolerance = tolerance
        self.boxes = BoxCounts(thresholds, IOU_THRESHOLDS, num_groups)
        self.rows: list[ImageRow] = []
        self._bins = PixelCounts(thresholds)
        shape = (2, num_groups, len(self._bins.inside))  # on the object, off it
        self.box_pixels = np.zeros(shape, np.int64)
        self.mask_pixels = np.zeros(shape, np.int64)

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
        peak = None
        if np.ptp(score_map) > 0:
            y, x = divmod(int(score_map.argmax()), score_map.shape[1])
            peak = y, x
        return Looked(
            box_lib.boxes_at_thresholds(score_map, self.thresholds),
            self._bins.place(score_map),
            maps.energy(energy),
            peak,
        )

    def add(self, looked: Looked, truth: Truth, group: int, threshold: float) -> None:
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
            place = int(np.abs(self.thresholds - threshold).argmin())
            iou = float(found.largest[place])
            target = box_lib.box_mask(truth.boxes, looked.bins.shape)
            self._count(self.box_pixels, looked.bins, target, group)
            in_box = float(looked.energy[target].sum())
            box_area = float(target.mean())
        if truth.mask is not None:
            self._count(self.mask_pixels, looked.bins, truth.mask, group)
            target, known = truth.mask == 1, truth.mask != IGNORED
            share = looked.energy[known].sum()
            in_mask = float(looked.energy[target].sum() / share) if share else nan
            mask_area = float(target.sum() / max(known.sum(), 1))
        if target is None:
            raise ValueError("the truth has neither a box nor a mask")
        pointing = float(_points_at(looked.peak, target, self.tolerance))
        self.rows.append(
            ImageRow(group, iou, pointing, in_box, box_area, in_mask, mask_area)
        )

    def column(self, name: str) -> np.ndarray:
        """One figure of every image, float64 (N,)."""
        return np.array([getattr(row, name) for row in self.rows], np.float64)

    def pixels(self, kind: str) -> PixelCounts:
        """The pixel counts over "mask" or "box", all groups together."""
        counts = PixelCounts(self.thresholds)
        table = self.mask_pixels if kind == "mask" else self.box_pixels
        counts.inside, counts.outside = table.sum(axis=1)
        return counts

    def _count(self, table, bins, mask, group) -> None:
        for row, value in enumerate((1, 0)):
            table[row, group] += np.bincount(
                bins[mask == value], minlength=table.shape[-1]
            )


def pxap_of(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """PxAP of histograms (R, bins) of pixels on and off objects: (R,).

    As `PixelCounts.pxap`; NaN without a pixel on an object.
    """
    right = np.cumsum(inside[:, ::-1], axis=1, dtype=np.float64)
    taken = right + np.cumsum(outside[:, ::-1], axis=1, dtype=np.float64)
    precision = np.divide(right, taken, out=np.zeros_like(right), where=taken > 0)
    total = right[:, -1]
    sums = (precision[:, 1:] * np.diff(right, axis=1)).sum(axis=1)
    out = np.full(total.shape, np.nan)
    return np.divide(sums, total, out=out, where=total > 0)


def _points_at(peak, target: np.ndarray, tolerance: float) -> bool:
    if peak is None:
        return False
    y, x = peak
    reach = int(np.floor(tolerance))
    top, left = max(y - reach, 0), max(x - reach, 0)
    near = target[top : y + reach + 1, left : x + reach + 1]
    rows, columns = np.nonzero(near)
    away = (rows + top - y) ** 2 + (columns + left - x) ** 2
    return bool((away <= tolerance**2).any())
