"""Renders shapes to pixels, colors and part labels.

Everything is drawn once, as an image of region numbers at twice the size. Colors come
from a palette over the regions and are averaged down; part labels come from a table
over the same regions, so the parts are disjoint by construction.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from hiercam_keras.birds.anatomy import Anatomy
from hiercam_keras.birds.patch import Patch
from hiercam_keras.birds.traits import WingPattern

SUPERSAMPLE = 2

PARTS = ("background", "body", "bill_and_tail", "wing", "patch", "legs")

# Region -> (number, part). Regions have a color each, parts are what masks show.
_REGIONS = {
    "background": 0,
    "tail": 2,
    "tail_line": 2,
    "upper": 1,
    "under": 1,
    "head": 1,
    "bill": 2,
    "gape": 2,
    "wing": 3,
    "wing_mark": 3,
    "wing_edge": 3,
    "patch": 4,
    "eye_ring": 1,
    "eye": 1,
    "glint": 1,
    "leg": 5,
    "far_leg": 5,
}
_NUMBER = {name: index for index, name in enumerate(_REGIONS)}
_PART_OF_REGION = np.array(list(_REGIONS.values()), dtype=np.uint8)


@dataclass(frozen=True)
class Placement:
    """The affine map from units to pixels: pixel = unit @ matrix + shift."""

    matrix: np.ndarray  # (2, 2)
    shift: np.ndarray  # (2,)

    def points(self, units: np.ndarray) -> np.ndarray:
        return np.asarray(units) @ self.matrix + self.shift

    @property
    def scale(self) -> float:
        """Pixels per unit, the geometric mean of both directions."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))


def draw_regions(
    bird: Anatomy,
    wing: WingPattern,
    patch: Patch,
    placement: Placement,
    size: int,
    *,
    without: str | None = None,
) -> Image.Image:
    """Region numbers as an "L" image of SUPERSAMPLE * size pixels a side.

    Args:
      bird: the shapes, in units.
      wing: the marks of its wing.
      patch: its patch, in units.
      placement: units to pixels of the final image (of `size`).
      size: side of the final image in pixels.
      without: a part of PARTS that is not drawn, so that what it hides is seen;
        "bird" for nothing at all.
    """
    canvas = _Canvas(placement, size)
    if without == "bird":
        return canvas.image
    line = max(1, round(size / 75))
    if without != "legs":
        _legs(canvas, bird)
    if without != "bill_and_tail":
        canvas.polygon(bird.tail, "tail")
        for feather in bird.tail_feathers:
            canvas.line(feather, "tail_line", line)
    if without != "body":
        body = canvas.mask()
        body.circles(bird.body, 255)
        canvas.paste("upper", body.image)
        under = canvas.mask()
        under.circles(bird.underparts, 255)
        canvas.paste("under", ImageChops.multiply(under.image, body.image))
        canvas.circles(np.array([bird.head]), "head")
    if without != "bill_and_tail":
        canvas.polygon(bird.bill, "bill")
        canvas.line(bird.gape, "gape", line)
    if without != "wing":
        _wing(canvas, bird, wing, line)
    if without != "patch":
        fluffed = canvas.mask()
        fluffed.circles(patch.ground, 255)
        spot = canvas.mask()
        spot.polygon(patch.outline, 255)
        canvas.paste("patch", ImageChops.multiply(spot.image, fluffed.image))
    if without != "body":
        _eye(canvas, bird)
    return canvas.image


def silhouette(bird: Anatomy, placement: Placement, size: int) -> np.ndarray:
    """The bird's outline without marks, bool (size, size), for measuring."""
    canvas = _Canvas(placement, size, supersample=1)
    _legs(canvas, bird)
    canvas.polygon(bird.tail, "tail")
    canvas.circles(bird.body, "upper")
    canvas.polygon(bird.bill, "bill")
    canvas.polygon(bird.wing, "wing")
    return np.asarray(canvas.image) > 0


def part_labels(regions: Image.Image) -> np.ndarray:
    """Part labels, uint8 (size, size), of the nearest drawn pixels."""
    drawn = np.asarray(regions)[1::SUPERSAMPLE, 1::SUPERSAMPLE]
    return _PART_OF_REGION[drawn]


def footprint(regions: Image.Image, parts: Collection[str]) -> np.ndarray:
    """Pixels that show a part, wholly or along its edge, bool (size, size).

    A pixel is the mean of SUPERSAMPLE squared drawn ones and has the label of one of
    them: a footprint is wider than the labels by the pixels that are shared.
    """
    labels = [PARTS.index(part) for part in parts]
    table = np.zeros(256, dtype=np.uint8)
    table[: len(_PART_OF_REGION)] = 255 * np.isin(_PART_OF_REGION, labels)
    return np.asarray(regions.point(table.tolist()).reduce(SUPERSAMPLE)) > 0


def colors(
    regions: Image.Image, palette: dict[str, tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Antialiased colors, float32 (size, size, 3) in 0..255, and coverage in 0..1."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for name, number in _NUMBER.items():
        table[number] = palette[name]
    indexed = regions.copy()
    indexed.putpalette(table.tobytes())
    rgb = np.asarray(indexed.convert("RGB").reduce(SUPERSAMPLE), dtype=np.float32)
    covered = regions.point([0] + [255] * 255).reduce(SUPERSAMPLE)
    return rgb, np.asarray(covered, dtype=np.float32) / 255.0


def shading(
    coverage: np.ndarray, parts: np.ndarray, light: tuple[float, float]
) -> np.ndarray:
    """Roundness as a factor on the colors, float32 (size, size).

    The shade is the slope of the blurred silhouette, as a height map, towards the
    light; a second, narrower blur separates the wing from the body.
    """
    size = coverage.shape[0]
    shade = np.ones_like(coverage)
    body = Image.fromarray((coverage * 255).astype(np.uint8)).reduce(2)
    wing = Image.fromarray((parts == 3).astype(np.uint8) * 255)
    for height, radius, strength in (
        (body.filter(ImageFilter.GaussianBlur(size / 32)), 2, 0.0425 * size),
        (wing.filter(ImageFilter.BoxBlur(size / 50)), 1, 0.016 * size),
    ):
        height = np.asarray(height, dtype=np.float32)
        slope = np.zeros_like(height)
        slope[:, 1:-1] = (height[:, :-2] - height[:, 2:]) * light[0]
        slope[1:-1] += (height[:-2] - height[2:]) * light[1]
        if radius > 1:
            enlarged = Image.fromarray(slope).resize(
                (size, size), Image.Resampling.BILINEAR
            )
            slope = np.asarray(enlarged)
        shade += slope * np.float32(strength / 510.0)
    return np.clip(shade, 0.45, 1.45)


class _Canvas:
    """An "L" image that takes shapes in units."""

    def __init__(self, placement: Placement, size: int, supersample=SUPERSAMPLE):
        self.placement = placement
        self.size = size
        self.factor = supersample
        side = size * supersample
        self.image = Image.new("L", (side, side))
        self.pen = ImageDraw.Draw(self.image)
        # Rows of the matrix are the images of the unit vectors; a circle becomes an
        # axis-parallel ellipse, because rotation comes before any stretching.
        self.radii = np.sqrt((placement.matrix**2).sum(axis=0)) * supersample

    def mask(self) -> "_Canvas":
        return _Canvas(self.placement, self.size, self.factor)

    def pixels(self, units: np.ndarray) -> list[float]:
        return (self.placement.points(units) * self.factor).ravel().tolist()

    def polygon(self, units: np.ndarray, region: str | int) -> None:
        self.pen.polygon(self.pixels(units), fill=_fill(region))

    def line(self, units: np.ndarray, region: str | int, width: int) -> None:
        self.pen.line(
            self.pixels(units), fill=_fill(region), width=width, joint="curve"
        )

    def circles(self, rows: np.ndarray, region: str | int) -> None:
        middle = self.placement.points(rows[:, :2]) * self.factor
        reach = rows[:, 2:] * self.radii
        boxes = np.concatenate([middle - reach, middle + reach], axis=1)
        for box in boxes.tolist():
            self.pen.ellipse(box, fill=_fill(region))

    def paste(self, region: str, mask: Image.Image) -> None:
        self.image.paste(_NUMBER[region], (0, 0, *mask.size), mask)


def _fill(region: str | int) -> int:
    return region if isinstance(region, int) else _NUMBER[region]


def _legs(canvas: _Canvas, bird: Anatomy) -> None:
    width = bird.leg_width * canvas.placement.scale * canvas.factor
    for leg, region in zip(bird.legs, ("far_leg", "leg"), strict=True):
        canvas.line(leg[:3], region, max(1, round(width)))
        canvas.line(leg[2:], region, max(1, round(0.8 * width)))


def _eye(canvas: _Canvas, bird: Anatomy) -> None:
    x, y, r = bird.eye
    canvas.circles(np.array([[x, y, 1.35 * r]]), "eye_ring")
    canvas.circles(np.array([[x, y, r]]), "eye")
    canvas.circles(np.array([[x + 0.3 * r, y + 0.35 * r, 0.33 * r]]), "glint")


def _wing(canvas: _Canvas, bird: Anatomy, wing: WingPattern, line: int) -> None:
    shape = canvas.mask()
    shape.polygon(bird.wing, 255)
    canvas.paste("wing", shape.image)
    marks = canvas.mask()
    for outline in wing_marks(wing):
        marks.polygon(outline @ bird.wing_frame[1:] + bird.wing_frame[0], 255)
    canvas.paste("wing_mark", ImageChops.multiply(marks.image, shape.image))
    canvas.line(np.concatenate([bird.wing, bird.wing[:1]]), "wing_edge", line)


def wing_marks(wing: WingPattern) -> list[np.ndarray]:
    """Outlines of the marks in the wing's frame: 0..1 along, -0.6..0.5 across."""
    # The frame's sides differ in length; `aspect` keeps angles and dots true.
    aspect = 0.42
    turn = math.radians(wing.angle)
    step = np.array([math.sin(turn), math.cos(turn)])  # across the bars
    bar = np.array([step[1], -step[0]])
    middle = np.array([0.5, -0.05 * aspect])
    reach = 0.42 * abs(step[0]) + 0.5 * aspect * abs(step[1]) * 1.05
    period = 2.0 * reach / wing.count
    offsets = [(i + 0.5) * period - reach for i in range(wing.count)]
    marks = []
    if wing.kind == "half":
        marks = [_strip(middle + 0.5 * step, step, bar, 0.5)]
    elif wing.kind == "bars":
        marks = [
            _strip(middle + o * step, step, bar, 0.5 * wing.duty * period)
            for o in offsets
        ]
    elif wing.kind == "chevrons":
        for o in offsets:
            tip = middle + (o + 0.3 * period) * step
            thick = 0.55 * wing.duty * period
            arms = [tip - 0.45 * bar - 0.3 * step, tip, tip + 0.45 * bar - 0.3 * step]
            marks.append(
                np.array(
                    [p + thick * step for p in arms]
                    + [p - thick * step for p in arms[::-1]]
                )
            )
    else:
        marks = _dots(wing, middle, aspect)
    return [mark / np.array([1.0, aspect]) for mark in marks]


def _dots(wing: WingPattern, middle: np.ndarray, aspect: float) -> list[np.ndarray]:
    rows = min(wing.count, 4)
    spacing = aspect / rows
    columns = max(2, round(0.85 / spacing))
    radius = (0.28 + 0.25 * wing.duty) * spacing
    ring = np.linspace(0.0, 2.0 * math.pi, 11)[:-1]
    circle = radius * np.stack([np.cos(ring), np.sin(ring)], axis=1)
    dots = []
    for column in range(columns):
        for row in range(rows + 1):
            x = middle[0] + (column - (columns - 1) / 2.0) * spacing
            y = middle[1] + (row - rows / 2.0 + 0.5 * (column % 2)) * spacing
            dots.append(circle + np.array([x, y]))
    return dots


def _strip(center, step, bar, half) -> np.ndarray:
    return np.array(
        [
            center + half * step + 1.5 * bar,
            center + half * step - 1.5 * bar,
            center - half * step - 1.5 * bar,
            center - half * step + 1.5 * bar,
        ]
    )
