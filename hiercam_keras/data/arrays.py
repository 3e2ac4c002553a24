"""Reads planned batches with Pillow and threads, without TensorFlow.

Pillow releases the GIL while it decodes and resizes, so threads use all cores.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from hiercam_keras.data import augment, decode, disk_cache
from hiercam_keras.data.batch_plan import Job, Plan
from hiercam_keras.progress import progress

_AHEAD = 256  # examples that are read ahead, in whole batches
_TOGETHER = 4  # examples that a thread reads at a time


class ArrayReader:
    """Reads batches with a pool of threads; see `batch_plan.Reader`."""

    def __init__(self, job: Job, decoded: disk_cache.Windows | None = None):
        """Reads the examples of `job`, from `decoded` windows instead of files if
        given."""
        self._job = job
        self._pool = ThreadPoolExecutor(
            job.workers or os.cpu_count() or 1, thread_name_prefix="images"
        )
        fits = job.windows.num_bytes <= job.cache_bytes
        self._cache: dict[int, np.ndarray] | None = {} if fits else None
        self._decoded = decoded

    def read(
        self, plans: Iterator[Plan]
    ) -> Iterator[tuple[Plan, np.ndarray, dict[int, str]]]:
        """See `batch_plan.Reader.read`."""
        if self._job.disk and self._decoded is None:
            self._decoded = self._open_disk()
        waiting: deque[tuple[Plan, np.ndarray, list[Future]]] = deque()
        try:
            for plan in plans:
                waiting.append((plan, *self._submit(plan)))
                if len(waiting) > max(1, _AHEAD // len(plan.indices)):
                    yield self._gather(*waiting.popleft())
            while waiting:
                yield self._gather(*waiting.popleft())
        finally:
            for _, _, futures in waiting:
                for future in futures:
                    future.cancel()

    def close(self) -> None:
        """Ends the threads and frees the cache."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._cache = self._decoded = None

    def _submit(self, plan) -> tuple[np.ndarray, list[Future]]:
        """An empty batch, and the futures of the threads that fill it."""
        count, size = len(plan.indices), self._job.windows.size
        images = np.empty((count, size, size, 3), np.uint8)
        futures = [
            self._pool.submit(
                self._some, plan, images, range(start, min(start + _TOGETHER, count))
            )
            for start in range(0, count, _TOGETHER)
        ]
        return images, futures

    def _gather(self, plan, images, futures):
        bad = {}
        for future in futures:
            bad |= future.result()
        return plan, images, bad

    def _some(self, plan, images, positions) -> dict[int, str]:
        """Fills some rows of a batch; returns the reasons of failures by position."""
        bad = {}
        for position in positions:
            try:
                images[position] = self._one(plan, position)
            except decode.BadImage as error:
                images[position] = 0
                bad[position] = str(error)
        return bad

    def _one(self, plan, position):
        drawn = augment.Augmentation(*(array[position] for array in plan.drawn))
        index, crop = int(plan.indices[position]), plan.crop[position]
        where = self._job.windows
        if self._decoded is not None and self._decoded.good[index]:
            window = self._decoded.get(index, where.extent[index])
        elif self._cache is None:
            # Without a cache only the crop is decoded.
            window = self._job.read(index, crop, (where.size, where.size), drawn.flip)
            crop, drawn = (0, 0), drawn._replace(flip=(False, False))
        else:
            window = self._window(index)
        return augment.apply(window, crop, drawn, where.size, self._job.recolor)

    def _open_disk(self):
        return disk_cache.open_or_make(self._job, "arrays", self._fill)

    def _fill(self, pixels, starts):
        """Writes all windows to their places; returns False for unreadable files."""

        def one(index):
            try:
                window = self._job.read(index).ravel()
            except decode.BadImage:
                return False
            pixels[starts[index] :][: len(window)] = window
            return True

        done = self._pool.map(one, range(len(starts)))
        done = progress(done, total=len(starts), desc="decode", unit="img")
        return np.fromiter(done, bool, len(starts))

    def _window(self, index):
        if index not in self._cache:
            self._cache[index] = self._job.read(index)
        return self._cache[index]
