"""Ten habitats, each with a sky, a ground and objects."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

from hiercam_keras.birds import plumage

HSV = tuple[float, float, float]


@dataclass(frozen=True)
class Habitat:
    """Colors are hue, saturation, value in 0..1; the horizon is a share of height."""

    name: str
    sky: tuple[HSV, HSV]  # top, bottom
    ground: tuple[HSV, HSV]  # far, near
    horizon: tuple[float, float]
    grain: float  # strength of the ground's texture, 0..255
    things: tuple[Callable[["Ground"], None], ...]


@dataclass(frozen=True)
class Ground:
    """Inputs for drawing an object: pen, side in pixels, horizon, random generator."""

    pen: ImageDraw.ImageDraw
    side: int
    level: float
    rng: np.random.Generator

    def color(self, hue: float, saturation: float, value: float) -> plumage.RGB:
        a, b, c = self.rng.random(3).tolist()
        return plumage.rgb(
            hue + 0.04 * a - 0.02,
            min(1.0, max(0.0, saturation + 0.12 * b - 0.06)),
            min(1.0, max(0.0, value + 0.16 * c - 0.08)),
        )

    def spots(self, count: int, low: float, high: float) -> list[tuple[float, float]]:
        """Random places between two heights (shares of the side), far ones first."""
        y = np.sort(self.rng.uniform(low, high, count)) * self.side
        x = self.rng.uniform(0, self.side, count)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def ellipse(ground: Ground, x, y, rx, ry, fill) -> None:
    """An upright ellipse about (x, y); lengths in pixels."""
    ground.pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)


def _ripples(g: Ground) -> None:
    for x, y in g.spots(16, g.level / g.side, 1.0):
        near = (y - g.level) / g.side
        reach = g.side * (0.08 + 0.3 * near)
        value = g.rng.choice([0.55, 0.85])
        half = max(0.6, 3 * near)
        ellipse(g, x, y, reach, half, g.color(0.56, 0.32, value))


def _conifers(g: Ground) -> None:
    for x, y in g.spots(9, g.level / g.side, g.level / g.side + 0.15):
        height = g.side * g.rng.uniform(0.25, 0.6)
        width = height * g.rng.uniform(0.18, 0.3)
        color = g.color(0.36, 0.5, g.rng.uniform(0.15, 0.34))
        for k in range(3):
            top, low = y - height * (1 - 0.25 * k), y - height * (0.5 - 0.25 * k)
            w = width * (0.5 + 0.25 * k)
            g.pen.polygon([x, top, x - w, low, x + w, low], fill=color)


def _trunks(g: Ground) -> None:
    for x, _ in g.spots(7, 0.0, 1.0):
        width = g.side * g.rng.uniform(0.03, 0.1)
        lean = g.side * g.rng.uniform(-0.06, 0.06)
        low = g.level + g.side * g.rng.uniform(0.0, 0.3)
        color = g.color(0.07, 0.35, g.rng.uniform(0.16, 0.36))
        g.pen.polygon(
            [x, 0, x + width, 0, x + width * 1.2 + lean, low, x + lean, low], fill=color
        )


def _foliage(g: Ground) -> None:
    for x, y in g.spots(26, 0.0, 0.55):
        reach = g.side * g.rng.uniform(0.04, 0.13)
        color = g.color(0.31, 0.55, g.rng.uniform(0.18, 0.5))
        ellipse(g, x, y, reach, 0.7 * reach, color)


def _dunes(g: Ground) -> None:
    for step in (0.02, 0.2, 0.4):
        y = g.level + step * g.side
        x = g.rng.uniform(-0.5, 0.6) * g.side
        rise = g.side * g.rng.uniform(0.04, 0.14)
        color = g.color(0.1, 0.42, 0.88 - 0.5 * step)
        ellipse(g, x + 0.4 * g.side, y + rise, 0.8 * g.side, 2 * rise, color)


def _snowfall(g: Ground) -> None:
    for x, y in g.spots(4, g.level / g.side, 1.0):
        reach = g.side * g.rng.uniform(0.15, 0.4)
        ellipse(g, x, y, reach, 0.3 * reach, g.color(0.58, 0.06, 0.93))
    for x, y in g.spots(34, 0.0, 1.0):
        r = g.side * g.rng.uniform(0.004, 0.011)
        ellipse(g, x, y, r, r, (250, 251, 255))


def _flowers(g: Ground) -> None:
    for x, y in g.spots(60, g.level / g.side, 1.0):
        height = g.side * g.rng.uniform(0.04, 0.14)
        lean = g.side * g.rng.uniform(-0.03, 0.03)
        color = g.color(0.26, 0.6, g.rng.uniform(0.35, 0.65))
        g.pen.line([x, y, x + lean, y - height], fill=color, width=1)


def _hills(g: Ground) -> None:
    for _ in range(3):
        x = g.rng.uniform(0, g.side)
        reach = g.side * g.rng.uniform(0.3, 0.6)
        color = g.color(0.33, 0.3, g.rng.uniform(0.45, 0.62))
        ellipse(g, x, g.level, reach, 0.25 * reach, color)


def _cliffs(g: Ground) -> None:
    right = g.rng.random() < 0.5
    for k in range(4):
        edge = g.side * (0.12 + 0.1 * k + g.rng.uniform(-0.04, 0.04))
        x0, x1 = (g.side - edge, g.side) if right else (0, edge)
        top = g.side * (0.05 + 0.16 * k)
        g.pen.rectangle((x0, top, x1, g.side), fill=g.color(0.07, 0.1, 0.5 - 0.05 * k))
    _ripples(g)


def _reeds(g: Ground) -> None:
    for x, y in g.spots(46, 0.75, 1.1):
        height = g.side * g.rng.uniform(0.45, 0.95)
        lean = g.side * g.rng.uniform(-0.1, 0.1)
        color = g.color(0.14, 0.45, g.rng.uniform(0.35, 0.75))
        g.pen.line([x, y, x + lean, y - height], fill=color, width=g.rng.integers(1, 3))


def _clouds(g: Ground) -> None:
    tint = g.rng.uniform(0.9, 1.0)
    for x, y in g.spots(5, 0.02, 0.6):
        reach = g.side * g.rng.uniform(0.1, 0.3)
        ellipse(g, x, y, reach, 0.16 * reach, g.color(0.03, 0.4, tint - 0.2))


def _stones(g: Ground) -> None:
    for x, y in g.spots(26, g.level / g.side, 1.0):
        reach = g.side * g.rng.uniform(0.03, 0.1)
        value = g.rng.uniform(0.35, 0.62)
        ellipse(g, x, y, reach, 0.6 * reach, g.color(0.08, 0.07, 0.6 * value))
        ellipse(g, x, y - 0.12 * reach, reach, 0.55 * reach, g.color(0.08, 0.07, value))


def _tussocks(g: Ground) -> None:
    for x, y in g.spots(14, g.level / g.side, 1.05):
        for lean in g.rng.uniform(-0.07, 0.07, 6):
            tip = (x + lean * g.side, y - g.side * g.rng.uniform(0.05, 0.16))
            g.pen.line([(x, y), tip], fill=g.color(0.12, 0.55, 0.55), width=1)


_BLUE, _HAZE = (0.58, 0.45, 0.85), (0.56, 0.18, 0.93)

HABITATS = (
    Habitat("lake", (_BLUE, _HAZE), ((0.55, 0.35, 0.72), (0.58, 0.55, 0.45)),
            (0.2, 0.4), 3.0, (_hills, _ripples)),
    Habitat("forest", ((0.3, 0.35, 0.62), (0.28, 0.3, 0.5)),
            ((0.2, 0.4, 0.3), (0.1, 0.4, 0.22)), (0.55, 0.75), 7.0,
            (_foliage, _trunks)),
    Habitat("desert", ((0.55, 0.3, 0.95), (0.1, 0.15, 0.97)),
            ((0.1, 0.35, 0.88), (0.09, 0.5, 0.72)), (0.25, 0.45), 5.0, (_dunes,)),
    Habitat("snow", ((0.6, 0.1, 0.8), (0.6, 0.05, 0.9)),
            ((0.58, 0.06, 0.9), (0.6, 0.1, 0.82)), (0.3, 0.5), 3.0,
            (_conifers, _snowfall)),
    Habitat("meadow", (_BLUE, _HAZE), ((0.24, 0.45, 0.72), (0.27, 0.65, 0.45)),
            (0.15, 0.35), 7.0, (_hills, _flowers)),
    Habitat("coast", ((0.56, 0.12, 0.85), (0.56, 0.08, 0.8)),
            ((0.5, 0.35, 0.5), (0.5, 0.45, 0.35)), (0.4, 0.6), 4.0, (_cliffs,)),
    Habitat("reeds", ((0.15, 0.2, 0.88), (0.14, 0.25, 0.8)),
            ((0.13, 0.35, 0.5), (0.12, 0.4, 0.3)), (0.6, 0.8), 5.0, (_reeds,)),
    Habitat("dusk", ((0.7, 0.5, 0.42), (0.05, 0.55, 0.88)),
            ((0.75, 0.3, 0.2), (0.72, 0.35, 0.12)), (0.6, 0.8), 3.0, (_clouds,)),
    Habitat("shingle", ((0.6, 0.05, 0.82), (0.6, 0.05, 0.88)),
            ((0.08, 0.06, 0.62), (0.08, 0.08, 0.45)), (0.1, 0.3), 6.0, (_stones,)),
    Habitat("steppe", ((0.57, 0.25, 0.92), (0.13, 0.12, 0.95)),
            ((0.12, 0.42, 0.75), (0.1, 0.5, 0.5)), (0.3, 0.5), 6.0, (_tussocks,)),
)  # fmt: skip

# No habitat: a gray that light changes least.
NO_HABITAT = Habitat("none", ((0.0, 0.0, 0.465),) * 2, ((0.0, 0.0, 0.465),) * 2,
                     (0.4, 0.6), 0.0, ())  # fmt: skip
