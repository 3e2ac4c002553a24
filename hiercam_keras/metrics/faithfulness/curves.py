"""Scores of pictures while their pixels are removed, or inserted, in an order.

Pictures are changed on the model's device, one step at a time, so memory does not grow
with the number of steps. A score is any function from pictures
(B, H, W, C) float32 in 0 .. 255 to (B,) values, as `functools.partial(scorer,
rows=rows)` of `cam.scorer.Scorer`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hiercam_keras.metrics.faithfulness.fills import linear_fill

Score = Callable[[jax.Array], jax.Array]


def deletion(
    score: Score, images: Any, fill: Any, places: Any, counts: Sequence[int]
) -> np.ndarray:
    """Scores while the first places are replaced by the filling: (B, S).

    Args:
      score: see the module's docstring.
      images: uint8 or float (B, H, W, C).
      fill: (B, H, W, C), or an array that broadcasts to it.
      places: int (B, H, W), see `order`.
      counts: S numbers of removed places.
    """
    return _along(score, images, fill, places, counts)


def insertion(
    score: Score, images: Any, fill: Any, places: Any, counts: Sequence[int]
) -> np.ndarray:
    """Scores while the first places of the picture appear on the filling: (B, S).

    Arguments are those of `deletion`; counts are numbers of inserted places.
    """
    return _along(score, fill, images, places, counts)


def imputed(
    score: Score,
    images: Any,
    places: Any,
    counts: Sequence[int],
    noise: float = 0.01,
    seeds: Sequence[Any] | None = None,
) -> np.ndarray:
    """Scores while the first places are filled by noisy linear imputation: (B, S).

    ROAD: remove and debias (Rong et al. 2022, arXiv:2202.00449). The sparse systems are
    solved on the host, one for each picture and count; at 128 px with half of the
    pixels removed one takes about 0.1 s.

    Args:
      score, images, places, counts: as for `deletion`.
      noise: see `fills.linear_fill`.
      seeds: of the noise, one for each picture.
    """
    images, places = np.asarray(images), np.asarray(places)
    seeds = range(len(images)) if seeds is None else seeds
    scores = []
    for count in counts:
        filled = [
            linear_fill(image, place < count, noise, seed)
            for image, place, seed in zip(images, places, seeds, strict=True)
        ]
        scores.append(score(jnp.asarray(np.stack(filled))))
    return _collected(scores)


def blended(images: Any, heatmaps: Any) -> jax.Array:
    """Pictures masked by their heatmaps: float32 (B, H, W, C).

    heatmap * picture + (1 - heatmap) * mean color. Average drop is often computed with
    black as the background, which in 0 .. 255 is a color like any other.

    Args:
      images: (B, H, W, C).
      heatmaps: (B, H, W) in 0 .. 1.
    """
    return _blend(jnp.asarray(images), jnp.asarray(heatmaps))


def _along(score, below, above, places, counts) -> np.ndarray:
    below, above, places = map(jnp.asarray, (below, above, places))
    # No synchronization between the steps, so the device is always busy.
    return _collected([score(_mix(below, above, places, n)) for n in counts])


def _collected(scores) -> np.ndarray:
    return np.stack(jax.device_get(scores), axis=1).astype(np.float64)


@jax.jit
def _mix(images, fill, places, count):
    gone = (places < count)[..., None]
    return jnp.where(gone, fill.astype(jnp.float32), images.astype(jnp.float32))


@jax.jit
def _blend(images, heatmaps):
    images = images.astype(jnp.float32)
    mean = images.mean((1, 2), keepdims=True)
    return mean + (images - mean) * heatmaps.astype(jnp.float32)[..., None]
