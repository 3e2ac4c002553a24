"""Logits of a model over the batches of a loader."""

from collections import defaultdict
from typing import Any, NamedTuple

import keras
import numpy as np

from hiercam_keras.progress import progress


class Predictions(NamedTuple):
    """Answers for N images: example_ids (N), and by rank logits (N, labels) float32
    and true labels (N,) int32."""

    example_ids: list[str]
    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


def predict_logits(
    model: keras.Model, loader: Any, ranks: tuple[str, ...], desc: str = ""
) -> Predictions:
    """Runs the model over every image of the loader once.

    Args:
      model: gives logits (B, N), or a dict of them when it has several heads.
      loader: a `data.loader.Loader`; padding (mask False) is left out.
      ranks: the model's ranks, one per head.
      desc: name of the progress bar; "" for none.
    """
    batches = loader.epoch(0)
    if desc:
        batches = progress(
            batches,
            loader.num_examples,
            desc,
            count=lambda batch: int(batch.mask.sum()),
        )
    example_ids: list[str] = []
    logits = defaultdict(list)
    labels = defaultdict(list)
    for batch in batches:
        example_ids += np.asarray(batch.example_ids, object)[batch.mask].tolist()
        for rank, values in by_rank(
            model.predict_on_batch(batch.images), ranks
        ).items():
            logits[rank].append(np.asarray(values, np.float32)[batch.mask])
        for rank, values in batch.labels.items():
            labels[rank].append(values[batch.mask])
    return Predictions(
        example_ids,
        {rank: np.concatenate(parts) for rank, parts in logits.items()},
        {rank: np.concatenate(parts) for rank, parts in labels.items()},
    )


def by_rank(outputs: Any, ranks: tuple[str, ...]) -> dict[str, Any]:
    """A model's outputs as a dict from rank to logits, whether one head or several."""
    return dict(outputs) if isinstance(outputs, dict) else {ranks[0]: outputs}
