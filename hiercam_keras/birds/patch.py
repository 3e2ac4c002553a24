"""The bright patch, which shows the species by its place."""

import math
from dataclasses import dataclass

import numpy as np

from hiercam_keras.birds.anatomy import Anatomy, turned
from hiercam_keras.birds.traits import PatchPlace

PATCH_SHAPE = 1.2 * 0.85 * math.pi  # area / radius**2


@dataclass(frozen=True)
class Patch:
    """A patch in units: its outline, rows (x, y), and what it is drawn on.

    ground: circles, rows (x, y, radius); the patch is seen within their union.
    """

    outline: np.ndarray
    ground: np.ndarray


def patch_on(bird: Anatomy, place: PatchPlace, radius: float) -> Patch:
    """The patch at a site of a bird; `radius` in units."""
    outline = patch_outline(bird, place, radius)
    apart = np.hypot(*(bird.body[:, :2] - outline.mean(axis=0)).T)
    near = bird.body[apart < 1.12 * bird.body[:, 2] + 1.3 * radius]
    # Feathers extend a little beyond the outline, a patch does not.
    return Patch(outline, near * np.array([1.0, 1.0, 1.12]))


def patch_site(
    bird: Anatomy, place: PatchPlace, radius: float
) -> tuple[np.ndarray, float]:
    """Position and orientation of a patch.

    Args:
      bird: the shapes.
      place: its site on the outline.
      radius: of the patch in units; it decides how far inside the outline the patch is.

    Returns:
      Its middle (x, y) and the direction in which it is longer, in radians.
    """
    angle = math.radians(place.angle)
    if place.on_head:
        x, y, head = bird.head
        angle += bird.tilt
        reach = max(0.4 * head, head - 0.5 * radius)
        at = np.array([x + reach * math.cos(angle), y + reach * math.sin(angle)])
        return at, angle + math.pi / 2.0
    spine = bird.spine
    end = math.copysign(1.0, math.cos(angle))
    extent = spine.reach + float(spine.thickness(end)) - 0.62 * radius
    ahead = math.cos(angle) * extent
    t = max(-1.0, min(1.0, ahead / spine.reach))
    room = max(0.2 * spine.radius, float(spine.thickness(t)) - 0.6 * radius)
    side = math.sin(angle) * room
    axis = math.atan2(spine.along[1], spine.along[0])
    at = spine.along * ahead + spine.across * side
    return at, axis + angle + math.pi / 2.0


def patch_outline(bird: Anatomy, place: PatchPlace, radius: float) -> np.ndarray:
    """A slightly ragged ellipse of area PATCH_SHAPE * radius**2, in units."""
    at, angle = patch_site(bird, place, radius)
    ring = np.linspace(0.0, 2.0 * math.pi, 31)[:-1]
    ragged = radius * (1.0 + 0.05 * np.cos(9.0 * ring))  # irregular, like feathers
    shape = np.stack([1.2 * np.cos(ring), 0.85 * np.sin(ring)], axis=1)
    return turned(shape * ragged[:, None], angle) + at
