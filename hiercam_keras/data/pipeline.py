"""Data room: plans into pixels with tf.data.

Files are read, decoded, resized and augmented in parallel, in the order of the plans.
Where TensorFlow fails on a file, the batch is read with Pillow instead, which finds the
bad file, and tf.data goes on behind it.
"""

import itertools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from hiercam_keras.data import (
    augment_tf,
    decode,
    disk_cache,
    pipeline_window,
    windows,
)
from hiercam_keras.data.arrays import ArrayReader
from hiercam_keras.data.plans import Job, Plan
from hiercam_keras.progress import progress

# After so many batches that only Pillow could read it reads the rest as well: its files
# are of a kind that TensorFlow lacks, and starting anew costs more than decoding.
_PATIENCE = 20
# Plans of so many examples become one tf.data.Dataset; bounds memory, not order.
_CHUNK = 100_000

try:
    # JAX owns the accelerator.
    tf.config.set_visible_devices([], "GPU")
except RuntimeError as error:
    logging.warning("TensorFlow was in use before and keeps its GPUs: %s", error)


class TfReader:
    """Reads batches with tf.data; see `plans.Reader`."""

    def __init__(self, job: Job):
        self._job = job
        self._paths = np.array([os.fsencode(path) for path in job.paths], object)
        self._fits = job.windows.num_bytes <= job.cache_bytes
        self._epochs = 0
        self._rescued = 0
        self._memory: _Memory | None = None
        self._pillow: ArrayReader | None = None

    def read(
        self, plans: Iterator[Plan]
    ) -> Iterator[tuple[Plan, np.ndarray, dict[int, str]]]:
        """Yields each plan, its images uint8 (B, S, S, 3), and reasons by position."""
        self._epochs += 1
        if self._job.disk and self._memory is None:
            self._memory = self._open_disk()
        # Whoever reads once should not wait until all is in memory.
        elif self._epochs == 2 and self._fits:
            self._memory = self._in_memory()
        plans = iter(plans)
        while self._rescued < _PATIENCE and (first := next(plans, None)):
            more = max(1, _CHUNK // len(first.indices)) - 1
            yield from self._read_chunk([first, *itertools.islice(plans, more)])
        if self._rescued >= _PATIENCE:
            self._memory = None
            yield from self._with_pillow(plans)

    def close(self) -> None:
        """Frees threads and memory."""
        self._memory = None
        if self._pillow is not None:
            self._pillow.close()

    def _read_chunk(self, plans):
        done = 0
        while done < len(plans):
            if self._rescued >= _PATIENCE:
                yield from self._with_pillow(iter(plans[done:]))
                return
            batch_size = len(plans[done].indices)
            dataset = self._examples(plans[done:]).batch(batch_size)
            batches = iter(dataset.prefetch(tf.data.AUTOTUNE))
            for plan in plans[done:]:
                try:
                    images = next(batches).numpy()
                except tf.errors.OpError:
                    # The iterator has lost its place: a new one starts behind it.
                    done += 1
                    _, _, bad = rescued = next(self._with_pillow(iter([plan])))
                    yield rescued
                    self._rescued += not bad
                    break
                yield plan, images, {}
                done += 1

    def _examples(self, plans: list[Plan]) -> tf.data.Dataset:
        """Augmented images, uint8 (S, S, 3), in the order of the plans."""
        index = np.concatenate([plan.indices for plan in plans])
        columns = {"index": index, "crop": np.concatenate([p.crop for p in plans])}
        for field in ("flip", "color", "haze", "erase", "fill"):
            columns[field] = np.concatenate([getattr(p.drawn, field) for p in plans])
        size, recolor = self._job.windows.size, self._job.recolor
        memory, reduce = self._memory, self._job.reduce
        if memory is None:
            columns |= self._file_columns(index)
            columns["first"] = columns["crop"]
            columns["count"] = np.full_like(columns["crop"], size)
            columns["crop"] = np.zeros_like(columns["crop"])

        def one(example):
            if memory is None:
                window = pipeline_window.read(example, reduce)
            else:
                window = memory.get(example["index"])
            return augment_tf.apply(window, example, size, recolor)

        return self._map(columns, one)

    def _file_columns(self, index):
        where = self._job.windows
        return {
            "path": self._paths[index],
            "resized": where.resized[index],
            "start": where.start[index],
        }

    def _map(self, columns, function):
        options = tf.data.Options()
        options.deterministic = True
        if self._job.workers:
            options.threading.private_threadpool_size = self._job.workers
        dataset = tf.data.Dataset.from_tensor_slices(columns).with_options(options)
        return dataset.map(function, tf.data.AUTOTUNE)

    def _whole(self, example):
        return pipeline_window.read(example, self._job.reduce)

    def _with_pillow(self, plans):
        if self._pillow is None:
            self._pillow = ArrayReader(self._job)
        return self._pillow.read(plans)

    def _open_disk(self):
        job = self._job
        settings = {"pipeline": "tfdata", "reduce": job.reduce}
        found = disk_cache.open_or_make(
            job.disk, job.paths, job.windows, settings, self._fill_disk
        )
        # The tensor is the mapped file itself: nothing is copied, and no Python runs
        # when an example is read.
        pixels = tf.experimental.dlpack.from_dlpack(found.pixels.__dlpack__())
        return _Memory(pixels, found.starts, job.windows.extent, found.good)

    def _fill_disk(self, pixels, starts):
        total = len(starts)
        bar = progress(self._windows(), total=total, desc="decode", unit="img")
        return self._fill(bar, pixels, starts)

    def _in_memory(self) -> "_Memory":
        """All windows in memory; a bad file's place is left out, see `_Memory`."""
        extent = self._job.windows.extent
        lengths = extent.astype(np.int64).prod(axis=1) * 3
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        pixels = np.zeros(int(lengths.sum()), np.uint8)
        good = self._fill(self._windows(), pixels, starts)
        return _Memory(tf.constant(pixels), starts, extent, good)

    def _fill(self, all_windows, pixels, starts):
        """Writes all windows to their places; False for what cannot be read."""
        good = np.zeros(len(starts), bool)
        for index, window in enumerate(all_windows):
            if window is not None:
                pixels[starts[index] :][: window.size] = window.ravel()
                good[index] = True
        return good

    def _windows(self) -> Iterator[np.ndarray | None]:
        """All whole windows in order; None for a file that cannot be read."""
        job, done = self._job, 0
        while done < len(job.paths):
            rest = np.arange(done, len(job.paths))
            columns = self._file_columns(rest)
            columns["first"] = np.zeros_like(job.windows.extent[rest])
            columns["count"] = job.windows.extent[rest]
            try:
                for window in self._map(columns, self._whole).prefetch(64):
                    yield window.numpy()
                    done += 1
            except tf.errors.OpError:
                yield self._rescue(done)
                done += 1

    def _rescue(self, index):
        job = self._job
        try:
            return windows.read(job.paths[index], job.windows, index, reduce=job.reduce)
        except decode.BadImage:
            return None


class _Memory:
    """Windows in one tensor; asking for one that could not be read is an OpError.

    The tensor is captured by the datasets, not copied into their graphs.
    """

    def __init__(self, pixels, starts, extent, good):
        self._pixels = pixels
        self._starts = tf.constant(starts, tf.int64)
        self._extent = tf.constant(extent, tf.int64)
        self._good = tf.constant(good)

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """The window of an example, uint8 (height, width, 3)."""
        with tf.control_dependencies([tf.debugging.Assert(self._good[index], [index])]):
            height, width = self._extent[index][0], self._extent[index][1]
        start = self._starts[index]
        flat = self._pixels[start : start + height * width * 3]
        return tf.reshape(flat, tf.stack([height, width, 3]))
