"""Image files into clean RGB pixels with Pillow, and why that fails.

A file is *clean* when any decoder gives the same upright RGB pixels for it: an 8-bit
RGB JPEG or PNG without transparency, without an EXIF rotation and of a sane size.
Everything else that can be read is made clean by `to_rgb`.
"""

import dataclasses
import io
import threading
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from hiercam_keras.data import capture, heif, suffixes

# Longest side of what a training run decodes again and again, pixels.
MAX_SIDE = 4096
# A shorter side than this shows nothing, pixels.
MIN_SIDE = 4
# 540 MB once decoded; beyond it a file is taken for a bomb.
MAX_PIXELS = 180_000_000
# Files above this many pixels are decoded one at a time.
_LARGE_PIXELS = 25_000_000
# A JPEG decoder gives an image at 1 / these of its size, for less.
REDUCTIONS = (8, 4, 2, 1)
_TURNED = (5, 6, 7, 8)
_ORIENTATION = ExifTags.Base.Orientation

# Our own limit above replaces Pillow's, which warns at one size and fails at
# another.
Image.MAX_IMAGE_PIXELS = None
_one_large = threading.Lock()


class BadImage(Exception):
    """A file that cannot be decoded; the message is the reason, without the name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What a readable image file holds.

    Attributes:
      width: pixels as displayed, EXIF rotation applied.
      height: likewise.
      format: by content, not by the name: "JPEG", "PNG", "WEBP", ...
      mode: Pillow's mode, with ";16" where a channel has 16 bits.
      orientation: EXIF orientation, 1 (upright) to 8.
      why_convert: empty for a clean file, else what keeps it from being one.
      taken, camera: see `capture`.
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    why_convert: str
    taken: str = ""
    camera: str = ""


def examine(
    path: Path, least: tuple[int, int] | None = None
) -> tuple[Facts, Image.Image]:
    """Decodes a file in full.

    Args:
      path: of the file.
      least: (width, height) that suffice: a clean JPEG file is decoded at 1 /
        `reduction` of its size, rounded up. None: every pixel counts.

    Returns:
      Its facts, and its upright RGB pixels, shrunk to MAX_SIDE where it is larger.

    Raises:
      BadImage: with the reason why there are no pixels.
    """
    try:
        with Image.open(_read(path)) as image:
            return _examine(image, least)
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise anything from a damaged file.
        raise BadImage(_reason(error)) from error


def reduction(width: int, height: int, least: tuple[int, int]) -> int:
    """How many times smaller a JPEG file can be decoded and still has `least`."""
    times = min(width // max(1, least[0]), height // max(1, least[1]))
    return next((r for r in REDUCTIONS if r <= times), 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB pixels of a decoded image of any mode.

    16-bit channels keep their high byte; transparency is laid over white, as a page
    would show it; CMYK and palettes are converted by Pillow.
    """
    orientation = _orientation(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.max(initial=0) > 255:
            values = values >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise BadImage("floating-point pixels of an unknown range")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return transpose_like(image.convert("RGB"), orientation)


def transpose_like(image: Image.Image, orientation: int) -> Image.Image:
    """Turns an image as EXIF orientation 1 to 8 says (for masks of a turned photo)."""
    method = _TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def kept_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the clean copy of an image; its own up to MAX_SIDE."""
    longest = max(width, height)
    if longest <= MAX_SIDE:
        return width, height
    ratio = MAX_SIDE / longest
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def displayed_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """(width, height) of stored pixels once the orientation is applied."""
    return (height, width) if orientation in _TURNED else (width, height)


def turn_box(
    box: tuple[float, float, float, float], width: int, height: int, orientation: int
) -> tuple[float, float, float, float]:
    """A box in stored pixels (of width x height) to pixels as displayed."""
    points = [_turn_point(x, y, width, height, orientation) for x, y in _corners(box)]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _corners(box):
    x0, y0, x1, y1 = box
    return (x0, y0), (x1, y1)


def _turn_point(x, y, w, h, orientation):
    """Where the stored point x, y of a w x h image is displayed (EXIF 2.32, 4.6.4)."""
    return {
        2: (w - x, y),
        3: (w - x, h - y),
        4: (x, h - y),
        5: (y, x),
        6: (h - y, x),
        7: (h - y, w - x),
        8: (y, w - x),
    }.get(orientation, (x, y))


def _read(path):
    """The whole file in memory: a file that changes while it is decoded cannot hurt."""
    if suffixes.raw_kind(Path(path).name):
        # Pillow would open the small preview in some of them.
        raise BadImage("a raw photograph, which is not read: export it as JPEG")
    data = Path(path).read_bytes()
    if not data:
        raise BadImage("the file is empty (0 bytes)")
    if heif.is_heif(data[: heif.HEAD]) and not heif.register():
        raise BadImage(heif.MISSING)
    return io.BytesIO(data)


def _examine(image, least):
    stored = image.size
    if stored[0] * stored[1] > MAX_PIXELS:
        raise BadImage(
            f"{stored[0]} x {stored[1]} is {stored[0] * stored[1] / 1e6:.0f} "
            "megapixels; "
            f"the limit is {MAX_PIXELS / 1e6:.0f}"
        )
    if min(stored) < MIN_SIDE:
        raise BadImage(f"too small: {stored[0]} x {stored[1]} pixels")
    if stored[0] * stored[1] > _LARGE_PIXELS:
        with _one_large:
            return _decode(image, least)
    return _decode(image, least)


def _decode(image, least):
    form = "JPEG" if image.format == "MPO" else image.format
    deep = form == "PNG" and any("16" in str(tile[3]) for tile in image.tile)
    mode = image.mode + (";16" if deep and "16" not in image.mode else "")
    orientation = _orientation(image)
    taken, camera = capture.of_image(image)
    width, height = displayed_size(*image.size, orientation)
    if least and form == "JPEG" and orientation == 1 and mode == "RGB":
        image.draft(None, least)
    image.load()
    if form == "TIFF":  # Pillow turns its pixels as it loads them, and its size before
        width, height = image.size
    why = []
    if form not in ("JPEG", "PNG"):
        why.append(f"{form} file")
    if mode != "RGB":
        why.append(f"{mode} pixels")
    elif image.has_transparency_data:
        why.append("transparency")
    if orientation != 1:
        why.append(f"EXIF orientation {orientation}")
    if max(width, height) > MAX_SIDE:
        why.append(f"{width} x {height} pixels")
    why_convert = ", ".join(why)
    about = (width, height, form, mode, orientation)
    facts = Facts(*about, why_convert, taken, camera)
    if not why:
        return facts, image
    clean = to_rgb(image)
    kept = kept_size(*clean.size)
    if clean.size != kept:
        clean = clean.resize(kept, Image.Resampling.LANCZOS, reducing_gap=3)
    return facts, clean


def _orientation(image):
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Damaged EXIF data does not make the pixels worse.
        return 1
    return value if value in _TRANSPOSE else 1


def _reason(error):
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    text = str(error).splitlines()
    return f"cannot be decoded: {text[0] if text else type(error).__name__}"
