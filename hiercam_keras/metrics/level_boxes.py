"""Boxes of all contours of {image > level}, at every level of a map.

They follow from `level_sets`, and so does the largest contour in nearly all cases: its
polygon holds at least the region's own area and that of its holes, and at most its box.
If these bounds do not decide, and for maps of plateaus, OpenCV traces the contours.
"""

import cv2
import numpy as np

from hiercam_keras.metrics.level_sets import LONGEST, Pieces, regions_and_holes


def boxes_of_levels(
    image: np.ndarray, score_map: np.ndarray, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes around contours, as in the reference evaluator.

    Args:
      image: uint8 (h, w).
      score_map: (h, w) numbers, of which the image is a non-decreasing function.
      levels: (L,) distinct levels, 0 .. 255.

    Returns:
      boxes: int64 (B, 4) as x0, y0, x1, y1, grouped by level; one box of zeros if no
        pixel is above a level.
      starts: (L,) position of each level's first box.
      largest: (L,) position of the box of the contour with the largest polygon.
    """
    pieces = None
    if min(image.shape) > 1 and max(image.shape) <= LONGEST:
        scores = score_map.astype(np.result_type(score_map, np.float16), copy=False)
        pieces = regions_and_holes(image, scores)
    place = np.full(256, -1)
    place[levels] = np.arange(len(levels))
    empty = np.flatnonzero(levels >= image.max())
    found = [(empty, np.zeros((len(empty), 4), np.int64), np.ones(len(empty), bool))]
    unsure = np.ones(256, bool)
    if pieces is not None:
        outer, inner = pieces
        largest, unsure = _largest(outer, inner)
        at = place[np.concatenate([outer.level, inner.level])]
        kept = at >= 0
        kept &= ~unsure[levels[at]]
        box = _boxes(outer, inner, image.shape)
        found.append((at[kept], box[kept], largest[kept]))
    for at in np.flatnonzero(unsure[levels] & (levels < image.max())):
        box, pick = _traced(image, int(levels[at]))
        found.append((np.full(len(box), at), box, np.arange(len(box)) == pick))
    at, box, largest = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(levels)))
    return box[order], starts, np.flatnonzero(largest[order])


def _boxes(outer: Pieces, inner: Pieces, shape: tuple[int, int]) -> np.ndarray:
    """(P, 4): a box of w pixels from x on is x, x + w, clipped at the last pixel."""
    # The contour of a hole runs through the pixels around it.
    around = inner.box + np.array([-1, -1, 1, 1])
    box = np.concatenate([outer.box, around])
    box[:, 2:] = np.minimum(box[:, 2:] + 1, np.array(shape[::-1]) - 1)
    return box


def _largest(outer: Pieces, inner: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """Whether each piece is the largest of its level, and the undecided levels.

    All areas are doubled. A hole's polygon is never larger than that of the
    region around it, and smaller if the region has any area of its own.
    """
    x0, y0, x1, y1 = inner.box.T
    in_holes = np.bincount(
        inner.level, weights=2 * (x1 - x0 + 2) * (y1 - y0 + 2), minlength=256
    )
    x0, y0, x1, y1 = outer.box.T
    most = np.minimum(2 * (x1 - x0) * (y1 - y0), outer.area + in_holes[outer.level])
    order = np.lexsort((-outer.area, outer.level))
    first = np.diff(outer.level[order], prepend=-1) > 0
    top = order[first]
    own = np.zeros(256)
    own[outer.level[top]] = outer.area[top]
    others = np.full(256, -1.0)
    rest = order[~first]
    np.maximum.at(others, outer.level[rest], most[rest])
    contours = np.bincount(outer.level, minlength=256)
    contours += np.bincount(inner.level, minlength=256)
    unsure = (contours > 1) & ((others >= own) | (own == 0))
    largest = np.zeros(len(outer.level) + len(inner.level), bool)
    largest[top] = True
    return largest, unsure


def _traced(image: np.ndarray, cut: int) -> tuple[np.ndarray, int]:
    """Boxes (B, 4) of the contours of {image > cut}, and which is the largest's."""
    height, width = image.shape
    _, above = cv2.threshold(image, cut, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    areas = [cv2.contourArea(contour) for contour in contours]
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append((x, y, min(x + w, width - 1), min(y + h, height - 1)))
    return np.array(boxes, np.int64), areas.index(max(areas))
