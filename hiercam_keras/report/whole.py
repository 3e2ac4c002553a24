"""Maps of a crop in the whole picture, with the box that the crop was made of."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from hiercam_keras.report.overlay import (
    DEFAULT_ALPHA,
    check_heatmap,
    desaturate,
    hatched,
    overlay,
)

_BOX = (255, 255, 255)
_SHADOW = (20, 24, 32)
_PAGE = 255  # around a picture that is not square

Box = tuple[float, float, float, float]


class Picture(NamedTuple):
    """A whole picture, and the part of it that a network saw.

    Attributes:
      image: uint8 (H, W, 3).
      window: x0, y0, x1, y1 in its pixels: what the network saw, which maps cover.
      box: likewise: the animal's box.
    """

    image: np.ndarray
    window: Box
    box: Box


def project(heat: np.ndarray, window: Box, size: tuple[int, int]) -> np.ndarray:
    """A map of a window as a map of the whole picture, 0 outside of the window.

    Bilinear between the centers of the map's pixels; in the outer half of the outermost
    ones it has their values.

    Args:
      heat: float (h, w).
      window: x0, y0, x1, y1 in pixels of the picture.
      size: height and width of the picture.

    Returns:
      float32 (height, width).
    """
    heat = np.asarray(heat, np.float32)
    x0, y0, x1, y1 = window
    low_row, high_row, part_row, in_row = _places(size[0], y0, y1, heat.shape[0])
    low_col, high_col, part_col, in_col = _places(size[1], x0, x1, heat.shape[1])
    rows = heat[low_row] * (1 - part_row)[:, None] + heat[high_row] * part_row[:, None]
    found = rows[:, low_col] * (1 - part_col) + rows[:, high_col] * part_col
    return np.where(in_row[:, None] & in_col, found, 0).astype(np.float32)


def draw(
    picture: Picture,
    heat: np.ndarray,
    degenerate: bool = False,
    alpha: float = DEFAULT_ALPHA,
) -> np.ndarray:
    """The whole picture with the map in its window, and the box as a frame.

    Args:
      picture: the picture.
      heat: float (h, w) in [0, 1], of the window.
      degenerate: there is no heatmap: the window is hatched.
      alpha: strength of the overlay.

    Returns:
      uint8 (H, W, 3).
    """
    height, width = picture.image.shape[:2]
    if degenerate:
        inside = project(np.ones((1, 1)), picture.window, (height, width))[..., None]
        gray = desaturate(picture.image, 0.5)
        drawn = np.where(inside > 0, hatched(picture.image), gray)
    else:
        heat = project(check_heatmap(heat), picture.window, (height, width))
        drawn = overlay(picture.image, heat, alpha)
    return _framed(drawn, picture.box)


def located(picture: Picture) -> np.ndarray:
    """The whole picture with the box as a frame, gray where a network did not see it.

    Returns:
      uint8 (H, W, 3).
    """
    size = picture.image.shape[:2]
    inside = project(np.ones((1, 1)), picture.window, size)[..., None] > 0
    gray = desaturate(picture.image, 0.0)
    drawn = np.where(inside, picture.image, gray).astype(np.uint8)
    return _framed(drawn, picture.box)


def padded(image: np.ndarray) -> np.ndarray:
    """A picture in the middle of a white square: uint8 (S, S, 3)."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), _PAGE, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def _places(length: int, low: float, high: float, cells: int):
    """For each pixel of an axis: two cells of the map, the share of the second, and
    whether it is in the window."""
    middle = np.arange(length) + 0.5
    at = (middle - low) / (high - low) * cells - 0.5
    first = np.clip(np.floor(at).astype(int), 0, cells - 1)
    second = np.minimum(first + 1, cells - 1)
    share = np.clip(at - first, 0, 1).astype(np.float32)
    return first, second, share, (middle >= low) & (middle < high)


def _framed(image: np.ndarray, box: Box) -> np.ndarray:
    """A light frame on a dark one, which is seen on any ground."""
    page = Image.fromarray(image)
    pen = ImageDraw.Draw(page)
    line = max(1, round(max(page.size) / 400))
    x0, y0, x1, y1 = (round(value) for value in box)
    for grown, color, thick in ((line, _SHADOW, 3 * line), (0, _BOX, line)):
        corners = [x0 - grown, y0 - grown, x1 - 1 + grown, y1 - 1 + grown]
        corners[2:] = (max(corners[2], corners[0]), max(corners[3], corners[1]))
        pen.rectangle(corners, outline=color, width=thick)
    return np.asarray(page)
