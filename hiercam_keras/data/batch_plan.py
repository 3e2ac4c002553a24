"""Plans of batches: their examples, crops and augmentations.

A plan is a function of (seed, epoch, step) only, so an epoch can start at any step, and
several processes can each read their rows of the same batches.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hiercam_keras.data import augment, resize_windows, sampling
from hiercam_keras.errors import UserError


class Plan(NamedTuple):
    """Examples, crops and augmentation of one batch.

    Attributes:
      indices: int64 (B,) into the records.
      mask: bool (B,); False for padding.
      crop: int32 (B, 2) top and left in the window.
      drawn: the augmentation, arrays of B.
    """

    indices: np.ndarray
    mask: np.ndarray
    crop: np.ndarray
    drawn: augment.Augmentation

    def take(self, positions: np.ndarray) -> "Plan":
        """The plan with its examples rearranged."""
        drawn = augment.Augmentation(*(array[positions] for array in self.drawn))
        return Plan(
            self.indices[positions], self.mask[positions], self.crop[positions], drawn
        )


class Job(NamedTuple):
    """The inputs of a reader, for all examples.

    Attributes:
      paths: of the files, as text.
      windows: see `resize_windows.plan`.
      recolor: whether colors change.
      workers: threads; 0 for one per core.
      cache_bytes: memory for windows; they are kept if all of them fit.
      reduce: large JPEG files are decoded at a reduced scale, see `decode.reduction`.
      disk: folder of windows on disk (`disk_cache`), or None.
      reads: reads a part of a window: `resize_windows.read`, or a function with its
        arguments.
    """

    paths: list[str]
    windows: resize_windows.Windows
    recolor: bool
    workers: int
    cache_bytes: int
    reduce: bool
    disk: Path | None = None
    reads: Callable[..., np.ndarray] = resize_windows.read

    def read(
        self,
        index: int,
        first: Sequence[int] = (0, 0),
        count: Sequence[int] | None = None,
        flip: Sequence[bool] = (False, False),
    ) -> np.ndarray:
        """A part of the window of an example, see `resize_windows.read`."""
        path, where = self.paths[index], self.windows
        return self.reads(path, where, index, first, count, self.reduce, flip)


class Reader(Protocol):
    """Turns plans into pixels; `pipeline.TfReader` and `arrays.ArrayReader`."""

    def read(
        self, plans: Iterator[Plan]
    ) -> Iterator[tuple[Plan, np.ndarray, dict[int, str]]]:
        """Yields, in order, each plan, its images uint8 (B, S, S, 3), and the reasons
        of unreadable files by their position in the batch."""

    def close(self) -> None:
        """Frees threads and memory."""


class Shard(NamedTuple):
    """The rows of every batch that one process reads: the index-th of `count` parts."""

    index: int = 0
    count: int = 1

    def rows(self, batch_size: int) -> slice:
        """Its rows of a batch of all processes.

        Raises:
          UserError: the batch cannot be divided into equal parts.
          ValueError: there is no such part.
        """
        if not 0 <= self.index < self.count:
            raise ValueError(f"process {self.index} of {self.count} processes")
        if batch_size % self.count:
            raise UserError(
                f"data.batch_size is {batch_size}, which {self.count} processes cannot "
                "share equally. Use a multiple, e.g. --config.data.batch_size="
                f"{max(1, round(batch_size / self.count)) * self.count}."
            )
        part = batch_size // self.count
        return slice(self.index * part, (self.index + 1) * part)


class Planner:
    """Plans the batches of every epoch.

    Attributes:
      training: whether epochs are shuffled and incomplete batches dropped.
      batch_size: examples in every batch of all processes.
      num_batches: of an epoch, for any number of processes.
      num_rows: rows of each batch that this process reads.
    """

    def __init__(
        self,
        where: resize_windows.Windows,
        augment_config: Any | None,
        batch_size: int,
        seed: int,
        training: bool,
        shard: Shard,
        balance: tuple[np.ndarray, np.ndarray] | None = None,
    ):
        """Plans batches of the examples of `where`; see `loader.make_loader`.

        `balance` holds labels and weights for `sampling.order`.
        """
        self._balance = balance
        self._rows = shard.rows(batch_size)
        self._windows = where
        self._augment = augment_config
        self.batch_size = batch_size
        self._seed = seed
        self.training = training
        exact = len(where.extent) / batch_size
        self.num_batches = math.floor(exact) if training else math.ceil(exact)
        self.num_rows = self._rows.stop - self._rows.start

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Plan]:
        """The plans of an epoch from a step on; earlier plans are not computed."""
        order, keys = self._order(number)
        for step in range(start_step, self.num_batches):
            yield self._plan(order, keys, number, step)

    def _order(self, epoch) -> tuple[np.ndarray, np.ndarray]:
        """Examples of an epoch, and the numbers that seed their augmentation."""
        count = len(self._windows.extent)
        if self.training and self._balance is not None:
            return sampling.order(self._seed, epoch, *self._balance)
        found = np.arange(count)
        if self.training:
            found = augment.permutation(self._seed, epoch, count)
        return found, found

    def _plan(self, order, keys, epoch, step) -> Plan:
        start, size = step * self.batch_size, self._windows.size
        places = np.arange(start, start + self.batch_size)
        mask = (places < len(order))[self._rows]
        places = np.minimum(places, len(order) - 1)[self._rows]
        indices = order[places]
        drawn = augment.draw(self._augment, self._seed, epoch, keys[places], size)
        extent = self._windows.extent[indices]
        crop = augment.crop_starts(drawn.shift, extent, size)
        return Plan(indices, mask, crop, drawn)
