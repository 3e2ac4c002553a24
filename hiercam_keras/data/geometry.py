"""Conversion between original pixels and model-input pixels.

Coordinates are continuous: pixel i covers [i, i + 1), so that its center is i + 0.5.
Along each axis `input = original * scale + offset`; a mirrored image has a negative
scale, so a heatmap of an augmented image maps to the right place.
"""

import dataclasses
from typing import Literal

import numpy as np

from hiercam_keras.errors import UserError

Layout = Literal["classification", "localization"]
LAYOUTS = ("classification", "localization")
NUM_FIELDS = 7
_ASPECT = 0.02  # relative difference of aspect ratios that counts as rounding


@dataclasses.dataclass(frozen=True, slots=True)
class Geometry:
    """The affine map of one image to the model's square input (resize, crop, flip).

    Attributes:
      width: pixels of the original, as displayed.
      height: likewise.
      scale_x: input pixels per original pixel; negative where mirrored.
      scale_y: likewise.
      offset_x: position of the original's left edge, input pixels.
      offset_y: likewise for its top edge.
      size: side of the model input, pixels.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    size: int

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as x, y or boxes (..., 4) as x0, y0, x1, y1 to the input."""
        scale = np.array([self.scale_x, self.scale_y])
        offset = np.array([self.offset_x, self.offset_y])
        return _map(points, lambda xy: xy * scale + offset)

    def to_original(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `to_input`; coordinates are clipped to the original."""
        scale = np.array([self.scale_x, self.scale_y])
        offset = np.array([self.offset_x, self.offset_y])
        limit = np.array([self.width, self.height])
        return _map(points, lambda xy: np.clip((xy - offset) / scale, 0, limit))

    def to_row(self) -> np.ndarray:
        """float32 (7,) in the order of the attributes, for the map store."""
        return np.array(dataclasses.astuple(self), np.float32)

    @classmethod
    def from_row(cls, row: np.ndarray) -> "Geometry":
        """The inverse of `to_row`: the geometry of a row (7,)."""
        row = np.asarray(row)
        if row.shape != (NUM_FIELDS,):
            raise ValueError(f"a geometry row has shape (7,), found {row.shape}")
        width, height, *middle, size = (float(value) for value in row)
        return cls(int(width), int(height), *middle, int(size))


def resized_shape(
    width: int, height: int, size: int, layout: Layout
) -> tuple[int, int]:
    """(width, height) after resizing, before the crop.

    classification: the short side becomes round(size * 256 / 224), the recipe's 256 for
    224. localization: the whole image becomes size x size, as in the WSOL literature.
    """
    _check(width, height, layout)
    if layout == "localization":
        return size, size
    short = round(size * 256 / 224)
    ratio = short / min(width, height)
    return max(short, round(width * ratio)), max(short, round(height * ratio))


def of(width: int, height: int, size: int, layout: Layout) -> Geometry:
    """The geometry of an image without augmentation: resize, then center crop."""
    new_width, new_height = resized_shape(width, height, size, layout)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return Geometry(
        width, height, new_width / width, new_height / height, -left, -top, size
    )


def seen_part(width: float, height: float) -> tuple[float, float, float, float]:
    """What a network sees of an image of any size: x0, y0, x1, y1, up to rounding.

    Of the layout "classification": the middle square, 224 / 256 of the shorter side.
    """
    side = min(width, height) * 224 / 256
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (width, height) have the same aspect ratio up to rounding."""
    if min(*size, *other) < 1:
        return False
    # A difference of one pixel in the shorter side counts as rounding.
    slack = _ASPECT + 1 / min(*size, *other)
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= slack


def resize_mask(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A mask or label image (H, W) of the original, seen through the model's window.

    Nearest neighbor, which keeps labels. A mask with another resolution than the
    original is scaled to it. Outside the original the result is 0.

    Returns:
      (size, size), dtype of `mask`.

    Raises:
      UserError: the mask has another aspect ratio than the original.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"expected a mask (H, W), found shape {mask.shape}")
    g = geometry
    if not same_shape(mask.shape[::-1], (g.width, g.height)):
        raise UserError(
            f"a mask of {mask.shape[1]} x {mask.shape[0]} pixels belongs to an image "
            f"of {g.width} x {g.height}: expected the same shape. Are masks and images "
            "of one data set?"
        )
    centers = np.arange(g.size) + 0.5
    rows, rows_in = _nearest(centers, g.scale_y, g.offset_y, g.height, mask.shape[0])
    cols, cols_in = _nearest(centers, g.scale_x, g.offset_x, g.width, mask.shape[1])
    seen = mask[np.ix_(rows, cols)]
    return np.where(rows_in[:, None] & cols_in[None, :], seen, 0).astype(mask.dtype)


def _nearest(centers, scale, offset, length, mask_length):
    original = (centers - offset) / scale
    index = np.floor(original * (mask_length / length)).astype(int)
    inside = (original >= 0) & (original < length)
    return np.clip(index, 0, mask_length - 1), inside


def _map(points, convert):
    points = np.asarray(points, np.float64)
    if points.shape[-1:] == (2,):
        return convert(points)
    if points.shape[-1:] != (4,):
        raise ValueError(
            f"expected points (..., 2) or boxes (..., 4), found shape {points.shape}"
        )
    a, b = convert(points[..., :2]), convert(points[..., 2:])
    # A mirrored axis swaps the corners.
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=-1)


def _check(width, height, layout):
    if layout not in LAYOUTS:
        raise ValueError(f"layout is one of {', '.join(LAYOUTS)}, found {layout!r}")
    if width < 1 or height < 1:
        raise ValueError(
            f"an image has at least 1 x 1 pixels, found {width} x {height}"
        )
