"""Builds the shapes of a bird from its look, in the bird's own plane.

The bird looks to the right, y points up, the middle of its body is the origin, and
one unit is about the diameter of its body. `draw` places the shapes in a picture.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from hiercam_keras.birds.traits import (
    BillTail,
    BodyPlan,
    Look,
)


@dataclass(frozen=True)
class Posture:
    """The posture of a bird in one picture, independent of all labels."""

    pitch: float = 0.0  # degrees added to the body's
    neck_turn: float = 0.0  # degrees
    head_tilt: float = 0.0  # degrees
    tail_turn: float = 0.0  # degrees
    stride: float = 0.1  # distance between the feet
    plump: float = 1.0  # factor on the body's depth


@dataclass(frozen=True)
class Anatomy:
    """Shapes in units; circles are rows (x, y, radius), polygons rows (x, y)."""

    body: np.ndarray
    underparts: np.ndarray
    head: tuple[float, float, float]
    bill: np.ndarray
    gape: np.ndarray  # the line between the mandibles
    tail: np.ndarray
    tail_feathers: tuple[np.ndarray, ...]
    wing: np.ndarray
    wing_frame: np.ndarray  # rows: origin, along, across; marks live in this frame
    legs: tuple[np.ndarray, ...]
    eye: tuple[float, float, float]
    spine: "Spine"
    tilt: float  # of the head, radians
    leg_width: float


def random_posture(rng: np.random.Generator) -> Posture:
    """A random posture that keeps the traits of every look visible."""
    return Posture(
        pitch=rng.uniform(-5.0, 5.0),
        neck_turn=rng.uniform(-9.0, 9.0),
        head_tilt=rng.uniform(-10.0, 10.0),
        tail_turn=rng.uniform(-6.0, 6.0),
        stride=rng.uniform(0.04, 0.2),
        plump=rng.uniform(0.96, 1.08),
    )


def changed_posture(posture: Posture, rng: np.random.Generator) -> Posture:
    """The posture of the same bird a moment later."""
    return dataclasses.replace(
        posture,
        pitch=posture.pitch + rng.uniform(-1.0, 1.0),
        neck_turn=posture.neck_turn + rng.uniform(-3.0, 3.0),
        head_tilt=posture.head_tilt + rng.uniform(-4.0, 4.0),
        tail_turn=posture.tail_turn + rng.uniform(-2.0, 2.0),
    )


def build(look: Look, posture: Posture) -> Anatomy:
    """Shapes of a bird with this look in this posture, but for the patch."""
    plan = look.body
    length = 1.0 * math.sqrt(plan.elongation)
    depth = 1.0 / math.sqrt(plan.elongation) * posture.plump
    pitch = math.radians(plan.pitch + posture.pitch)
    along = np.array([math.cos(pitch), math.sin(pitch)])
    across = np.array([-along[1], along[0]])
    spine = Spine(along, across, length, depth / 2.0)
    neck, head = _neck_and_head(plan, posture, spine)
    torso = spine.circles(np.linspace(-1.0, 1.0, 15))
    belly = spine.circles(np.linspace(-0.75, 0.9, 9))
    belly[:, 2] *= 0.74
    belly[:, :2] -= across * (0.36 * belly[:, 2:3])
    tilt = math.radians(posture.head_tilt)
    bill, gape = _bill(look.bill_tail, head, tilt)
    tail, feathers = _tail(look.bill_tail, spine, math.radians(posture.tail_turn))
    wing, frame = _wing(spine)
    eye_turn = tilt + math.radians(22.0)
    eye = (
        head[0] + 0.42 * head[2] * math.cos(eye_turn),
        head[1] + 0.42 * head[2] * math.sin(eye_turn),
        0.17 * head[2],
    )
    return Anatomy(
        body=np.concatenate([torso, neck, [head]]),
        underparts=belly,
        head=head,
        bill=bill,
        gape=gape,
        tail=tail,
        tail_feathers=feathers,
        wing=wing,
        wing_frame=frame,
        legs=_legs(plan, posture, spine),
        eye=eye,
        spine=spine,
        tilt=tilt,
        leg_width=0.06,
    )


@dataclass(frozen=True)
class Spine:
    """The body as circles along its axis; t runs from -1 (tail) to 1 (shoulder)."""

    along: np.ndarray
    across: np.ndarray  # towards the back
    length: float
    radius: float

    def thickness(self, t: np.ndarray | float):
        # Fullest a little before the middle, a blunt shoulder, a tapering rear.
        rear = np.clip(0.15 - np.asarray(t, dtype=np.float64), 0.0, None)
        front = np.clip(np.asarray(t, dtype=np.float64) - 0.15, 0.0, None)
        return self.radius * (1.0 - 0.52 * rear**1.9 - 0.38 * front**2.0)

    @property
    def reach(self) -> float:
        """Distance from the middle to the outermost circles."""
        return self.length / 2.0 - 0.42 * self.radius

    def point(self, t: np.ndarray | float) -> np.ndarray:
        return np.asarray(t, dtype=np.float64)[..., None] * self.reach * self.along

    def circles(self, t: np.ndarray) -> np.ndarray:
        return np.concatenate([self.point(t), self.thickness(t)[:, None]], axis=1)


def _neck_and_head(plan: BodyPlan, posture: Posture, spine: Spine):
    """Circles from the shoulder to the head, and the head's circle."""
    shoulder = spine.point(0.8) + spine.across * (0.25 * spine.radius)
    lean = math.radians(66.0 + posture.neck_turn)
    toward = np.array([math.cos(lean), math.sin(lean)])
    gap = plan.neck + 0.55 * plan.head + 0.25 * spine.radius
    head_at = shoulder + gap * toward
    # The control point pulls the neck forward at its base: a gentle S.
    control = shoulder + 0.45 * gap * spine.along + 0.12 * gap * toward
    s = np.linspace(0.0, 1.0, 5 + int(14 * plan.neck))[:, None]
    line = (1 - s) ** 2 * shoulder + 2 * s * (1 - s) * control + s**2 * head_at
    base = 0.72 * spine.radius
    narrow = min(plan.neck_width / 2.0, plan.head * 0.9)
    fade = np.clip(1.0 - s * (1.2 + 1.6 * plan.neck), 0.0, 1.0) ** 1.3
    radii = narrow + (max(base, narrow) - narrow) * fade
    head = (float(head_at[0]), float(head_at[1]), plan.head)
    return np.concatenate([line, radii], axis=1), head


def _bill(form: BillTail, head: tuple[float, float, float], tilt: float):
    """Outline of the bill and the line of the gape."""
    s = np.linspace(0.0, 1.0, 8)
    length = form.bill_length + 0.45 * head[2]
    start = 0.55 * head[2]
    droop = -0.42 * form.bill_curve * length * s**2.2
    taper = 1.0 - (1.0 - form.bill_tip) * s**1.25
    if form.bill_tip > 0.8:  # a spoon is narrow before its tip
        taper = taper * (1.0 - 0.55 * np.sin(math.pi * s) ** 2)
    half = 0.5 * form.bill_depth * np.clip(taper, 0.02, None)
    x = start + length * s
    top = np.stack([x, droop + half], axis=1)
    low = np.stack([x, droop - half], axis=1)
    gape = np.stack([x, droop - 0.15 * half], axis=1)[:6]
    tip = np.array([[x[-1] + 0.5 * half[-1], droop[-1] - 0.3 * half[-1]]])
    outline = np.concatenate([top, tip, low[::-1]])
    center = np.array(head[:2])
    return turned(outline, tilt) + center, turned(gape, tilt) + center


def _tail(form: BillTail, spine: Spine, turn: float):
    """Outline of the tail and lines between its feathers."""
    base = spine.point(-0.95)
    half_base = 0.78 * float(spine.thickness(-0.95))
    half_end = 0.5 * form.tail_width
    length = form.tail_length + 0.1 + 0.6 * float(spine.thickness(-1.0))
    fork = form.tail_fork * form.tail_length
    # Along the axis out of the tail; y is the side.
    outline = np.array(
        [
            [0.0, half_base],
            [0.45 * length, 0.55 * half_base + 0.42 * half_end],
            [length - max(-fork, 0.0), half_end],
            [length - max(-fork, 0.0) + 0.02, 0.8 * half_end],
            [length - max(fork, 0.0), 0.0],
            [length - max(-fork, 0.0) + 0.02, -0.8 * half_end],
            [length - max(-fork, 0.0), -half_end],
            [0.45 * length, -0.55 * half_base - 0.42 * half_end],
            [0.0, -half_base],
        ]
    )
    out = math.atan2(-spine.along[1], -spine.along[0])
    # Looking right, the tail points left: up is clockwise from there.
    heading = out - math.radians(form.tail_angle) + turn
    feathers = tuple(
        turned(
            np.array([[0.35 * length, f * half_base], [0.9 * length, f * half_end]]),
            heading,
        )
        + base
        for f in (-0.55, 0.0, 0.55)
    )
    return turned(outline, heading) + base, feathers


def _wing(spine: Spine):
    """Outline of the folded wing and the frame of its marks."""
    along, across = -spine.along, spine.across
    length = 0.84 * spine.length
    width = 1.4 * spine.radius
    origin = spine.point(0.72) + across * (-0.05 * spine.radius)
    s = np.concatenate([[0.0, 0.01, 0.04], np.linspace(0.1, 1.0, 10)])
    round_front = np.sqrt(1.0 - (1.0 - np.clip(s / 0.42, 0.0, 1.0)) ** 2)
    taper = 1.0 - np.clip((s - 0.42) / 0.58, 0.0, 1.0) ** 1.7
    sag = -0.06 * s**1.5  # the tip hangs a little below the back
    top = np.stack([s * length, (0.5 * round_front * taper + sag) * width], axis=1)
    low = np.stack([s * length, (sag - 0.56 * round_front * taper) * width], axis=1)
    outline = np.concatenate([top, low[:0:-1]])
    basis = np.stack([along, across])
    frame = np.stack([origin, along * length, across * width])
    return outline @ basis + origin, frame


def _legs(plan: BodyPlan, posture: Posture, spine: Spine) -> tuple[np.ndarray, ...]:
    """Two legs as polylines, hip to toes, then the other toes."""
    t = -0.12 - 0.3 * max(0.0, float(spine.along[1])) ** 2
    hip = spine.point(t)
    down = -math.sqrt(
        (spine.thickness(t) * abs(spine.along[0])) ** 2
        + (0.5 * spine.length * spine.along[1] * 0.8) ** 2
    )
    ground = float(hip[1] + down - plan.leg)
    legs = []
    for side in (-0.5, 0.5):
        x = float(hip[0]) + side * (posture.stride + 0.16)
        knee = [x - 0.22 * plan.leg, ground + 0.55 * plan.leg]
        foot = [x, ground]
        legs.append(
            np.array(
                [
                    [x, hip[1] + 0.7 * down],
                    knee,
                    foot,
                    [x + 0.16, ground - 0.03],
                    foot,
                    [x + 0.12, ground - 0.075],
                    foot,
                    [x - 0.09, ground - 0.02],
                ]
            )
        )
    return tuple(legs)


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Points (N, 2) turned counter-clockwise by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s], [-s, c]])
