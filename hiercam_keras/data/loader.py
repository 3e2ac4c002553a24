"""Creates loaders of batches (`batches.Loader`) from a config."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.data import (
    augment,
    disk_cache,
    geometry,
    numpy_windows,
    resize_windows,
    sampling,
)
from hiercam_keras.data.batch_plan import Job, Planner, Reader, Shard
from hiercam_keras.data.batches import Batch, Loader
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.partial import LabelSpace

__all__ = ["Batch", "Loader", "PIPELINES", "make_loader"]
PIPELINES = ("auto", "tfdata", "arrays")
# Up to this many examples that are read once, NumPy is done before TensorFlow is
# imported, with the same pixels.
_FEW = 500


def make_loader(
    records: Sequence[Record],
    labels: Mapping[str, np.ndarray],
    data_config: Any,
    augment_config: Any | None = None,
    seed: int = 0,
    training: bool = False,
    layout: geometry.Layout = "classification",
    shard: tuple[int, int] = (0, 1),
    class_weights: str = "none",
    spaces: Mapping[str, LabelSpace] | None = None,
) -> Loader:
    """Makes a loader of batches.

    Args:
      records: N examples, in this order unless shuffled.
      labels: rank -> int32 (N,).
      data_config: the config's `data`: image_size, batch_size, pipeline, workers,
        cache_mb, disk_cache, reduced_decode, max_bad_share, sampling, sampling_rank.
      augment_config: the config's `augment`; None for none.
      seed: of order and augmentation.
      training: shuffles, and drops the last incomplete batch; otherwise it is padded.
      layout: "classification" or "localization", see `geometry`.
      shard: (process, processes): `data.batch_size` is that of all processes together,
        and each reads its rows of every batch. Together they read every example once.
      class_weights: the config's `train.class_weights`: weights of the losses at each
        rank, see `sampling.example_weights`.
      spaces: of the labels by rank, if some are of coarser ranks.

    Raises:
      UserError: a training batch is larger than the data, a field has a wrong value,
        the processes cannot share a batch equally, or data.pipeline is tfdata and
        TensorFlow cannot be imported.
    """
    batch_size, size = int(data_config.batch_size), int(data_config.image_size)
    _check(batch_size, size, labels, len(records), training)
    part = Shard(*shard)
    part.rows(batch_size)
    jitter = augment_config.get("crop_jitter", 0.0) if augment_config else 0.0
    where = resize_windows.plan(records, size, layout, jitter)
    job = _job(records, where, data_config, augment.changes_color(augment_config))
    few = not training and len(records) <= _FEW
    planner = Planner(
        where,
        augment_config,
        batch_size,
        seed,
        training,
        part,
        _balance(labels, data_config, spaces or {}) if training else None,
    )
    return Loader(
        records,
        labels,
        _make_reader(job, data_config.get("pipeline", "auto"), few),
        job,
        planner,
        float(data_config.get("max_bad_share", 0.05)),
        _loss_weights(labels, class_weights, spaces or {}),
    )


def _job(records, where, data_config, recolor) -> Job:
    cache_bytes = int(data_config.get("cache_mb", 512)) * 2**20
    return Job(
        paths=[str(record.path) for record in records],
        windows=where,
        recolor=recolor,
        workers=int(data_config.get("workers", 0)),
        cache_bytes=cache_bytes,
        reduce=bool(data_config.get("reduced_decode", True)),
        disk=disk_cache.folder_of(
            data_config.get("disk_cache", ""),
            data_config.get("cache_dir", ""),
            where.num_bytes,
            cache_bytes,
        ),
    )


def _check(batch_size, size, labels, images, training):
    if batch_size < 1 or size < 8:
        raise UserError(
            f"data.batch_size is {batch_size} and data.image_size {size}: expected at "
            "least 1 and 8."
        )
    if training and batch_size > images:
        raise UserError(
            f"data.batch_size is {batch_size}, but the training split has only "
            f"{wording.count(images, 'image')}. Use "
            f"--config.data.batch_size={max(1, images)} "
            "or less."
        )
    for rank, values in labels.items():
        if len(values) != images:
            raise ValueError(f"{len(values)} labels at {rank} for {images} records.")


def _loss_weights(labels, kind, spaces):
    """Weights of the examples, rank -> float32 (N,); None for equal weights."""
    if kind == "none":
        return None
    return {
        rank: sampling.example_weights(
            values, kind, "train.class_weights", spaces.get(rank)
        ).astype(np.float32)
        for rank, values in labels.items()
    }


def _balance(labels, data_config, spaces):
    kind = data_config.get("sampling", "none")
    if kind == "none":
        return None
    rank = sampling.rank_of(labels, data_config.get("sampling_rank", ""))
    at_rank, space = np.asarray(labels[rank]), spaces.get(rank)
    weights = sampling.example_weights(at_rank, kind, "data.sampling", space)
    return at_rank, weights


def _make_reader(job: Job, pipeline: str, few: bool) -> Reader:
    if pipeline not in PIPELINES:
        raise UserError(
            f"data.pipeline is {pipeline!r}: use one of {', '.join(PIPELINES)}."
        )
    if pipeline == "auto" and few and not job.cache_bytes and not job.disk:
        # Without TensorFlow the pixels are those of Pillow, however many there are.
        if importlib.util.find_spec("tensorflow") is not None:
            pipeline, job = "arrays", job._replace(reads=numpy_windows.read)
    if pipeline != "arrays":
        try:
            from hiercam_keras.data.pipeline import TfReader

            return TfReader(job)
        except ImportError as error:
            if pipeline == "tfdata":
                raise UserError(
                    "data.pipeline=tfdata needs TensorFlow, which cannot be imported "
                    f"({error}). Install tensorflow-cpu, or use "
                    "--config.data.pipeline=arrays."
                ) from error
            logging.info("TensorFlow cannot be imported: images are read with Pillow")
    from hiercam_keras.data.arrays import ArrayReader

    return ArrayReader(job)
