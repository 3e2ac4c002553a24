"""One picture of one bird, with its mask and parts.

`set_up` poses the bird, places it inside the part of the frame that a center crop
keeps, and draws all random numbers: its habitat, colors and light. `develop` draws the
pixels from that alone, so that a part can be exchanged and all else stays. `render` is
both, a pure function of its arguments.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from hiercam_keras.birds import draw, plumage, scene
from hiercam_keras.birds.anatomy import (
    Anatomy,
    Posture,
    build,
    changed_posture,
    random_posture,
)
from hiercam_keras.birds.habitats import HABITATS, Habitat
from hiercam_keras.birds.patch import PATCH_SHAPE, Patch, patch_on
from hiercam_keras.birds.traits import Look

CROP = 224 / 256  # share of the side that resize + center crop keeps
AREA = (0.34, 0.48)  # share of that crop aimed at, of a rough and so larger outline
PATCH_AREA = (0.03, 0.037)  # share of that crop that the patch covers
MARGIN = 0.008  # of the crop, left free around the bird

_MEASURE = 64  # side of the rough picture on which area is measured


@dataclass(frozen=True)
class Rendered:
    """A picture with its annotations.

    image: uint8 (size, size, 3). parts: uint8 (size, size), labels as in
    `draw.PARTS`. box: x0, y0, x1, y1 in pixels around all parts, far edge excluded.
    """

    image: np.ndarray
    parts: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Setup:
    """All that decides a picture: its random numbers are drawn, its pixels are not.

    look, posture, bird: the traits, the posture, and the shapes of both in units.
    patch, patch_radius: in units. placement: of the units in the picture.
    palette: colors of the bird by region. background: float32 (size, size, 3).
    light: direction that the light comes from. grain: float32 (size, size, 1).
    blades: grass before the bird, or None. exposure: of the whole picture.
    flicker: a factor and noise, float32 (size, size, 3), of a further picture of a
      burst, or None.
    """

    look: Look
    posture: Posture
    bird: Anatomy
    patch: Patch
    patch_radius: float
    placement: draw.Placement
    palette: dict[str, plumage.RGB]
    background: np.ndarray
    light: tuple[float, float]
    grain: np.ndarray
    blades: "Blades | None"
    exposure: "Exposure"
    flicker: tuple[float, np.ndarray] | None

    @property
    def size(self) -> int:
        return self.background.shape[0]

    def regions(self, without: str | None = None) -> Image.Image:
        """As `draw.draw_regions`, which has `without`."""
        return draw.draw_regions(
            self.bird,
            self.look.wing,
            self.patch,
            self.placement,
            self.size,
            without=without,
        )


def render(
    look: Look,
    habitat: int,
    rng: np.random.Generator,
    size: int,
    *,
    distractors: bool = False,
    shot: np.random.Generator | None = None,
) -> Rendered:
    """Draws a bird.

    Args:
      look: its traits.
      habitat: index into `HABITATS`.
      rng: decides pose, place, colors, light and clutter.
      size: side of the picture in pixels, at least 48.
      distractors: also strew bright discs over the background.
      shot: for a further picture of a burst: changes posture, place and light a little
        from the picture of the same `rng`, which has the same bird and background.

    Returns:
      The picture, its parts and its box. The bird is inside the central CROP of
      the frame and covers a quarter to a half of it.
    """
    setup = set_up(look, habitat, rng, size, distractors=distractors, shot=shot)
    return develop(setup, setup.regions())


def set_up(
    look: Look,
    habitat: int,
    rng: np.random.Generator,
    size: int,
    *,
    distractors: bool = False,
    shot: np.random.Generator | None = None,
    instead: Habitat | None = None,
) -> Setup:
    """Draws the random numbers of a picture, in the order of its pixels.

    How many are used depends on the habitat and on nothing else of the bird.

    Args:
      look, habitat, rng, size, distractors, shot: as for `render`.
      instead: a habitat that is drawn in the place of the bird's, everything else as
        in the bird's.
    """
    posed = _pose(look, rng, size, shot)
    standing = np.mean([leg[2] for leg in posed["bird"].legs], axis=0)
    background = scene.background(
        HABITATS[habitat],
        rng,
        size,
        feet=tuple((posed["placement"].points(standing) / size).tolist()),
        distractors=distractors,
        instead=instead,
    )
    # The order of these is the order of the random numbers.
    return Setup(
        **posed,
        look=look,
        background=background,
        palette=plumage.random_palette(rng),
        light=(rng.uniform(-0.7, 0.7), -1.0),
        grain=_grain(rng, size),
        blades=_blades(rng, size),
        exposure=_exposure(rng),
        flicker=None if shot is None else _flicker(shot, size),
    )


def develop(setup: Setup, regions: Image.Image) -> Rendered:
    """The picture of regions, as from `Setup.regions`, in their colors and light."""
    picture = setup.background.copy()
    rgb, coverage = draw.colors(regions, setup.palette)
    parts = draw.part_labels(regions)
    rgb *= draw.shading(coverage, parts, setup.light)[..., None]
    rgb += setup.grain
    rgb -= picture
    rgb *= coverage[..., None]
    picture += rgb
    if setup.blades is not None:  # never over the patch
        covered = setup.blades.mask & (parts != 4)
        picture[covered] = setup.blades.color
        parts[covered] = 0
    setup.exposure.apply(picture)
    if setup.flicker is not None:
        factor, noise = setup.flicker
        picture *= factor
        picture += noise
    image = np.clip(picture, 0, 255, out=picture).astype(np.uint8)
    return Rendered(image, parts, bounding_box(parts))


def bounding_box(parts: np.ndarray) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around all labels > 0, in pixels, the far edge excluded.

    All are 0 if there are none.
    """
    if not parts.any():
        return (0.0, 0.0, 0.0, 0.0)
    rows = np.flatnonzero((parts > 0).any(axis=1))
    columns = np.flatnonzero((parts > 0).any(axis=0))
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] + 1),
        float(rows[-1] + 1),
    )


def _pose(
    look: Look,
    rng: np.random.Generator,
    size: int,
    shot: np.random.Generator | None,
) -> dict:
    """The fields of `Setup` that describe a posed bird and its place."""
    posture = random_posture(rng)
    rotation = rng.uniform(-13.0, 13.0)
    mirrored = rng.random() < 0.5
    target = rng.uniform(*AREA)
    patch_area = rng.uniform(*PATCH_AREA)
    slack = rng.random(2)
    if shot is not None:
        posture = changed_posture(posture, shot)
        rotation += shot.uniform(-2.0, 2.0)
        slack = np.clip(slack + shot.uniform(-0.1, 0.1, 2), 0.0, 1.0)
    crop = CROP * size
    bird = build(look, posture)
    matrix, low, high = _fitted(bird, rotation, mirrored, target, crop)
    scale = math.sqrt(abs(float(np.linalg.det(matrix))))
    patch_radius = math.sqrt(patch_area / PATCH_SHAPE) * crop / scale
    patch = patch_on(bird, look.patch_place, patch_radius)
    edge = patch.outline @ matrix
    low = np.minimum(low, edge.min(axis=0))
    high = np.maximum(high, edge.max(axis=0))
    # A crown patch extends above the head: the bird makes room for it.
    shrink = np.minimum(1.0, crop * (1.0 - 2 * MARGIN) / (high - low))
    matrix, low, high = matrix * shrink, low * shrink, high * shrink
    free = np.maximum(crop * (1.0 - 2 * MARGIN) - (high - low), 0.0)
    start = (size - crop) / 2.0 + MARGIN * crop
    return {
        "posture": posture,
        "bird": bird,
        "patch": patch,
        "patch_radius": patch_radius,
        "placement": draw.Placement(matrix, start + slack * free - low),
    }


def _fitted(bird: Anatomy, rotation, mirrored, target: float, crop: float):
    """Scales the bird to the target's share of the crop, and its bounds in pixels.

    A bird too long and thin to cover that much within the crop is stretched a little
    across its longer side; one unit then differs between the two directions.
    """
    angle = math.radians(rotation)
    c, s = math.cos(angle), math.sin(angle)
    # Units have y up, pixels y down.
    matrix = np.array([[c, -s], [-s, -c]]) * np.array([-1.0 if mirrored else 1.0, 1.0])
    low, high = _bounds(bird, matrix)
    extent = high - low
    rough = (_MEASURE - 2) / extent.max()
    placed = draw.Placement(matrix * rough, 1.0 - low * rough)
    area = draw.silhouette(bird, placed, _MEASURE).mean() * (_MEASURE / rough) ** 2
    room = crop * (1.0 - 2 * MARGIN)
    scale = crop * math.sqrt(target / area)
    fit = np.minimum(room / (extent * scale), 1.0)
    both = float(fit.min())
    stretch = np.full(2, scale * both)
    floor = AREA[0] * crop**2
    lacking = floor / (area * stretch[0] ** 2)
    if lacking > 1.0:
        shorter = int(np.argmin(extent))
        stretch[shorter] *= min(lacking, 1.9, room / (extent[shorter] * stretch[0]))
    matrix = matrix * stretch
    low, high = _bounds(bird, matrix)
    return matrix, low, high


def _bounds(bird: Anatomy, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reach = np.sqrt((matrix**2).sum(axis=0))
    points = np.concatenate([bird.bill, bird.tail, bird.wing, *bird.legs]) @ matrix
    middles = bird.body[:, :2] @ matrix
    rounds = bird.body[:, 2:] * reach
    pen = 0.5 * bird.leg_width * reach  # toes are lines, not points
    low = np.minimum(points.min(axis=0) - pen, (middles - rounds).min(axis=0))
    high = np.maximum(points.max(axis=0) + pen, (middles + rounds).max(axis=0))
    return low, high


@dataclass(frozen=True)
class Blades:
    """Blades of grass before the bird's feet: bool (size, size), and their color."""

    mask: np.ndarray
    color: plumage.RGB


def _blades(rng: np.random.Generator, size: int) -> Blades | None:
    """Blades in three of ten pictures."""
    if rng.random() > 0.3:
        return None
    blades = Image.new("L", (size, size))
    pen = ImageDraw.Draw(blades)
    for _ in range(rng.integers(2, 6)):
        x, lean = rng.uniform(0, size), rng.uniform(-0.1, 0.1) * size
        tip = size * rng.uniform(0.72, 0.9)
        half = size * rng.uniform(0.006, 0.014)
        pen.polygon([x - half, size, x + lean, tip, x + half, size], fill=255)
    hue = rng.uniform(0.12, 0.3)
    color = plumage.rgb(hue, rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.6))
    return Blades(np.asarray(blades) > 0, color)


@functools.cache
def _noise_tile(side: int) -> np.ndarray:
    return 5.0 * np.random.default_rng(0).standard_normal((side, side), np.float32)


def _grain(rng: np.random.Generator, size: int) -> np.ndarray:
    """The plumage's texture: a random window of one noise image, (size, size, 1)."""
    side = 1 << (size + size // 2).bit_length()
    y, x = rng.integers(0, side - size + 1, 2).tolist()
    return _noise_tile(side)[y : y + size, x : x + size, None]


@dataclass(frozen=True)
class Exposure:
    """Exposure, contrast, warmth and a gradient of light.

    tint: factors of the colors, float32 (3,). across, down: the gradient's share from
    edge to edge. contrast: about the gray value 118.
    """

    tint: np.ndarray
    across: float
    down: float
    contrast: np.float32

    def apply(self, picture: np.ndarray) -> None:
        """Changes float32 (size, size, 3) in place."""
        steps = np.linspace(-0.5, 0.5, picture.shape[0], dtype=np.float32)
        across, down = steps * self.across, steps * self.down
        gradient = 1.0 + across[None, :, None] + down[:, None, None]
        picture *= gradient * (self.tint * self.contrast)
        picture += 118.0 * (1.0 - self.contrast)


def _exposure(rng: np.random.Generator) -> Exposure:
    return Exposure(
        tint=rng.uniform(0.94, 1.06, 3).astype(np.float32) * rng.uniform(0.78, 1.15),
        across=rng.uniform(-0.3, 0.3),
        down=rng.uniform(-0.3, 0.3),
        contrast=np.float32(rng.uniform(0.85, 1.15)),
    )


def _flicker(shot: np.random.Generator, size: int) -> tuple[float, np.ndarray]:
    factor = shot.uniform(0.95, 1.05)
    return factor, shot.normal(0.0, 1.5, (size, size, 3)).astype(np.float32)
