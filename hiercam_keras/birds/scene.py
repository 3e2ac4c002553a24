"""The background of the bird.

Clutter is muted and made of branches, stones and leaves; discs in the colors of
patches are strewn only when `distractors` asks for them.
"""

import copy
import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hiercam_keras.birds import plumage
from hiercam_keras.birds.habitats import (
    HSV,
    Ground,
    Habitat,
    ellipse,
)


def background(
    habitat: Habitat,
    rng: np.random.Generator,
    size: int,
    *,
    feet: tuple[float, float],
    distractors: bool,
    instead: Habitat | None = None,
) -> np.ndarray:
    """A picture of the habitat without a bird, float32 (size, size, 3), 0..255.

    Args:
      habitat: decides how many random numbers are used.
      rng: decides everything else.
      size: side of the picture in pixels.
      feet: where the bird's feet are, x and y as shares of the side: a branch, a
        stone or a mound is put there in every habitat.
      distractors: whether bright discs are strewn over it.
      instead: a habitat that is drawn in the place of `habitat`, with the clutter of
        the same picture and what is under the feet.
    """
    # Drawn small and enlarged: out of focus behind the bird, and cheaper.
    side = max(24, round(size * rng.uniform(0.55, 0.8)))
    own = copy.deepcopy(rng) if instead is not None else rng
    image, ground = _scenery(habitat, rng, side)
    if instead is not None:
        habitat = instead
        image, ground = _scenery(habitat, own, side)
        ground = dataclasses.replace(ground, rng=rng)
    _clutter(ground)
    if distractors:
        _discs(ground)
    _stand(ground, feet[0] * side, feet[1] * side)
    image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.0)))
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    noise = habitat.grain * _noise(rng, size)
    return np.asarray(image, dtype=np.float32) + noise[..., None]


def _scenery(habitat: Habitat, rng, side: int) -> tuple[Image.Image, Ground]:
    """Sky, ground and things of a habitat, (side, side), and what draws more on it."""
    level = rng.uniform(*habitat.horizon)
    image = Image.fromarray(_backdrop(habitat, rng, side, level))
    ground = Ground(ImageDraw.Draw(image), side, level * side, rng)
    for thing in habitat.things:
        thing(ground)
    return image, ground


def _backdrop(habitat, rng, side: int, level: float) -> np.ndarray:
    rows = np.linspace(0.0, 1.0, side)[:, None]
    hue = rng.uniform(-0.02, 0.02)
    value = rng.uniform(0.88, 1.08)

    def shade(color: HSV) -> np.ndarray:
        return np.array(plumage.rgb(color[0] + hue, color[1], min(1, color[2] * value)))

    sky_top, sky_low = map(shade, habitat.sky)
    far, near = map(shade, habitat.ground)
    up = np.clip(rows / max(level, 1e-3), 0, 1)
    down = np.clip((rows - level) / max(1.0 - level, 1e-3), 0, 1)
    sky = sky_top + (sky_low - sky_top) * up
    land = far + (near - far) * down
    column = np.where(rows < level, sky, land)
    return np.repeat(column[:, None], side, axis=1).astype(np.uint8)


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth noise of about unit spread in two octaves, float32 (size, size)."""
    coarse = Image.fromarray(rng.standard_normal((9, 9), dtype=np.float32))
    mixed = np.asarray(coarse.resize((36, 36), Image.Resampling.BICUBIC))
    mixed = mixed + 0.7 * rng.standard_normal((36, 36), dtype=np.float32)
    return np.asarray(
        Image.fromarray(mixed).resize((size, size), Image.Resampling.BILINEAR)
    )


def _stand(g: Ground, x: float, y: float) -> None:
    """Something under the bird's feet."""
    kind = g.rng.integers(4)
    if kind == 0:
        rise = g.side * g.rng.uniform(-0.12, 0.12)
        width = int(g.rng.integers(4, 7))
        color = g.color(0.07, 0.35, g.rng.uniform(0.25, 0.45))
        ends = [-5, y - rise, x, y + 0.4 * width, g.side + 5, y + rise]
        g.pen.line(ends, fill=color, width=width, joint="curve")
    elif kind == 1:
        color = g.color(0.08, 0.08, g.rng.uniform(0.35, 0.6))
        reach = g.side * g.rng.uniform(0.2, 0.32)
        ellipse(g, x, y + 0.5 * reach, reach, 0.55 * reach, color)
    elif kind == 2:
        color = g.color(g.rng.uniform(0.09, 0.25), 0.4, g.rng.uniform(0.35, 0.55))
        ellipse(g, x, y + 0.3 * g.side, 0.8 * g.side, 0.32 * g.side, color)
    else:
        shadow = g.color(0.08, 0.2, 0.22)
        ellipse(g, x, y, 0.17 * g.side, 0.025 * g.side, shadow)


def _clutter(g: Ground) -> None:
    """Branches, stones and leaves in front of any habitat, in muted colors."""
    for _ in range(g.rng.integers(0, 3)):
        (x, y), (u, v) = g.spots(2, 0.0, 1.0)
        width = int(g.rng.integers(2, 4))
        color = g.color(0.08, 0.3, g.rng.uniform(0.2, 0.4))
        g.pen.line([x, y, u, v], fill=color, width=width)
        for share in g.rng.uniform(0.2, 0.9, 3):
            at = np.array([x + (u - x) * share, y + (v - y) * share])
            g.pen.line(
                [*at, *(at + g.rng.uniform(-0.15, 0.15, 2) * g.side)], fill=color
            )
    for x, y in g.spots(int(g.rng.integers(0, 9)), 0.0, 1.0):
        reach = g.side * g.rng.uniform(0.015, 0.05)
        turn = g.rng.uniform(0, np.pi)
        c, s = reach * np.cos(turn), reach * np.sin(turn)
        color = g.color(g.rng.uniform(0.08, 0.34), 0.3, g.rng.uniform(0.25, 0.6))
        leaf = [x + c, y + s, x - 0.3 * s, y + 0.3 * c, x - c, y - s]
        g.pen.polygon([*leaf, x + 0.3 * s, y - 0.3 * c], fill=color)


def _discs(g: Ground) -> None:
    """Discs like patches, as distractors."""
    for x, y in g.spots(12, 0.0, 1.0):
        r = g.side * g.rng.uniform(0.04, 0.08)
        ellipse(g, x, y, r, 0.85 * r, plumage.bright(g.rng))
