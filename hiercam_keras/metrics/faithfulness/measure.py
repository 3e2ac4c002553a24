"""faithfulness: every number of a batch of maps, beside those of a random order."""

import dataclasses
from typing import Any

import numpy as np

from hiercam_keras.metrics.faithfulness import curves, order, summary
from hiercam_keras.metrics.faithfulness.fills import whole_fill

NAMES = (
    "deletion",
    "deletion_gain",
    "insertion",
    "insertion_gain",
    "road",
    "road_gain",
    "drop",
    "increase",
)


@dataclasses.dataclass(frozen=True)
class Choices:
    """How faithfulness is measured.

    Attributes:
      steps: of the deletion and insertion curves.
      deletion_fill: "mean", "blur" or "random": what stands where pixels are gone.
      insertion_fill: on what they appear; "blur" as in RISE.
      road_shares: shares of the pixels that ROAD removes, above 0 and below 1; empty
        leaves ROAD out.
      score: "probability" or "log_odds", what the curves are of.
      min_range: see `summary.normalized`; None takes `summary.MIN_RANGE`.
      noise: of ROAD's filling.
      seed: of noise.
    """

    steps: int = 8
    deletion_fill: str = "mean"
    insertion_fill: str = "blur"
    road_shares: tuple[float, ...] = ()
    score: str = "probability"
    min_range: float | None = None
    noise: float = 0.01
    seed: int = 0


def measure(
    score: curves.Score,
    images: Any,
    maps: Any,
    random_maps: Any,
    heatmaps: Any,
    choices: Choices | None = None,
) -> dict[str, np.ndarray]:
    """The numbers of B pictures with a map each.

    Args:
      score: pictures -> log-odds (B,).
      images: uint8 (B, H, W, C).
      maps: (B, H, W), signed: evidence against goes last.
      random_maps: (B, H, W), see `order.random_maps`.
      heatmaps: (B, H, W) in 0 .. 1, for `drop` and `increase`.
      choices: see `Choices`.

    Returns:
      NAMES -> float64 (B,). deletion, insertion and road are areas under normalized
      curves (road: the mean over its shares, the most relevant removed); a gain is the
      distance to the random order, above 0 where the map is better. NaN where a map is
      constant, and where a curve cannot be normalized; road too where it was left out.
    """
    choices = choices or Choices()
    _converter(choices.score)  # a wrong one shows before the model is asked
    images, maps = np.asarray(images), np.asarray(maps)
    seeds = [(choices.seed, number) for number in range(len(images))]
    fills = {
        kind: whole_fill(images, kind, seeds)
        for kind in ("mean", choices.deletion_fill, choices.insertion_fill)
    }
    whole = _scores(score, images)
    found = _areas(
        score,
        images,
        {"": order.positions(maps), "_random": order.positions(random_maps)},
        fills,
        whole,
        choices,
        seeds,
    )
    before = summary.probability(whole)
    after = summary.probability(_scores(score, curves.blended(images, heatmaps)))
    found["drop"] = summary.drop(before, after)
    found["increase"] = summary.increase(before, after)
    for name in ("deletion", "road"):
        found[f"{name}_gain"] = found[f"{name}_random"] - found[name]
    found["insertion_gain"] = found["insertion"] - found["insertion_random"]
    flat = np.ptp(maps.reshape(len(maps), -1), axis=1) == 0
    return {name: np.where(flat, np.nan, found[name]) for name in NAMES}


def _areas(score, images, orders, fills, whole, choices, seeds):
    """The area under each normalized curve, by its name and that of its order."""
    convert = _converter(choices.score)
    least = choices.min_range
    least = summary.MIN_RANGE[choices.score] if least is None else least
    blanks = {kind: _scores(score, fill) for kind, fill in fills.items()}
    total = images.shape[1] * images.shape[2]
    counts = order.counts(total, choices.steps)
    gone = [round(share * total) for share in choices.road_shares]

    def normalized(scores, kind):
        ends = convert(whole), convert(blanks[kind])
        return summary.normalized(convert(scores), *ends, least)

    found = {}
    for suffix, places in orders.items():
        for run, kind in (
            (curves.deletion, choices.deletion_fill),
            (curves.insertion, choices.insertion_fill),
        ):
            first, last = whole, blanks[kind]
            if run is curves.insertion:
                first, last = last, first
            # The ends are known: they are the same for every order.
            inner = run(score, images, fills[kind], places, counts[1:-1])
            scores = np.concatenate([first[:, None], inner, last[:, None]], axis=1)
            area = summary.area_under(normalized(scores, kind), counts / total)
            found[run.__name__ + suffix] = area
        found["road" + suffix] = np.full(len(images), np.nan)
        if gone:
            scores = curves.imputed(score, images, places, gone, choices.noise, seeds)
            found["road" + suffix] = normalized(scores, "mean").mean(axis=1)
    return found


def _converter(kind: str):
    if kind == "probability":
        return summary.probability
    if kind == "log_odds":
        return lambda values: np.asarray(values, np.float64)
    raise ValueError(f"score {kind!r}, expected probability or log_odds")


def _scores(score, images) -> np.ndarray:
    return np.asarray(score(np.asarray(images, np.float32)), np.float64)
