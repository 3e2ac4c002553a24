"""Batches with labels, without files that become unreadable.

Order and augmentation are planned in NumPy (`batch_plan`). `pipeline` (tf.data) and
`arrays` (Pillow) only compute the pixels of plans, so both give the same batches.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import logging

from hiercam_keras.data import resize_windows
from hiercam_keras.data.batch_plan import Job, Plan, Planner, Reader
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError


class Batch(NamedTuple):
    """B examples.

    Attributes:
      images: uint8 (B, S, S, 3), RGB; read-only if tf.data has read them.
      labels: rank -> int32 (B,).
      example_ids: B ids; a replacement has the id of the example that it repeats.
      mask: bool (B,); False for padding and replacements.
      geometry: float32 (B, 7), see `geometry.Geometry.from_row`.
      weights: rank -> float32 (B,) of the losses; None for equal weights.
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]
    example_ids: list[str]
    mask: np.ndarray
    geometry: np.ndarray
    weights: dict[str, np.ndarray] | None = None


class Loader:
    """Batches of one list of records; created by `loader.make_loader`.

    Attributes:
      num_batches: of an epoch, the same in every process.
      num_examples: records, of all processes together.
      batch_size: examples in every batch, padding included, of all processes.
      num_rows: examples of a batch that this process reads; rows of a `Batch`.
      training: whether epochs are shuffled and incomplete batches dropped.
      skipped: reasons by example_id of files that failed during reading.
    """

    def __init__(
        self,
        records: Sequence[Record],
        labels: Mapping[str, np.ndarray],
        reader: Reader,
        job: Job,
        planner: Planner,
        max_bad_share: float,
        weights: Mapping[str, np.ndarray] | None,
    ):
        self.training = planner.training
        self.batch_size = planner.batch_size
        self.num_examples = len(records)
        self.num_batches, self.num_rows = planner.num_batches, planner.num_rows
        self.skipped: dict[str, str] = {}
        self._ids = [record.example_id for record in records]
        self._labels = {rank: np.asarray(v, np.int32) for rank, v in labels.items()}
        self._weights = weights
        self._reader = reader
        self._job = job
        self._planner = planner
        self._last_good: Batch | None = None
        self._bad = np.zeros(len(records), bool)
        self._seen = np.zeros(len(records), bool)
        self._max_bad_share = max_bad_share

    def epoch(self, number: int = 0, start_step: int = 0) -> Iterator[Batch]:
        """Batches of an epoch, from a step on: a function of (seed, epoch, step).

        Args:
          number: of the epoch, 0, 1, ...
          start_step: first batch; earlier ones are neither read nor planned.

        Raises:
          ValueError: the epoch has fewer steps.
          UserError: too many files failed.
        """
        if not 0 <= start_step <= self.num_batches:
            raise ValueError(
                f"start_step is {start_step}, in an epoch of {self.num_batches} batches"
            )
        return self._batches(number, start_step)

    def _batches(self, number, start_step):
        plans = self._without_bad(self._planner.epoch(number, start_step))
        for plan, images, bad in self._reader.read(plans):
            self._seen[plan.indices] = True
            for position, reason in bad.items():
                self._note(int(plan.indices[position]), reason)
            yield self._batch(plan, images)

    def close(self) -> None:
        """Frees the reader's threads and memory; the loader cannot be used afterwards.

        Logs a summary of the skipped images.
        """
        self._reader.close()
        if self.skipped:
            logging.warning(
                "%s failed to decode and were skipped, the first is %s",
                self._share_of_bad(),
                next(iter(self.skipped)),
            )

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def _without_bad(self, plans) -> Iterator[Plan]:
        """Plans with replacements for files that are known to be unreadable."""
        for plan in plans:
            mask = plan.mask & ~self._bad[plan.indices]
            yield plan.take(self._stand_ins(plan))._replace(mask=mask)

    def _stand_ins(self, plan) -> np.ndarray:
        """Positions (B,): its own for a good example, that of another for a bad one."""
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
            geometry=resize_windows.geometry_rows(
                where, plan.indices, plan.crop, plan.drawn.flip
            ),
            weights=self._weights
            and {rank: v[plan.indices] for rank, v in self._weights.items()},
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
        if len(self.skipped) > self._max_bad():
            raise UserError(
                f"{self._share_of_bad()} became unreadable "
                f"during the run, the last is {self._job.paths[index]} ({reason}). Are "
                "the images still there? Raise data.max_bad_share to continue without "
                "them."
            )

    def _max_bad(self) -> int:
        """Largest allowed number of bad files, at least 1.

        It is a share of the larger of an epoch's files and all files read so far: each
        epoch a process reads other files.
        """
        part = self.num_examples * self.num_rows // self.batch_size
        read = max(part, int(self._seen.sum()))
        return max(1, math.floor(self._max_bad_share * read))

    def _share_of_bad(self) -> str:
        count = len(self.skipped)
        if self.num_rows == self.batch_size:
            return f"{count} of {self.num_examples} image files"
        return f"{count} of the {self._seen.sum()} image files read by this process"
