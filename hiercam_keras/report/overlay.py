"""Overlays of a heatmap on its picture.

The color comes from a perceptually uniform colormap, and the opacity grows with the
heat, so cold regions show the unchanged picture.
"""

import functools
import io
import os

import matplotlib
import numpy as np
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.maps import is_degenerate
from hiercam_keras.workdir import atomic_path

DEFAULT_COLORMAP = "inferno"
DEFAULT_ALPHA = 0.5

# The darkest fifth of a sequential colormap would read as a shadow on the picture.
_COLORMAP_START = 0.2
# Opacity = heat ** gamma: below 1 the flanks of a peak stay visible.
_OPACITY_GAMMA = 0.8
# Colors of the picture compete with the colors of the heat: mute them a little.
_KEEP_SATURATION = 0.65
_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG"}


def overlay(
    image: np.ndarray,
    heatmap: np.ndarray,
    alpha: float = DEFAULT_ALPHA,
    colormap: str = DEFAULT_COLORMAP,
    degenerate: bool = False,
) -> np.ndarray:
    """Lays a heatmap over an image.

    Args:
      image: uint8 (H, W, 3), RGB.
      heatmap: float in [0, 1]; (H, W), or of another size and then resized bilinearly.
      alpha: strength in [0, 1]; 0 shows the picture alone, 1 hides it under the peak.
      colormap: name of a matplotlib colormap.
      degenerate: the map is zero or constant: the picture is shown in gray under a
        hatch instead of a cold map. A map with a single value is always degenerate.

    Returns:
      uint8 (H, W, 3).

    Raises:
      UserError: shapes, dtypes or ranges that do not fit, or an unknown colormap.
    """
    image = _check_image(image)
    heatmap = check_heatmap(heatmap)
    if not 0.0 <= alpha <= 1.0:
        raise UserError(f"overlay alpha is {alpha}, expected a number from 0 to 1")
    if degenerate or is_degenerate(heatmap):
        return hatched(image)
    height, width = image.shape[:2]
    heat = resize_heatmap(heatmap, (height, width))
    base = desaturate(image, _KEEP_SATURATION + (1 - _KEEP_SATURATION) * (1 - alpha))
    color = colors(heat, colormap)
    opacity = (_strength(alpha) * opacity_of(heat))[..., None]
    blended = base.astype(np.float32) * (1 - opacity) + color * 255.0 * opacity
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def heat_layer(
    heatmap: np.ndarray,
    size: tuple[int, int],
    colormap: str = DEFAULT_COLORMAP,
    degenerate: bool = False,
    levels: int = 128,
) -> Image.Image:
    """The heatmap alone, as a small palette image with opacity for use over a picture.

    Args:
      heatmap: float (h, w) in [0, 1].
      size: (height, width) in pixels of the layer.
      colormap: name of a matplotlib colormap.
      degenerate: gives a hatch instead of heat.
      levels: number of palette entries; 128 are within 4 of 255 of a smooth blend.

    Returns:
      Image of mode P with one opacity per palette entry (`info["transparency"]`).
    """
    heatmap = check_heatmap(heatmap)
    if degenerate or is_degenerate(heatmap):
        stripes = _stripes(*size)
        table = np.array([[128, 128, 128], [255, 255, 255]], np.uint8)
        return _palette_image(stripes.astype(np.uint8), table, bytes([0, 150]))
    heat = resize_heatmap(heatmap, size)
    steps = np.linspace(0.0, 1.0, levels, dtype=np.float32)
    table = np.rint(colors(steps, colormap) * 255).astype(np.uint8)
    opacity = np.rint(opacity_of(steps) * 255).astype(np.uint8)
    index = np.rint(heat * (levels - 1)).astype(np.uint8)
    return _palette_image(index, table, opacity.tobytes())


def color_bar(
    length: int,
    width: int,
    alpha: float = DEFAULT_ALPHA,
    colormap: str = DEFAULT_COLORMAP,
) -> np.ndarray:
    """Heat from 1 at the top to 0 over gray: uint8 (length, width, 3)."""
    heat = np.linspace(1.0, 0.0, length, dtype=np.float32)[:, None].repeat(width, 1)
    gray = np.full((length, width, 3), 150, np.uint8)
    return overlay(gray, heat, alpha, colormap)


def hatched(image: np.ndarray) -> np.ndarray:
    """The picture in gray under thin diagonal stripes, the sign of a degenerate map."""
    gray = desaturate(_check_image(image), 0.0).astype(np.float32)
    gray = 96 + 0.55 * gray  # paler, so that it is not taken for a picture in gray
    stripes = _stripes(*image.shape[:2])[..., None]
    striped = np.where(stripes, 0.62 * gray + 0.38 * 255, gray)
    return np.clip(np.rint(striped), 0, 255).astype(np.uint8)


def desaturate(image: np.ndarray, keep: float) -> np.ndarray:
    """Mixes an image with its luma (ITU-R BT.601); `keep` in [0, 1] of its color."""
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    mixed = keep * image + (1 - keep) * luma[..., None]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def colors(heat: np.ndarray, colormap: str = DEFAULT_COLORMAP) -> np.ndarray:
    """RGB float32 in [0, 1], shape heat.shape + (3,), for heat in [0, 1]."""
    table = _color_table(colormap)
    index = np.rint(np.clip(heat, 0.0, 1.0) * (len(table) - 1)).astype(np.intp)
    return table[index]


def opacity_of(heat: np.ndarray) -> np.ndarray:
    """Opacity in [0, 1] of heat in [0, 1], before the strength of the overlay."""
    return np.power(np.clip(heat, 0.0, 1.0), _OPACITY_GAMMA, dtype=np.float32)


def resize_heatmap(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of a float (h, w) map to (height, width), within [0, 1]."""
    heatmap = np.asarray(heatmap, np.float32)
    if heatmap.shape != tuple(size):
        resized = Image.fromarray(heatmap).resize(
            (size[1], size[0]), Image.Resampling.BILINEAR
        )
        heatmap = np.asarray(resized)
    return np.clip(heatmap, 0.0, 1.0)


def check_heatmap(heatmap: np.ndarray) -> np.ndarray:
    """Checks a heatmap and returns it as float32 (h, w) in [0, 1].

    Raises:
      UserError: the array has another shape, or values outside of [0, 1].
    """
    heatmap = np.asarray(heatmap)
    if heatmap.ndim != 2 or 0 in heatmap.shape:
        raise UserError(f"heatmap has shape {heatmap.shape}, expected (height, width)")
    heatmap = heatmap.astype(np.float32)
    low, high = float(heatmap.min()), float(heatmap.max())
    # Written so that NaN fails it; the slack is what a float16 round trip leaves.
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise UserError(f"heatmap runs from {low:g} to {high:g}, expected [0, 1]")
    return np.clip(heatmap, 0.0, 1.0)


def save_image(
    path: str | os.PathLike, array: np.ndarray, format: str | None = None
) -> None:
    """Writes a uint8 image (H, W, 3) or (H, W) atomically.

    Args:
      path: where; the folder is made.
      array: the pixels.
      format: "png" or "jpg"; None goes by the suffix of `path`.

    Raises:
      UserError: an unknown format, or a place that cannot be written.
    """
    name = format or os.fspath(path).rsplit(".", 1)[-1]
    if name.lower() not in _FORMATS:
        raise UserError(f"image format {name!r}: expected png or jpg")
    data = encode(Image.fromarray(array), name)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def encode(image: Image.Image, format: str, quality: int = 88) -> bytes:
    """An image as the bytes of a PNG or JPEG file ("png", "jpg")."""
    buffer = io.BytesIO()
    kind = _FORMATS[format.lower()]
    if kind == "JPEG":
        image.convert("RGB").save(buffer, kind, quality=quality, optimize=True)
    else:
        # The search for the smallest file pays on small palette images only.
        image.save(buffer, kind, optimize=image.mode == "P")
    return buffer.getvalue()


def _strength(alpha: float) -> float:
    # The default of one half should show the peak clearly: 0.5 -> 0.75.
    return 1.0 - (1.0 - alpha) ** 2


def _check_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"image is {image.dtype} of shape {image.shape}, expected uint8 "
            "(height, width, 3)"
        )
    return image


@functools.lru_cache(maxsize=16)
def _color_table(colormap: str) -> np.ndarray:
    if colormap not in matplotlib.colormaps:
        raise UserError(
            f"unknown colormap {colormap!r}; inferno, magma, plasma, viridis and "
            "cividis are perceptually uniform"
        )
    steps = np.linspace(_COLORMAP_START, 1.0, 256)
    table = matplotlib.colormaps[colormap](steps)[:, :3].astype(np.float32)
    table.flags.writeable = False
    return table


def _stripes(height: int, width: int) -> np.ndarray:
    """Boolean (height, width) of diagonal stripes, about twelve to a picture."""
    period = max(6, round(min(height, width) / 12))
    y, x = np.mgrid[:height, :width]
    return (x + y) % period < max(1, period // 5)


def _palette_image(index: np.ndarray, table: np.ndarray, opacity: bytes) -> Image.Image:
    image = Image.frombytes("P", index.shape[::-1], index.tobytes())
    image.putpalette(table.tobytes())
    image.info["transparency"] = opacity
    return image
