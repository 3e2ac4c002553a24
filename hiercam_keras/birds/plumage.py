"""Colors that carry no label.

Plumage, bill and legs are muted and drawn again for each picture; only the patch is
bright, and its hue is random too.
"""

import colorsys

import numpy as np

RGB = tuple[int, int, int]


def rgb(hue: float, saturation: float, value: float) -> RGB:
    """HSV in 0..1 to RGB in 0..255."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)


def bright(rng: np.random.Generator) -> RGB:
    """The color of a patch: saturated and light, of any hue."""
    return rgb(rng.random(), rng.uniform(0.85, 1.0), rng.uniform(0.88, 1.0))


def mixed(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with a share (0..1) of `b`."""
    return tuple(int(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def random_palette(rng: np.random.Generator) -> dict[str, RGB]:
    """Colors of one bird by region: browns, grays, slate, olive, buff."""
    hue = rng.choice([0.06, 0.09, 0.12, 0.18, 0.58, 0.62]) + rng.uniform(-0.02, 0.02)
    saturation = rng.uniform(0.05, 0.34)
    value = rng.uniform(0.3, 0.72)
    upper = rgb(hue, saturation, value)
    pale = rgb(hue + rng.uniform(-0.03, 0.03), 0.5 * saturation, min(1.0, value + 0.25))
    under = mixed(upper, pale, rng.uniform(0.35, 1.0))
    head = mixed(upper, rgb(hue, saturation, rng.uniform(0.25, 0.8)), 0.6)
    # Marks must be visible whichever of the two is the darker one.
    dark_wing = rng.random() < 0.55
    wing_value = rng.uniform(0.2, 0.34) if dark_wing else rng.uniform(0.66, 0.8)
    mark_value = rng.uniform(0.82, 0.97) if dark_wing else rng.uniform(0.12, 0.28)
    wing = rgb(hue, 0.8 * saturation, wing_value)
    mark = rgb(hue + 0.02, 0.5 * saturation, mark_value)
    bill = rgb(rng.uniform(0.06, 0.14), rng.uniform(0.1, 0.55), rng.uniform(0.3, 0.8))
    tail = mixed(upper, rgb(hue, saturation, rng.uniform(0.2, 0.6)), 0.7)
    leg = rgb(rng.uniform(0.04, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.65))
    black, white = (14, 12, 12), (250, 250, 246)
    return {
        "background": upper,
        "tail": tail,
        "tail_line": mixed(tail, black, 0.45),
        "upper": upper,
        "under": under,
        "head": head,
        "bill": bill,
        "gape": mixed(bill, black, 0.6),
        "wing": wing,
        "wing_mark": mark,
        "wing_edge": mixed(upper, black, 0.4),
        "patch": bright(rng),
        "eye_ring": mixed(head, white, rng.uniform(0.3, 0.9)),
        "eye": black,
        "glint": white,
        "leg": leg,
        "far_leg": mixed(leg, black, 0.25),
    }
