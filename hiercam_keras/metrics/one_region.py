"""metrics: at which levels a map exceeds is one region without a hole, all at once.

There the only contour is the outer one, and its box is that of the rows and columns
which exceed the level: nothing has to be traced. Most levels of a CAM are such.

Let C be the regions of {image > t} (8-connected) and H their holes (4-connected).

    C - H = V - E + F     Euler's number of the pixels taken as closed squares: squares
                          F above t, edges E and corners V that touch one of them
    H = 0                 while no regional minimum inside the map is at or below t,
                          since each hole holds one
    C = 1                 from the second-highest regional maximum on, since each region
                          holds one

The left-hand side is counted for all t from four histograms. Where one of the two other
lines holds, both C and H are known; elsewhere the answer is "not known".
"""

import cv2
import numpy as np

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE = np.ones((3, 3), np.uint8)


def is_one_region(image: np.ndarray) -> np.ndarray:
    """Whether {image > t} surely is one region without a hole: bool (256,), by t.

    Args:
      image: uint8 (h, w).
    """
    levels = np.arange(256)
    euler = _euler_numbers(image)
    no_hole = levels < _lowest_inner_minimum(image)
    one_at_most = levels >= _second_maximum(image)
    # C = 1 leaves H = 1 - euler; H = 0 leaves C = euler.
    return (no_hole | one_at_most) & (euler == 1) & (levels < image.max())


def _euler_numbers(image: np.ndarray) -> np.ndarray:
    """Regions minus holes of {image > t}: int64 (256,), by t."""
    padded = np.pad(image, 1)
    across = np.maximum(padded[:, 1:], padded[:, :-1])
    down = np.maximum(padded[1:, 1:-1], padded[:-1, 1:-1])
    corners = np.maximum(across[1:], across[:-1])
    return (
        _count_above(corners)
        - _count_above(across[1:-1])
        - _count_above(down)
        + _count_above(image)
    )


def _count_above(values: np.ndarray) -> np.ndarray:
    """Number of values above t: int64 (256,), by t."""
    values = np.ascontiguousarray(values)
    counts = cv2.calcHist([values], [0], None, [256], [0, 256])[:, 0].astype(np.int64)
    return values.size - np.cumsum(counts)


def _lowest_inner_minimum(image: np.ndarray) -> int:
    """Value of the lowest regional minimum off the border, 256 where there is none."""
    flat = image == cv2.erode(image, _CROSS, borderType=cv2.BORDER_REPLICATE)
    _, label = cv2.connectedComponents(flat.astype(np.uint8), connectivity=4)
    # A flat part that touches an equal pixel outside of itself goes on downwards.
    others = np.where(flat, np.uint8(255), image)
    goes_on = flat & (cv2.erode(others, _CROSS) == image) & (image < 255)
    out = np.zeros(label.max() + 1, bool)
    out[0] = True
    out[label[goes_on]] = True
    for border in (label[0], label[-1], label[:, 0], label[:, -1]):
        out[border] = True
    inside = image[~out[label]]
    return int(inside.min()) if inside.size else 256


def _second_maximum(image: np.ndarray) -> int:
    """Value of the second-highest regional maximum, 0 where there is one at most."""
    flat = image == cv2.dilate(image, _SQUARE)
    _, label = cv2.connectedComponents(flat.astype(np.uint8), connectivity=8)
    others = np.where(flat, np.uint8(0), image)
    goes_on = flat & (cv2.dilate(others, _SQUARE) == image) & (image > 0)
    peak = np.zeros(label.max() + 1, np.int64)
    peak[label[flat]] = image[flat]
    peak[label[goes_on]] = 0
    return int(np.sort(peak)[-2]) if len(peak) > 1 else 0
