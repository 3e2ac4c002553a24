"""Logits of a model over the batches of a loader."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from hiercam_keras.errors import explain_out_of_memory
from hiercam_keras.progress import progress
from hiercam_keras.training.forward import (
    Forward,
    gather,
    gather_text,
    predict_batch,
)


class Predictions(NamedTuple):
    """Answers for N images.

    Attributes:
      example_ids: N.
      logits: by rank (N, labels), float32.
      labels: by rank the true labels (N,), int32.
      masked: probability (N,) of taxa that are not allowed; None if all are.
    """

    example_ids: list[str]
    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    masked: np.ndarray | None = None


def predict_logits(
    model: keras.Model,
    loader: Any,
    ranks: tuple[str, ...],
    desc: str = "",
    check: Callable[[], None] | None = None,
    forward: Forward | None = None,
) -> Predictions:
    """Runs the model over every image of the loader once.

    Of several processes each reads its share, and all get the whole result.

    Args:
      model: gives logits (B, N), or a dict of them when it has several heads.
      loader: a `data.loader.Loader`; padding (mask False) is left out.
      ranks: the model's ranks, one per head.
      desc: name of the progress bar; "" for none.
      check: called before each batch; may raise to stop.
      forward: see `predict_batch`; gives a dict by rank.
    """
    batches = loader.epoch(0)
    if desc:
        batches = progress(
            batches,
            loader.num_examples,
            desc,
            count=lambda batch: int(batch.mask.sum()),
        )
    example_ids: list[list[str]] = []
    masks: list[np.ndarray] = []
    logits = defaultdict(list)
    labels = defaultdict(list)
    with explain_out_of_memory(loader.batch_size, "data.batch_size"):
        for batch in batches:
            if check is not None:
                check()
            example_ids.append(list(batch.example_ids))
            masks.append(batch.mask)
            outputs = by_rank(predict_batch(model, batch.images, forward), ranks)
            for rank, values in outputs.items():
                logits[rank].append(np.asarray(values, np.float32))
            for rank, values in batch.labels.items():
                labels[rank].append(values)
    mask = gather(masks)
    ids = np.array(gather_text(example_ids), object)
    return Predictions(
        ids[mask].tolist(),
        {rank: gather(parts)[mask] for rank, parts in logits.items()},
        {rank: gather(parts)[mask] for rank, parts in labels.items()},
    )


def by_rank(outputs: Any, ranks: tuple[str, ...]) -> dict[str, Any]:
    """A model's outputs as a dict from rank to logits, whether one head or several."""
    return dict(outputs) if isinstance(outputs, dict) else {ranks[0]: outputs}
