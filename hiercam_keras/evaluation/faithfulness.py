"""Whether the score follows when what a map marks is taken away."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from hiercam_keras.cam import Explanation, heatmaps
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.faithfulness import order
from hiercam_keras.metrics.faithfulness.measure import (
    Choices,
    Measured,
    measure_curves,
)


@dataclasses.dataclass(frozen=True, repr=False)
class Faithfulness:
    """Faithfulness of the maps of B pictures and K targets.

    Attributes:
      titles: K, of the targets.
      shares: (S,), of the pixels that are gone (deletion) or there (insertion).
      curves: "deletion", "insertion", and "<name>_random" of a random order ->
        float64 (B, K, S): the probability of the asked taxon, 0 at the blank picture
        and 1 at the whole one; NaN where the two are too near to each other.
      numbers: name -> float64 (B, K), see `metrics.faithfulness.measure`: areas under
        the curves, and "deletion_gain" and "insertion_gain" over the random order,
        above 0 where the map is better.
    """

    titles: tuple[str, ...]
    shares: np.ndarray
    curves: dict[str, np.ndarray]
    numbers: dict[str, np.ndarray]

    def __repr__(self) -> str:
        shape = next(iter(self.numbers.values())).shape
        means = ", ".join(
            f"{name} {np.nanmean(values):.3f}"
            for name, values in self.numbers.items()
            if np.isfinite(values).any()
        )
        return (
            f"<Faithfulness of {shape[0]} images, targets {', '.join(self.titles)}, "
            f"curves of {len(self.shares)} points; means: {means or 'none is known'}>"
        )


def faithfulness(
    model: Any,
    images: Any,
    result: Explanation,
    choices: Choices | None = None,
    names: Sequence[str] | None = None,
    other_inputs: Any = None,
) -> Faithfulness:
    """Deletion and insertion curves of an explanation's maps.

    Pixels are replaced in the order of the map, the highest value first, and the model
    is asked for the asked taxon again; dozens of forward passes for each target. Of a
    step or a contrast, the taxon is the one that it leads to or speaks for.

    Args:
      model: the Explainer that made the result, or its model where the Explainer was
        made without options on how outputs are read.
      images: uint8 or float (B, H, W, C) in 0 .. 255, those of the result.
      result: the maps.
      choices: steps, fillings and ROAD, see `Choices`.
      names: B names, from which the random orders are drawn; default the position.
      other_inputs: as for the Explainer.

    Raises:
      UserError: images that are not those of the result, or a model that reads its
        outputs in another way than the Explainer did.
    """
    if not isinstance(result, Explanation):
        raise UserError(
            "the third argument is the Explanation of the images, which an Explainer "
            f"returns; found {type(result).__name__}"
        )
    images = np.asarray(images)
    if images.shape[:3] != (len(result), *result.image_size):
        raise UserError(
            f"the result is of {len(result)} images of "
            f"{' x '.join(map(str, result.image_size))}, found images of shape "
            f"{images.shape}: give those that were explained, channels last"
        )
    scorer = _scorer(model, result)
    names = [str(i) for i in range(len(images))] if names is None else names
    found = [
        measure_batch(
            functools.partial(
                scorer, rows=result.rows[:, k], other_inputs=other_inputs
            ),
            images,
            result.cams[:, k],
            names,
            choices,
        )
        for k in range(len(result.titles))
    ]

    def stack(field: str) -> dict[str, np.ndarray]:
        parts = [getattr(one, field) for one in found]
        return {name: np.stack([p[name] for p in parts], 1) for name in parts[0]}

    return Faithfulness(
        result.titles, found[0].shares, stack("curves"), stack("numbers")
    )


def _scorer(model: Any, result: Explanation) -> Scorer:
    if isinstance(model, BaseExplainer):
        return model.scorer()
    space = result.space
    scorer = Scorer(
        model,
        taxonomy=space.taxonomy,
        rank=space.finest if space.taxonomy and len(space.heads) == 1 else None,
        activation={rank: head.activation for rank, head in space.head_of.items()},
    )
    if scorer.space.num_labels != space.num_labels:
        raise UserError(
            f"the model has the labels {scorer.space.num_labels}, and the result those "
            f"of {space.num_labels}: give the Explainer in place of the model"
        )
    return scorer


def measure_batch(
    score: Any,
    images: np.ndarray,
    cams: np.ndarray,
    example_ids: Sequence[str],
    choices: Choices | None = None,
) -> Measured:
    """`faithfulness.measure` of signed maps at their layer's resolution.

    The random order is drawn from the example_id at that resolution and resized as the
    maps are, so that all models and methods are compared with the same one; so is all
    noise, independent of what else is in the batch.

    Args:
      score: pictures -> log-odds (B,).
      images: (B, H, W, 3) in 0 .. 255.
      cams: (B, h, w), signed; one that is not finite counts as constant.
      example_ids: B.
      choices: how it is measured.
    """
    size = images.shape[1:3]
    finite = np.isfinite(cams).all((1, 2), keepdims=True)
    cams = np.where(finite, cams, 0.0)
    seeds = [
        int.from_bytes(hashlib.sha256(example_id.encode()).digest()[:8], "big")
        for example_id in example_ids
    ]
    random_maps = order.random_maps(seeds, cams.shape[1:])
    return measure_curves(
        score,
        images,
        heatmaps.resize(cams.astype(np.float64), size),
        heatmaps.resize(random_maps, size),
        heatmaps.heatmap(cams, size),
        choices,
        seeds,
    )
