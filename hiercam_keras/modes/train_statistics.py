"""Batches that batch norm's statistics are taken of when a training is over."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hiercam_keras import multihost
from hiercam_keras.data.loader import Batch
from hiercam_keras.data.records import Record
from hiercam_keras.modes.load import make_loader
from hiercam_keras.runs.truth import Truth
from hiercam_keras.taxonomy.tree import Taxonomy


def plain_batches(
    records: Sequence[Record], truth: Taxonomy | Truth, config: Any, batch_size: int
) -> Iterator[Batch]:
    """`train.reestimate_batches` whole batches of training images, drawn by the seed.

    They are as evaluation sees them, without augmentation, but shuffled: each batch is
    normalized by its own statistics on the way, so that it must not be of one taxon. Of
    several processes each gets its part of every batch.
    """
    count = min(config.train.reestimate_batches, len(records) // batch_size)
    if count < 1:
        return
    order = np.random.default_rng([config.seed, 7]).permutation(len(records))
    loader = make_loader(
        [records[place] for place in order[: count * batch_size]],
        truth,
        config,
        batch_size=batch_size,
        once=True,
        shard=multihost.part(),
    )
    with loader:
        yield from loader.epoch(0)
