"""Localization metrics: MaxBoxAcc, MaxBoxAccV2, PxAP and the pointing game.

Two classes accumulate counts over any number of maps; counts of separate parts can be
added. Shares are 0 .. 1, whereas the reference evaluator (Choe et al. 2020,
arXiv:2001.07437) prints percent.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hiercam_keras.metrics.boxes import (
    THRESHOLDS,
    ThresholdBoxes,
    box_iou,
    boxes_at_thresholds,
)

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
IGNORED = 255  # mask value of pixels that are not counted


@dataclasses.dataclass(frozen=True)
class MapLocalization:
    """IoUs of one map at each threshold.

    Attributes:
      largest: (thresholds,) IoU of the largest region's box with the best true box.
      best: (thresholds,) IoU of the best region's box with the best true box.
    """

    largest: np.ndarray
    best: np.ndarray


def localize(
    score_map: Any, true_boxes: Any, thresholds: Any = THRESHOLDS
) -> MapLocalization:
    """IoU of a map's boxes with the true ones at each threshold.

    Args:
      score_map: (h, w) in 0 .. 1.
      true_boxes: (N, 4) as x0, y0, x1, y1 in pixels of the map, N at least 1
        (`boxes.resize_boxes`).
      thresholds: (thresholds,) shares of the map's maximum.

    Raises:
      ValueError: there is no true box, or the map is not (h, w) in 0 .. 1.
    """
    true_boxes = np.asarray(true_boxes)
    if true_boxes.ndim != 2 or not len(true_boxes):
        raise ValueError(
            f"true boxes have shape {true_boxes.shape}, expected (N, 4) with a box"
        )
    return localize_boxes(boxes_at_thresholds(score_map, thresholds), true_boxes)


def localize_boxes(found: ThresholdBoxes, true_boxes: Any) -> MapLocalization:
    """`localize` for given boxes."""
    iou = box_iou(found.boxes, true_boxes).max(axis=1)
    largest = iou[found.largest]
    best = np.maximum.reduceat(iou, found.starts)
    return MapLocalization(largest[found.level], best[found.level])


class BoxCounts:
    """MaxBoxAcc and MaxBoxAccV2 over any number of maps, also by group.

    Args:
      thresholds: (thresholds,) shares of a map's maximum.
      iou_thresholds: an image is right at or above these.
      num_groups: groups of the breakdown, such as the taxa of a rank.
    """

    def __init__(
        self,
        thresholds: Any = THRESHOLDS,
        iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
        num_groups: int = 1,
    ):
        self.thresholds = np.asarray(thresholds, dtype=np.float64)
        self.iou_thresholds = tuple(iou_thresholds)
        shape = (num_groups, len(self.iou_thresholds), len(self.thresholds))
        self.largest = np.zeros(shape, np.int32)
        self.best = np.zeros(shape, np.int32)
        self.images = np.zeros(num_groups, np.int64)

    def add(self, score_map: Any, true_boxes: Any, group: int = 0) -> MapLocalization:
        """Counts one map and returns its IoUs. Shapes as for `localize`."""
        found = localize(score_map, true_boxes, self.thresholds)
        self.add_localized(found, group)
        return found

    def add_localized(self, found: MapLocalization, group: int = 0) -> None:
        """Counts a result of `localize`, such as that of a worker thread."""
        for i, wanted in enumerate(self.iou_thresholds):
            self.largest[group, i] += found.largest >= wanted
            self.best[group, i] += found.best >= wanted
        self.images[group] += 1

    def __add__(self, other: "BoxCounts") -> "BoxCounts":
        same = (
            np.array_equal(self.thresholds, other.thresholds)
            and self.iou_thresholds == other.iou_thresholds
            and len(self.images) == len(other.images)
        )
        if not same:
            raise ValueError("counts have other thresholds or groups: count again")
        total = BoxCounts(self.thresholds, self.iou_thresholds, len(self.images))
        total.largest = self.largest + other.largest
        total.best = self.best + other.best
        total.images = self.images + other.images
        return total

    def curve(self, iou: float = 0.5, multi: bool = False) -> np.ndarray:
        """Share of images that are right at each threshold: (thresholds,).

        Args:
          iou: one of `iou_thresholds`.
          multi: the best box of all regions counts, instead of the largest region's.
        """
        counts = self.best if multi else self.largest
        total = self.images.sum()
        if not total:
            raise ValueError("no map was counted, expected at least one")
        return counts[:, self._place(iou)].sum(axis=0) / total

    def max_box_acc(self, iou: float = 0.5, multi: bool = False) -> tuple[float, float]:
        """(MaxBoxAcc, its threshold); the lowest of equally good thresholds.

        The threshold is an oracle on these images: for a fair figure use `accuracy_at`
        with a threshold from a validation split.
        """
        curve = self.curve(iou, multi)
        return float(curve.max()), float(self.thresholds[curve.argmax()])

    def max_box_acc_v2(self) -> tuple[float, tuple[float, ...]]:
        """(MaxBoxAccV2, a threshold per IoU): mean over IoUs, best of all regions."""
        found = [self.max_box_acc(iou, multi=True) for iou in self.iou_thresholds]
        values, thresholds = zip(*found, strict=True)
        return float(np.average(values)), thresholds

    def accuracy_at(
        self, threshold: float, iou: float = 0.5, multi: bool = False
    ) -> float:
        """Share of images that are right at a given threshold."""
        return float(self.curve(iou, multi)[self.nearest(threshold)])

    def columns(
        self, multi: bool = True, ious: Sequence[float] | None = None
    ) -> np.ndarray:
        """The (groups, 1 + I thresholds) summands of `box_accuracy`: images with a box,
        and how many are right, for I of `iou_thresholds`; default all."""
        counts = self.best if multi else self.largest
        places = [self._place(iou) for iou in ious or self.iou_thresholds]
        return box_columns(self.images, counts[:, places])

    def _place(self, iou: float) -> int:
        if iou not in self.iou_thresholds:
            raise ValueError(f"IoU is {iou}, expected one of {self.iou_thresholds}")
        return self.iou_thresholds.index(iou)

    def nearest(self, threshold: float) -> int:
        """Index of the threshold nearest to a given one."""
        return int(np.abs(self.thresholds - threshold).argmin())


def box_columns(images: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Images (G,) and hits (G, I, T) side by side: (G, 1 + I T)."""
    return np.concatenate([images[:, None], hits.reshape(len(images), -1)], axis=1)


def box_accuracy(
    sums: np.ndarray, places: Sequence[int] | None = None, ious: int = 3
) -> np.ndarray:
    """MaxBoxAcc of sums of `BoxCounts.columns`, as a statistic of resamples: (R,).

    Args:
      sums: (R, 1 + I T), for I IoU thresholds and T thresholds of the map.
      places: (I,) thresholds of the map, by index; None takes the best of each row,
        an oracle on these very images.
      ious: I; the result is the mean over them.
    """
    width = (sums.shape[1] - 1) // ious
    shares = (sums[:, 1:] / sums[:, :1]).reshape(len(sums), ious, width)
    if places is None:
        return shares.max(axis=2).mean(axis=1)
    return shares[:, np.arange(ious), places].mean(axis=1)


class PixelCounts:
    """PxAP over any number of maps: area under the pixels' precision-recall curve.

    With true boxes painted as masks (`boxes.box_mask`) this is BoxPxAP. A constant map
    scores the prevalence.

    Args:
      thresholds: (thresholds,) ascending from 0, below 1.
      num_groups: groups of the breakdown, such as the taxa of a rank.

    Attributes:
      inside, outside: int64 (groups, bins), pixels on objects and off them, by score.
    """

    def __init__(self, thresholds: Any = THRESHOLDS, num_groups: int = 1):
        self.thresholds = np.asarray(thresholds, dtype=np.float64)
        # The last two bins hold scores of exactly 1, and nothing.
        self._edges = np.append(self.thresholds, [1.0, 2.0])
        self.inside = np.zeros((num_groups, len(self._edges)), np.int64)
        self.outside = np.zeros((num_groups, len(self._edges)), np.int64)

    def add(self, score_maps: Any, masks: Any, group: int = 0) -> None:
        """Counts maps.

        Args:
          score_maps: (..., h, w) in 0 .. 1.
          masks: same shape; 1 (or True) on the object, 0 off it, 255 ignored.
          group: of the maps.
        """
        scores, masks = np.asarray(score_maps), np.asarray(masks)
        if scores.shape != masks.shape:
            raise ValueError(
                f"maps {scores.shape} and masks {masks.shape} differ in shape"
            )
        self.add_placed(self.place(scores), masks, group)

    def add_placed(self, bins: np.ndarray, masks: np.ndarray, group: int = 0) -> None:
        """Counts maps by the bins of their pixels, see `place`."""
        for value, counts in ((1, self.inside), (0, self.outside)):
            found = np.bincount(bins[masks == value], minlength=len(self._edges))
            counts[group] += found

    def place(self, score_maps: Any) -> np.ndarray:
        """Bin of each pixel, the shape of the maps.

        Raises:
          ValueError: a map has values outside of 0 .. 1.
        """
        scores = np.asarray(score_maps)
        if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
            raise ValueError("score maps leave 0 .. 1: pass heatmaps after min-max")
        return np.searchsorted(self._edges, scores, "right") - 1

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        same = np.array_equal(self.thresholds, other.thresholds)
        if not same or len(self.inside) != len(other.inside):
            raise ValueError("counts have other thresholds or groups: count again")
        total = PixelCounts(self.thresholds, len(self.inside))
        total.inside = self.inside + other.inside
        total.outside = self.outside + other.outside
        return total

    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall from the highest threshold down.

        Precision is NaN where no pixel is above.

        Raises:
          ValueError: no pixel of any object was counted.
        """
        inside, outside = self.inside.sum(axis=0), self.outside.sum(axis=0)
        right = np.cumsum(inside[::-1].astype(np.float64))
        wrong = np.cumsum(outside[::-1].astype(np.float64))
        if right[-1] <= 0:
            raise ValueError("no pixel of an object in any mask, expected some")
        taken = right + wrong
        out = np.full(taken.shape, np.nan)
        return np.divide(right, taken, out=out, where=taken > 0), right / right[-1]

    def pxap(self) -> float:
        """Sum of precision times the gain in recall: 0 .. 1."""
        precision, recall = self.precision_recall()
        known = ~np.isnan(precision[1:])
        return float((precision[1:] * np.diff(recall))[known].sum())

    def prevalence(self) -> float:
        """Share of the object's pixels: the PxAP of a constant map."""
        inside, outside = self.inside.sum(), self.outside.sum()
        return float(inside / (inside + outside)) if inside + outside else float("nan")

    def columns(self) -> np.ndarray:
        """The (groups, 2 bins) summands of `pxap_of`."""
        return np.concatenate([self.inside, self.outside], axis=1)


def pxap_of(sums: np.ndarray) -> np.ndarray:
    """PxAP of sums (R, 2 bins) of `PixelCounts.columns`, as a statistic of resamples.

    Returns:
      (R,), as `PixelCounts.pxap`; NaN without a pixel on an object.
    """
    inside, outside = np.split(sums, 2, axis=1)
    right = np.cumsum(inside[:, ::-1], axis=1, dtype=np.float64)
    taken = right + np.cumsum(outside[:, ::-1], axis=1, dtype=np.float64)
    precision = np.divide(right, taken, out=np.zeros_like(right), where=taken > 0)
    total = right[:, -1]
    areas = (precision[:, 1:] * np.diff(right, axis=1)).sum(axis=1)
    out = np.full(total.shape, np.nan)
    return np.divide(areas, total, out=out, where=total > 0)


def pointing_game(score_maps: Any, masks: Any, tolerance: float = 15.0) -> np.ndarray:
    """Whether a map's highest pixel is on the object, or near it: bool (N,).

    Zhang et al. 2016 (arXiv:1608.00507). The first of equal maxima counts; a constant
    map has none and misses.

    Args:
      score_maps: (N, h, w).
      masks: (N, h, w) bool; boxes painted by `boxes.box_mask`.
      tolerance: largest distance of the maximum from the object, pixels.

    Raises:
      ValueError: maps and masks are not (N, h, w) of the same shape.
    """
    scores, masks = np.asarray(score_maps), np.asarray(masks, dtype=bool)
    if scores.ndim != 3 or scores.shape != masks.shape:
        raise ValueError(
            f"maps {scores.shape} and masks {masks.shape}, expected (N, h, w) twice"
        )
    pairs = zip(scores, masks, strict=True)
    hits = [points_at(peak_of(one), mask, tolerance) for one, mask in pairs]
    return np.array(hits, bool)


def peak_of(score_map: np.ndarray) -> tuple[int, int] | None:
    """Row and column of the first maximum of (h, w); None for a constant map."""
    if not np.ptp(score_map) > 0:
        return None
    y, x = divmod(int(score_map.argmax()), score_map.shape[1])
    return y, x


def points_at(peak: tuple[int, int] | None, mask: np.ndarray, tolerance: float) -> bool:
    """Whether a peak is at most `tolerance` pixels from a pixel of a mask (h, w)."""
    if peak is None:
        return False
    y, x = peak
    reach = int(np.floor(tolerance))
    top, left = max(y - reach, 0), max(x - reach, 0)
    rows, columns = np.nonzero(mask[top : y + reach + 1, left : x + reach + 1])
    away = (rows + top - y) ** 2 + (columns + left - x) ** 2
    return bool((away <= tolerance**2).any())


def mean_by_group(values: Any, groups: Any) -> float:
    """Mean over groups of the groups' means, the usual figure of the pointing game.

    Args:
      values: (N,); groups: (N,) integers or names.
    """
    _, place = np.unique(groups, return_inverse=True)
    if not len(place):
        return float("nan")
    sums = np.bincount(place, weights=np.asarray(values, dtype=np.float64))
    return float(np.mean(sums / np.bincount(place)))
