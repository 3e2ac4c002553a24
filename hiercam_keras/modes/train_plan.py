"""What the first lines of a training say: network, weights, sizes, images a taxon."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import multihost, wording
from hiercam_keras.data.records import Record
from hiercam_keras.models import weights
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy.tree import Taxonomy


def starting_weights(folder: Path, config: Any, resume: bool) -> str:
    """The weights that a training starts from: what "auto" is, the same in all hosts.

    A run that is resumed keeps those that it began with.

    Args:
      folder: of the run.
      config: of the experiment.
      resume: whether a run of this folder is resumed, if there is one.

    Raises:
      UserError: they cannot be had.
    """
    spec, backbone = config.model.weights, config.model.backbone
    if resume and (folder / "config.json").exists():
        return run_folder.read(folder).record.get("weights", spec)
    chosen = weights.choose(spec, backbone)
    if spec == weights.AUTO and not multihost.all_of(chosen != weights.FALLBACK):
        return weights.FALLBACK
    return chosen


def say_network(config: Any, chosen: str) -> None:
    """Logs the network, its weights and its sizes, before the images are read."""
    logging.info(
        "network %s at %d px, output stride %d, from weights %r; %s",
        config.model.backbone,
        config.data.image_size,
        config.model.output_stride,
        chosen,
        wording.count(config.train.epochs, "epoch"),
    )


def say_data(
    config: Any,
    records: Sequence[Record],
    taxonomy: Taxonomy,
    num_labels: Mapping[str, int],
    folder: Path,
) -> None:
    """Logs how many images there are, in all and of a taxon at each trained rank."""
    logging.info(
        "training %s on %s, %s, in %s",
        config.model.backbone,
        wording.count(len(records), "image"),
        ", ".join(
            f"{wording.count(count, 'taxon')} at {rank} "
            f"({_images_each(records, taxonomy, rank)})"
            for rank, count in num_labels.items()
        ),
        folder,
    )


def _images_each(records: Sequence[Record], taxonomy: Taxonomy, rank: str) -> str:
    """`3 to 41 images of each, median 12`."""
    labels = Trained(taxonomy).labels([record.lineage for record in records], rank)
    labels = labels[labels >= 0]
    counts = np.bincount(labels, minlength=taxonomy.num_labels(rank))
    least, most = int(counts.min()), int(counts.max())
    if least == most:
        return f"{wording.count(least, 'image')} of each"
    return f"{least} to {most} images of each, median {np.median(counts):g}"
