"""The appearance of a bird, in four separate channels.

A `Look` has one value in each channel: body plan, form of bill and tail, wing
pattern, and the place of a bright patch. In the embedded data they carry order,
family, genus and species; in pretraining their roles differ for each tree. The presets
are the looks of the embedded data; `random_*` draws looks for pretraining that differ
from every preset, so pretrained weights have not seen the traits of the embedded study.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CHANNELS = ("body", "bill_tail", "wing", "patch_place")


@dataclass(frozen=True)
class BodyPlan:
    """Proportions of body, neck, head and legs; lengths in units of the bird.

    One unit is the diameter of a ball with about the body's area.
    """

    elongation: float  # body length / depth, 1.1 .. 2.1
    pitch: float  # degrees of the body's axis above the horizon, -10 .. 75
    neck: float  # length between shoulder and head, 0 .. 0.55
    neck_width: float  # diameter, 0.16 .. 0.36
    head: float  # radius, 0.22 .. 0.34
    leg: float  # length, 0.12 .. 0.46


@dataclass(frozen=True)
class BillTail:
    """Form of the bill and of the tail, which go together."""

    bill_length: float  # 0.18 .. 0.46
    bill_depth: float  # at the base, 0.15 .. 0.28
    bill_curve: float  # -1 up, 0 straight, 1 down
    bill_tip: float  # width of the tip / base: 0 pointed .. 1.3 spoon
    tail_length: float  # 0.34 .. 0.56
    tail_width: float  # at the end, 0.26 .. 0.66
    tail_fork: float  # -0.5 wedge .. 0 square .. 0.65 deep fork
    tail_angle: float  # degrees above the body's axis, -30 .. 60


@dataclass(frozen=True)
class WingPattern:
    """Marks on the folded wing."""

    kind: str  # one of WING_KINDS
    count: int  # bars, chevrons or rows of spots, 2 .. 5
    angle: float  # degrees of the bars to the wing's axis, 0 lengthwise, 90 across
    duty: float  # share of a period that is marked, 0.3 .. 0.6


@dataclass(frozen=True)
class PatchPlace:
    """Site of the patch on the outline of the head or of the body.

    The angle runs from the front (head: the bill; body: the end of its axis at the
    shoulder) over the top (90) to the rear (180); below is negative.
    """

    on_head: bool
    angle: float  # degrees, -180 .. 180


@dataclass(frozen=True)
class Look:
    """One value per channel: the heritable traits of a bird."""

    body: BodyPlan
    bill_tail: BillTail
    wing: WingPattern
    patch_place: PatchPlace


WING_KINDS = ("bars", "spots", "chevrons", "half")

BODY_PLANS = {
    "duck": BodyPlan(1.8, 4.0, 0.22, 0.28, 0.24, 0.12),
    "heron": BodyPlan(1.4, 36.0, 0.46, 0.23, 0.23, 0.46),
    "songbird": BodyPlan(1.2, 30.0, 0.0, 0.36, 0.30, 0.22),
    "owl": BodyPlan(1.6, 74.0, 0.0, 0.36, 0.34, 0.12),
    "rail": BodyPlan(1.35, -10.0, 0.32, 0.3, 0.23, 0.34),
    "gull": BodyPlan(2.1, 26.0, 0.04, 0.32, 0.24, 0.26),
}

BILL_TAILS = {
    "dagger_fork": BillTail(0.42, 0.19, 0.0, 0.0, 0.44, 0.66, 0.62, 12.0),
    "hook_fan": BillTail(0.2, 0.27, 0.8, 0.35, 0.36, 0.72, -0.3, 8.0),
    "sickle_ribbon": BillTail(0.46, 0.2, 0.9, 0.25, 0.58, 0.30, -0.15, -12.0),
    "spoon_cocked": BillTail(0.38, 0.17, -0.2, 1.3, 0.36, 0.42, 0.0, 55.0),
}

WING_PATTERNS = {
    "bars": WingPattern("bars", 3, 90.0, 0.42),
    "spots": WingPattern("spots", 3, 0.0, 0.5),
    "streaks": WingPattern("bars", 3, 0.0, 0.4),
    "half": WingPattern("half", 2, 90.0, 0.5),
}

PATCH_PLACES = {
    "crown": PatchPlace(True, 95.0),
    "breast": PatchPlace(False, -42.0),
    "rump": PatchPlace(False, 145.0),
    "belly": PatchPlace(False, -112.0),
}

PRESETS: dict[str, tuple] = {
    "body": tuple(BODY_PLANS.values()),
    "bill_tail": tuple(BILL_TAILS.values()),
    "wing": tuple(WING_PATTERNS.values()),
    "patch_place": tuple(PATCH_PLACES.values()),
}


def distance(a, b) -> float:
    """Visual distance of two values of one channel; about 1 is a clear difference."""
    if isinstance(a, BodyPlan):
        steps = (
            4.0 * math.log(a.elongation / b.elongation),
            (a.pitch - b.pitch) / 25.0,
            (a.neck - b.neck) / 0.2,
            (a.head - b.head) / 0.08,
            (a.leg - b.leg) / 0.2,
        )
    elif isinstance(a, BillTail):
        steps = (
            (a.bill_length - b.bill_length) / 0.2,
            (a.bill_depth - b.bill_depth) / 0.1,
            (a.bill_curve - b.bill_curve) / 0.9,
            (a.bill_tip - b.bill_tip) / 0.8,
            (a.tail_length - b.tail_length) / 0.25,
            (a.tail_width - b.tail_width) / 0.2,
            (a.tail_fork - b.tail_fork) / 0.5,
            (a.tail_angle - b.tail_angle) / 35.0,
        )
    elif isinstance(a, WingPattern):
        if a.kind != b.kind:
            return 1.5
        turn = abs((a.angle - b.angle + 90.0) % 180.0 - 90.0)
        steps = ((a.count - b.count) / 2.0, turn / 40.0)
    else:
        ax, ay = _site(a)
        bx, by = _site(b)
        steps = ((ax - bx) / 0.3, (ay - by) / 0.3)
    return math.hypot(*steps)


def _site(place: PatchPlace) -> tuple[float, float]:
    """Rough place on a generic bird, to compare sites of head and body."""
    radians = math.radians(place.angle)
    if place.on_head:
        return 0.6 + 0.17 * math.cos(radians), 0.45 + 0.3 * math.sin(radians)
    return 0.5 * math.cos(radians), 0.33 * math.sin(radians)


def random_body(rng: np.random.Generator) -> BodyPlan:
    """A body plan from the broad ranges, unlike every preset."""
    return _far_from_presets("body", lambda: _draw_body(rng))


def random_bill_tail(rng: np.random.Generator) -> BillTail:
    """A form of bill and tail from the broad ranges, unlike every preset."""
    return _far_from_presets("bill_tail", lambda: _draw_bill_tail(rng))


def random_wing(rng: np.random.Generator) -> WingPattern:
    """A wing pattern from the broad ranges, unlike every preset."""
    return _far_from_presets("wing", lambda: _draw_wing(rng))


def random_patch_place(rng: np.random.Generator) -> PatchPlace:
    """A patch site from the whole outline, away from every preset."""
    return _far_from_presets("patch_place", lambda: _draw_patch_place(rng))


RANDOM: dict[str, Callable[[np.random.Generator], object]] = {
    "body": random_body,
    "bill_tail": random_bill_tail,
    "wing": random_wing,
    "patch_place": random_patch_place,
}

# Values of one tree must be distinguishable at 128 px; a value of pretraining must not
# be taken for a preset. Sites are few, so their bounds are tighter.
APART = {"body": 1.3, "bill_tail": 1.6, "wing": 0.9, "patch_place": 0.85}
AWAY_FROM_PRESETS = {"body": 0.7, "bill_tail": 0.9, "wing": 0.6, "patch_place": 0.55}


def random_values(channel: str, count: int, rng: np.random.Generator) -> tuple:
    """`count` clearly different values of a channel for pretraining."""
    values: list = []
    bound = APART[channel]
    while len(values) < count:
        value = RANDOM[channel](rng)
        if all(distance(value, other) >= bound for other in values):
            values.append(value)
        else:
            bound *= 0.995  # a badly placed first value must not prevent a result
    return tuple(values)


def _far_from_presets(channel: str, draw: Callable[[], object]):
    presets: Sequence = PRESETS[channel]
    bound = AWAY_FROM_PRESETS[channel]
    while True:
        value = draw()
        if all(distance(value, preset) >= bound for preset in presets):
            return value


def _draw_body(rng: np.random.Generator) -> BodyPlan:
    neck = max(0.0, rng.uniform(-0.2, 0.55))
    return BodyPlan(
        elongation=rng.uniform(1.1, 2.1),
        pitch=rng.uniform(-10.0, 75.0),
        neck=neck,
        neck_width=rng.uniform(0.2, 0.36),
        head=rng.uniform(0.22, 0.34),
        leg=rng.uniform(0.12, 0.46),
    )


def _draw_bill_tail(rng: np.random.Generator) -> BillTail:
    return BillTail(
        bill_length=rng.uniform(0.18, 0.46),
        bill_depth=rng.uniform(0.15, 0.28),
        bill_curve=rng.uniform(-0.8, 1.0),
        bill_tip=max(0.0, rng.uniform(-0.5, 1.3)),
        tail_length=rng.uniform(0.34, 0.56),
        tail_width=rng.uniform(0.26, 0.66),
        tail_fork=rng.uniform(-0.5, 0.65),
        tail_angle=rng.uniform(-25.0, 55.0),
    )


def _draw_wing(rng: np.random.Generator) -> WingPattern:
    return WingPattern(
        kind=WING_KINDS[rng.integers(len(WING_KINDS))],
        count=int(rng.integers(2, 6)),
        angle=rng.uniform(0.0, 180.0),
        duty=rng.uniform(0.35, 0.55),
    )


def _draw_patch_place(rng: np.random.Generator) -> PatchPlace:
    on_head = bool(rng.random() < 0.35)
    # The bill is at the head's front, the shoulder at the body's: no site there.
    low, high = (-110.0, 200.0) if on_head else (-200.0, 110.0)
    angle = rng.uniform(low, high)
    if on_head and -45.0 < angle < 35.0:
        angle += 95.0
    return PatchPlace(on_head, (angle + 180.0) % 360.0 - 180.0)
