"""Data room: batches for training and for everything after it.

What a batch holds is planned in NumPy (`plans`): order and augmentation. `pipeline`
(tf.data) or `arrays` (Pillow) only turn plans into pixels, so that both give the same
batches. The loader adds labels and deals with files that turn bad.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from hiercam_keras.data import augment, disk_cache, geometry, windows
from hiercam_keras.data.plans import Job, Plan, Planner, Reader, Shard
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError

PIPELINES = ("auto", "tfdata", "arrays")


class Batch(NamedTuple):
    """B examples.

    Attributes:
      images: uint8 (B, S, S, 3), RGB.
      labels: rank -> int32 (B,).
      example_ids: B of them; a stand-in bears the id of the example that it repeats.
      mask: bool (B,); False for what only fills the batch.
      geometry: float32 (B, 7), see `geometry.Geometry.from_row`.
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]
    example_ids: list[str]
    mask: np.ndarray
    geometry: np.ndarray


class Loader:
    """Batches of one list of records; make it with `make_loader`.

    Attributes:
      num_batches: of an epoch, the same in every process.
      num_examples: records, of all processes together.
      batch_size: examples in every batch, padding included, of all processes.
      num_rows: those of them that this process reads; rows of a `Batch`.
      training: whether epochs are shuffled and incomplete batches dropped.
      skipped: reason by example_id of files that turned bad while reading.
    """

    def __init__(
        self,
        records: Sequence[Record],
        labels: Mapping[str, np.ndarray],
        reader: Reader,
        job: Job,
        planner: Planner,
        max_bad_share: float,
    ):
        self.training = planner.training
        self.batch_size = planner.batch_size
        self.num_examples = len(records)
        self.num_batches, self.num_rows = planner.num_batches, planner.num_rows
        self.skipped: dict[str, str] = {}
        self._ids = [record.example_id for record in records]
        self._labels = {rank: np.asarray(v, np.int32) for rank, v in labels.items()}
        self._reader = reader
        self._job = job
        self._planner = planner
        self._last_good: Batch | None = None
        self._bad = np.zeros(len(records), bool)
        # One bad file is never too many.
        self._max_bad = max(1, math.floor(max_bad_share * len(records)))

    def epoch(self, number: int = 0, start_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch, from a step on: a function of (seed, epoch, step).

        Args:
          number: of the epoch, 0, 1, ...
          start_step: batches to leave out; they are neither read nor planned.

        Raises:
          ValueError: the epoch has fewer steps.
          UserError: too many files turned bad.
        """
        if not 0 <= start_step <= self.num_batches:
            raise ValueError(
                f"start_step is {start_step}, in an epoch of {self.num_batches} batches"
            )
        return self._batches(number, start_step)

    def _batches(self, number, start_step):
        plans = self._without_bad(self._planner.epoch(number, start_step))
        for plan, images, bad in self._reader.read(plans):
            for position, reason in bad.items():
                self._note(int(plan.indices[position]), reason)
            yield self._batch(plan, images)

    def close(self) -> None:
        """Frees the reader's threads and memory; the loader is of no use then."""
        self._reader.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _without_bad(self, plans) -> Iterator[Plan]:
        """Files that are known to be bad are not tried again."""
        for plan in plans:
            mask = plan.mask & ~self._bad[plan.indices]
            yield plan.take(self._stand_ins(plan))._replace(mask=mask)

    def _stand_ins(self, plan) -> np.ndarray:
        """Positions (B,): its own for a good example, another good one's for a bad."""
        own = np.arange(len(plan.indices))
        bad = self._bad[plan.indices]
        if bad.all() or not bad.any():
            return own
        good = own[~bad]
        return np.where(bad, good[own % len(good)], own)

    def _batch(self, plan, images):
        bad = self._bad[plan.indices]
        if bad.all() and self.training and self._last_good is not None:
            # Black images would enter the batch statistics.
            return self._last_good._replace(mask=np.zeros(len(bad), bool))
        if bad.any():
            positions = self._stand_ins(plan)
            images = images[positions]
            plan = plan.take(positions)._replace(mask=plan.mask & ~bad)
        where = self._job.windows
        batch = Batch(
            images=images,
            labels={rank: v[plan.indices] for rank, v in self._labels.items()},
            example_ids=[self._ids[index] for index in plan.indices],
            mask=plan.mask,
            geometry=windows.geometry_rows(
                where, plan.indices, plan.crop, plan.drawn.flip
            ),
        )
        if self.training and not bad.all():
            self._last_good = batch
        return batch

    def _note(self, index, reason):
        if self._bad[index]:
            return
        self._bad[index] = True
        example_id = self._ids[index]
        self.skipped[example_id] = reason
        logging.warning("Skipping %s from now on: %s", example_id, reason)
        if len(self.skipped) > self._max_bad:
            raise UserError(
                f"{len(self.skipped)} of {self.num_examples} image files turned bad "
                f"during the run, the last is {self._job.paths[index]} ({reason}). Are "
                "the images still there? Raise data.max_bad_share to go on without "
                "them."
            )


def make_loader(
    records: Sequence[Record],
    labels: Mapping[str, np.ndarray],
    data_config: Any,
    augment_config: Any | None = None,
    seed: int = 0,
    training: bool = False,
    layout: geometry.Layout = "classification",
    shard: tuple[int, int] = (0, 1),
) -> Loader:
    """Makes a loader of batches.

    Args:
      records: N examples; without shuffling they come in this order.
      labels: rank -> int32 (N,).
      data_config: the config's `data`: image_size, batch_size, pipeline, workers,
        cache_mb, disk_cache, reduced_decode, max_bad_share.
      augment_config: the config's `augment`; None for none.
      seed: of order and augmentation.
      training: shuffle, and drop the last incomplete batch; else pad it.
      layout: "classification" or "localization", see `geometry`.
      shard: (process, processes): `data.batch_size` is that of all processes together,
        and each reads its rows of every batch. Together they read every example once.

    Raises:
      UserError: a training batch is larger than the data, a field has a wrong value,
        the processes cannot share a batch equally, or tf.data is asked for where
        TensorFlow does not import.
    """
    batch_size, size = int(data_config.batch_size), int(data_config.image_size)
    if batch_size < 1 or size < 8:
        raise UserError(
            f"data.batch_size is {batch_size} and data.image_size {size}: expected at "
            "least 1 and 8."
        )
    if training and batch_size > len(records):
        raise UserError(
            f"data.batch_size is {batch_size}, but the training split has only "
            f"{len(records)} images. Use "
            f"--config.data.batch_size={max(1, len(records))} "
            "or less."
        )
    for rank, values in labels.items():
        if len(values) != len(records):
            raise ValueError(
                f"{len(values)} labels at {rank} for {len(records)} records."
            )
    part = Shard(*shard)
    part.rows(batch_size)
    jitter = augment_config.get("crop_jitter", 0.0) if augment_config else 0.0
    where = windows.plan(records, size, layout, jitter)
    cache_bytes = int(data_config.get("cache_mb", 512)) * 2**20
    job = Job(
        paths=[str(record.path) for record in records],
        windows=where,
        recolor=augment.changes_color(augment_config),
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
    planner = Planner(job.windows, augment_config, batch_size, seed, training, part)
    return Loader(
        records,
        labels,
        _make_reader(job, data_config.get("pipeline", "auto")),
        job,
        planner,
        float(data_config.get("max_bad_share", 0.05)),
    )


def _make_reader(job: Job, pipeline: str) -> Reader:
    if pipeline not in PIPELINES:
        raise UserError(
            f"data.pipeline is {pipeline!r}: use one of {', '.join(PIPELINES)}."
        )
    if pipeline != "arrays":
        try:
            from hiercam_keras.data.pipeline import TfReader

            return TfReader(job)
        except ImportError as error:
            if pipeline == "tfdata":
                raise UserError(
                    "data.pipeline=tfdata needs TensorFlow, which does not import "
                    f"({error}). Install tensorflow-cpu, or use "
                    "--config.data.pipeline=arrays."
                ) from error
            logging.info("TensorFlow does not import: images are read with Pillow")
    from hiercam_keras.data.arrays import ArrayReader

    return ArrayReader(job)
