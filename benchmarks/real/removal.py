"""Pictures without their background or bird, and how far scores fall. Pure functions.

A picture is what the network sees, float32 (H, W, 3) in 0 .. 255, and a mask is bool
(H, W). The background is what is outside the box of the bird and a margin, the bird is
what is inside the box. Each is replaced in these ways:

- "blur": a Gaussian blur that is made of the pixels of the mask alone, so that nothing
  of the bird bleeds into the background. Fine structure goes, colors and light stay;
- "mean": the mean color of the picture. Structure and color go; a surface of one color
  with the outline of the box is nothing that a network was trained on;
- "other": another photograph without its bird. It is as sharp and as colored as a
  photograph is; what it shows has evidence of its own, and it does not fit at the edge.

The control is the same mask moved cyclically by drawn offsets, with the same
replacement: as many pixels in the same shape, but anywhere in the picture.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.ndimage

from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.evaluation import causal_effects
from hiercam_keras.metrics.faithfulness import fills

MARGIN = 8  # px around the box that are neither bird nor background
BLUR = 0.05  # sigma in shares of the side, as in `fills.whole_fill`
MIN_BACKGROUND = 0.1  # share of a picture; below, there is nothing to take away
DRAWS = 4  # moved masks, and other photographs

HOWS = ("blur", "mean", "other")
# Part -> how it is replaced. "elsewhere" and "elsewhere_bird" are the moved masks of
# background and bird, "all" is the whole picture.
PARTS = {
    "background": HOWS,
    "elsewhere": HOWS,
    "bird": HOWS[:2],
    "elsewhere_bird": HOWS[:2],
    "all": HOWS,
}
CHANGES = tuple((part, how) for part, hows in PARTS.items() for how in hows)

SCORES = ("marginal", "log_odds", "step")


def masks(
    box: Sequence[float], size: int, margin: float = MARGIN
) -> tuple[np.ndarray, np.ndarray]:
    """Background and bird of a picture: two bool (size, size).

    Args:
      box: x0, y0, x1, y1 in pixels of the picture; it may reach beyond it.
      size: side of the picture.
      margin: pixels between the bird and the background.
    """
    centers = np.arange(size) + 0.5

    def inside(grown: float) -> np.ndarray:
        x0, y0, x1, y1 = box
        across = (centers > x0 - grown) & (centers < x1 + grown)
        down = (centers > y0 - grown) & (centers < y1 + grown)
        return down[:, None] & across[None]

    return ~inside(margin), inside(0)


def moved(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The mask moved cyclically by `count` uniform offsets: bool (count, H, W)."""
    offsets = rng.integers(0, mask.shape, (count, 2))
    return np.stack([np.roll(mask, tuple(offset), (0, 1)) for offset in offsets])


def blurred(picture: np.ndarray, mask: np.ndarray, sigma: float = BLUR) -> np.ndarray:
    """The picture with the mask blurred, of the mask's own pixels: (H, W, 3).

    A Gaussian mean over the pixels of the mask (normalized convolution).
    """
    width = sigma * max(mask.shape)
    kept = mask.astype(np.float64)

    def smooth(values: np.ndarray) -> np.ndarray:
        axes = (0, 1)
        return scipy.ndimage.gaussian_filter(values, width, axes=axes, mode="nearest")

    share = np.where(mask, smooth(kept), 1.0)
    own = smooth(picture * kept[..., None]) / share[..., None]
    return _put(picture, mask, own)


def replaced(
    picture: np.ndarray, mask: np.ndarray, how: str, other: np.ndarray | None = None
) -> np.ndarray:
    """The picture with the pixels of the mask replaced: float32 (H, W, 3).

    Args:
      picture: (H, W, 3); all its pixels outside the mask are kept.
      mask: bool (H, W).
      how: one of HOWS.
      other: (H, W, 3), of "other".
    """
    if how == "blur":
        return blurred(picture, mask)
    if how == "mean":
        return _put(picture, mask, fills.whole_fill(picture[None], "mean")[0])
    return _put(picture, mask, other)


def without_bird(picture: np.ndarray, background: np.ndarray, seed: int) -> np.ndarray:
    """The picture with all but its background imputed linearly from it (ROAD)."""
    return fills.linear_fill(picture, ~background, seed=seed)


def changed(
    picture: np.ndarray,
    box: Sequence[float],
    others: Sequence[np.ndarray],
    rng: np.random.Generator,
    margin: float = MARGIN,
) -> dict[tuple[str, str], np.ndarray]:
    """Every change of a picture: (part, how) of CHANGES -> float32 (K, H, W, 3).

    Args:
      picture: (H, W, 3).
      box: of the bird, see `masks`.
      others: photographs without their birds, each (H, W, 3); one for each moved mask.
      rng: draws the offsets.
      margin: see `masks`.

    Returns:
      K is the number of `others` for "other" and for moved masks, otherwise 1.
    """
    background, bird = masks(box, len(picture), margin)
    places = {
        "background": background[None],
        "elsewhere": moved(background, len(others), rng),
        "bird": bird[None],
        "elsewhere_bird": moved(bird, len(others), rng),
        "all": np.ones_like(bird)[None],
    }
    found = {}
    for part, how in CHANGES:
        at = places[part]
        if how == "other":
            at = np.broadcast_to(at, (len(others), *bird.shape))
        given = others if how == "other" else [None] * len(at)
        pairs = zip(at, given, strict=True)
        found[part, how] = np.stack(
            [replaced(picture, mask, how, other) for mask, other in pairs]
        )
    return found


def scores(
    space: ScoreSpace, logits: np.ndarray, labels: Mapping[str, int]
) -> dict[tuple[str, str], np.ndarray]:
    """Scores of the taxa of one picture: (score, rank) -> float64 (K,), in nats.

    - "marginal": s_n, the logsumexp of the logits below the taxon, which plain maps
      explain;
    - "log_odds": log P(taxon)/(1 - P(taxon)), of the taxon among all of its rank;
    - "step": of the taxon among the children of its parent. NaN for an only child.

    Args:
      space: of the network.
      logits: (K, C), of the picture with K changes.
      labels: rank -> the label of the taxon.
    """
    asked = {rank: np.full(len(logits), label) for rank, label in labels.items()}
    found = causal_effects.scores_of(space, logits, asked, asked)
    total = np.logaddexp.reduce(np.asarray(logits, np.float64), axis=1)
    values = {}
    for place, rank in enumerate(labels):
        marginal = found["marginal"][:, place]
        values["marginal", rank] = marginal
        values["log_odds", rank] = -np.log(np.expm1(total - marginal))
        values["step", rank] = found["log_odds"][:, place]
    return values


def falls(
    network: Callable[[np.ndarray], np.ndarray],
    space: ScoreSpace,
    picture: np.ndarray,
    changes: Mapping[tuple[str, str], np.ndarray],
    labels: Sequence[Mapping[str, int]],
) -> list[dict[tuple[str, str], dict[str, float]]]:
    """How far each score falls with each change, one result for each of `labels`.

    Args:
      network: pictures (B, H, W, 3) -> logits (B, C).
      space: of the network.
      picture: (H, W, 3).
      changes: of `changed`.
      labels: each rank -> the label of a taxon that the picture is asked for.

    Returns:
      (score, rank) -> {"value": of the picture, "<part>_<how>": the score of the
      picture minus the mean of that with the change}; above 0 where what was replaced
      speaks for the taxon.
    """
    logits = network(np.concatenate([picture[None], *changes.values()]))
    ends = np.cumsum([1, *map(len, changes.values())])
    results = []
    for asked in labels:
        result = {}
        for name, values in scores(space, logits, asked).items():
            result[name] = {"value": float(values[0])}
            for key, start, end in zip(changes, ends[:-1], ends[1:], strict=True):
                fall = (values[0] - values[start:end]).mean()
                result[name]["_".join(key)] = float(fall)
        results.append(result)
    return results


def _put(picture: np.ndarray, mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], values, picture).astype(np.float32)
