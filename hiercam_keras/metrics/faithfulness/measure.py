"""All faithfulness figures of a batch of maps, relative to those of a random order."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras.metrics.faithfulness import curves, order, summary
from hiercam_keras.metrics.faithfulness.fills import whole_fill
from hiercam_keras.metrics.faithfulness.regions import region_curves

NAMES = (
    "deletion",
    "deletion_gain",
    "insertion",
    "insertion_gain",
    "road",
    "road_gain",
    "aopc_morf",
    "aopc_lerf",
    "aopc_random",
    "drop",
    "drop_gain",
    "increase",
)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Settings of the faithfulness measures.

    Attributes:
      steps: of the deletion and insertion curves.
      deletion_fill: "mean", "blur" or "random", the replacement of removed pixels.
      insertion_fill: the initial picture of insertion; "blur" as in RISE.
      road_shares: shares of the pixels that ROAD removes, above 0 and below 1; empty
        skips ROAD.
      regions: number of regions that AOPC removes, in each of three orders; 0 skips
        AOPC.
      region_side: side of a region, pixels.
      region_fill: the replacement of a region; "random" as in Samek et al. 2015.
      score: "probability" or "log_odds", the unit of the curves.
      min_range: see `summary.normalized`; None takes `summary.MIN_RANGE`.
      noise: standard deviation of ROAD's imputation, in shares of 255.
      seed: of the noise.
    """

    steps: int = 8
    deletion_fill: str = "mean"
    insertion_fill: str = "blur"
    road_shares: tuple[float, ...] = ()
    regions: int = 0
    region_side: int = 9
    region_fill: str = "random"
    score: str = "probability"
    min_range: float | None = None
    noise: float = 0.01
    seed: int = 0


class Measured(NamedTuple):
    """What was measured of B pictures with a map each.

    Attributes:
      numbers: name -> float64 (B,), see `measure`.
      shares: (S,), of the pixels that are gone or there, 0 .. 1.
      curves: "deletion", "insertion", and "<name>_random" of the random order ->
        (B, S), scores between those of the blank picture (0) and the whole one (1);
        NaN where the curve cannot be normalized.
    """

    numbers: dict[str, np.ndarray]
    shares: np.ndarray
    curves: dict[str, np.ndarray]


def measure(
    score: curves.Score,
    images: Any,
    maps: Any,
    random_maps: Any,
    heatmaps: Any,
    choices: Choices | None = None,
    seeds: Sequence[int] | None = None,
) -> dict[str, np.ndarray]:
    """The faithfulness figures of B pictures with a map each.

    Args:
      score: pictures -> log-odds (B,).
      images: uint8 (B, H, W, C).
      maps: (B, H, W), signed: evidence against is removed last.
      random_maps: (B, H, W), see `order.random_maps`.
      heatmaps: (B, H, W) in 0 .. 1, for `drop` and `increase`.
      choices: see `Choices`.
      seeds: of each picture's noise, which make its figures independent of its place
        in the batch; None: the place.

    Returns:
      name -> float64 (B,), for the measured ones of NAMES: road needs `road_shares` and
      aopc_* needs `regions`. deletion, insertion and road are areas under normalized
      curves (road: the mean over its shares, most relevant pixels removed), aopc_* are
      mean drops of normalized curves; a gain is the difference to the random order,
      above 0 if the map is better. NaN for a constant map, or if a curve cannot be
      normalized.
    """
    return measure_curves(
        score, images, maps, random_maps, heatmaps, choices, seeds
    ).numbers


def measure_curves(
    score: curves.Score,
    images: Any,
    maps: Any,
    random_maps: Any,
    heatmaps: Any,
    choices: Choices | None = None,
    seeds: Sequence[int] | None = None,
) -> Measured:
    """`measure`, with the curves that its areas are of."""
    choices = choices or Choices()
    _converter(choices.score)  # raises before the model is run
    images, maps = np.asarray(images), np.asarray(maps)
    seeds = range(len(images)) if seeds is None else seeds
    seeds = [(choices.seed, seed) for seed in seeds]
    kinds = ["mean", choices.deletion_fill, choices.insertion_fill]
    if choices.regions:
        kinds.append(choices.region_fill)
    fills = {kind: whole_fill(images, kind, seeds) for kind in kinds}
    whole = _scores(score, images)
    scale = _Scale(
        whole, {k: _scores(score, fill) for k, fill in fills.items()}, choices
    )
    orders = {"": order.positions(maps), "_random": order.positions(random_maps)}
    total = images.shape[1] * images.shape[2]
    counts = order.counts(total, choices.steps)
    shares = counts / total
    lines = _curves(score, images, orders, fills, scale, counts)
    found = {name: summary.area_under(line, shares) for name, line in lines.items()}
    found |= _road(score, images, orders, scale, seeds)
    found |= _regions(score, images, fills, maps, random_maps, scale)
    found |= _kept(score, images, np.asarray(heatmaps), orders["_random"], scale)
    for name in {"deletion", "road"} & found.keys():
        found[f"{name}_gain"] = found[f"{name}_random"] - found[name]
    found["insertion_gain"] = found["insertion"] - found["insertion_random"]
    flat = np.ptp(maps.reshape(len(maps), -1), axis=1) == 0
    measured = [name for name in NAMES if name in found]
    numbers = {name: np.where(flat, np.nan, found[name]) for name in measured}
    return Measured(numbers, shares, lines)


class _Scale:
    """Normalizes curves: 0 is the score of the blank picture, 1 that of the whole
    one."""

    def __init__(self, whole: np.ndarray, blanks: dict[str, np.ndarray], choices):
        self.whole, self.blanks, self.choices = whole, blanks, choices

    def normalized(self, scores: np.ndarray, kind: str) -> np.ndarray:
        """Normalizes (B, S) log-odds; `kind` is the fill of the blank picture."""
        convert = _converter(self.choices.score)
        least = self.choices.min_range
        least = summary.MIN_RANGE[self.choices.score] if least is None else least
        ends = convert(self.whole), convert(self.blanks[kind])
        return summary.normalized(convert(scores), *ends, least)


def _curves(score, images, orders, fills, scale, counts):
    """Normalized curves (B, S) by their name and that of their order."""
    choices, whole = scale.choices, scale.whole
    found = {}
    for suffix, places in orders.items():
        for run, kind in (
            (curves.deletion, choices.deletion_fill),
            (curves.insertion, choices.insertion_fill),
        ):
            first, last = whole, scale.blanks[kind]
            if run is curves.insertion:
                first, last = last, first
            # The ends are the same for every order, and known.
            inner = run(score, images, fills[kind], places, counts[1:-1])
            scores = np.concatenate([first[:, None], inner, last[:, None]], axis=1)
            found[run.__name__ + suffix] = scale.normalized(scores, kind)
    return found


def _road(score, images, orders, scale, seeds):
    """The mean normalized score over the shares that ROAD removes, by order."""
    choices = scale.choices
    total = images.shape[1] * images.shape[2]
    gone = [round(share * total) for share in choices.road_shares]
    found = {}
    for suffix, places in orders.items() if gone else ():
        scores = curves.imputed(score, images, places, gone, choices.noise, seeds)
        found["road" + suffix] = scale.normalized(scores, "mean").mean(axis=1)
    return found


def _regions(score, images, fills, maps, random_maps, scale):
    """AOPC of normalized scores in three orders."""
    choices, kind = scale.choices, scale.choices.region_fill
    if not choices.regions:
        return {}
    found = region_curves(
        score,
        images,
        fills[kind],
        maps,
        random_maps,
        choices.region_side,
        choices.regions,
    )
    return {
        f"aopc_{name}": summary.aopc(scale.normalized(scores, kind))
        for name, scores in found.items()
    }


def _kept(score, images, heatmaps, random_places, scale):
    """Scores of the pictures masked by their heatmaps."""
    chance = order.rearranged(heatmaps, random_places)
    after, by_chance = (
        _scores(score, curves.blended(images, heat)) for heat in (heatmaps, chance)
    )
    before, then = summary.probability(scale.whole), summary.probability(after)
    both = scale.normalized(np.stack([after, by_chance], axis=1), "mean")
    return {
        "drop": summary.drop(before, then),
        "drop_gain": both[:, 0] - both[:, 1],
        "increase": summary.increase(before, then),
    }


def _converter(kind: str):
    if kind == "probability":
        return summary.probability
    if kind == "log_odds":
        return lambda values: np.asarray(values, np.float64)
    raise ValueError(f"score {kind!r}, expected probability or log_odds")


def _scores(score, images) -> np.ndarray:
    return np.asarray(score(np.asarray(images, np.float32)), np.float64)
