"""Reads planned batches with tf.data.

Files are read, decoded, resized and augmented in the order of the plans, by as many
threads as there are cores (data.workers); each operation stays on its thread. If
TensorFlow fails on a file, Pillow reads the batch instead and finds the bad file, and
tf.data continues with the next batch.
"""

import functools
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from hiercam_keras.data import (
    augment,
    augment_tf,
    decode,
    decode_regions,
    disk_cache,
    pipeline_window,
)
from hiercam_keras.data.arrays import ArrayReader
from hiercam_keras.data.batch_plan import Job, Plan
from hiercam_keras.progress import progress

# After this many batches that only Pillow could read, it reads the rest as well: the
# files have a format that TensorFlow lacks, and restarting costs more than decoding.
_PATIENCE = 20
# Examples per tf.data.Dataset; this bounds the memory and does not affect the order.
_CHUNK = 100_000
_ALIGNED = 64  # bytes; TensorFlow aborts the process for memory with another alignment
_AHEAD = 4  # batches that are read ahead

try:
    # JAX owns the accelerator.
    tf.config.set_visible_devices([], "GPU")
    # ScaleAndTranslate disregards max_intra_op_parallelism: it would divide its rows
    # among a second pool of threads and wait for it, ten times an image.
    tf.config.threading.set_intra_op_parallelism_threads(1)
except RuntimeError as error:
    logging.warning(
        "TensorFlow was in use before and keeps its GPUs and threads: %s", error
    )


class TfReader:
    """Reads batches with tf.data; see `batch_plan.Reader`."""

    def __init__(self, job: Job):
        self._job = job
        self._paths = np.array([os.fsencode(path) for path in job.paths], object)
        self._fits = job.windows.num_bytes <= job.cache_bytes
        self._epochs = 0
        self._rescued = 0
        self._memory: _Memory | None = None
        self._pillow: ArrayReader | None = None
        # By where windows come from: tracing takes as long as 50 images.
        self._traced: dict[str | tuple[int, ...], Callable] = {}

    def read(
        self, plans: Iterator[Plan]
    ) -> Iterator[tuple[Plan, np.ndarray, dict[int, str]]]:
        """See `batch_plan.Reader.read`."""
        self._epochs += 1
        if self._job.disk and self._memory is None:
            self._memory = self._open_disk()
        # A single pass should not wait until all windows are in memory.
        elif self._epochs == 2 and self._fits:
            self._memory = self._in_memory()
        plans = iter(plans)
        while self._rescued < _PATIENCE and (first := next(plans, None)):
            more = max(1, _CHUNK // len(first.indices)) - 1
            left = [first, *itertools.islice(plans, more)]
            while left and self._rescued < _PATIENCE:
                left = yield from self._read_chunk(left)
            plans = itertools.chain(left, plans)
        if self._rescued >= _PATIENCE:
            yield from self._with_pillow(plans)

    def close(self) -> None:
        """Frees threads and memory."""
        self._memory = None
        self._traced.clear()
        if self._pillow is not None:
            self._pillow.close()

    def _read_chunk(self, plans):
        """Reads plans up to the first failure, and returns those that are left."""
        dataset = self._examples(plans).batch(len(plans[0].indices))
        batches = iter(dataset.prefetch(_AHEAD))
        for done, plan in enumerate(plans, 1):
            try:
                images = np.asarray(memoryview(next(batches)))  # without a copy
            except tf.errors.OpError:  # the iterator is broken
                _, _, bad = rescued = next(self._with_pillow(iter([plan])))
                yield rescued
                self._count_rescued(bad)
                return plans[done:]
            yield plan, images, {}
        return []

    def _count_rescued(self, bad):
        self._rescued += not bad
        if self._rescued == _PATIENCE and not bad:
            logging.warning(
                "TensorFlow failed on %d batches that Pillow could read: Pillow reads "
                "the others, too (--config.data.pipeline=arrays starts with it)",
                _PATIENCE,
            )

    def _examples(self, plans: list[Plan]) -> tf.data.Dataset:
        """Augmented images, uint8 (S, S, 3), in the order of the plans."""
        index = np.concatenate([plan.indices for plan in plans])
        crop = np.concatenate([plan.crop for plan in plans])
        drawn = zip(*(plan.drawn for plan in plans), strict=True)
        drawn = augment.Augmentation(*(np.concatenate(parts) for parts in drawn))
        recolor, size = self._job.recolor, self._job.windows.size
        if self._memory is not None:
            columns, window = self._memory.columns(index), self._memory.get
            source = "memory"
        elif self._fits:
            # The crop is cut from the whole window, as later from memory, so epochs are
            # bit-identical with and without the cache.
            columns, window, source = self._files(index)
        else:
            columns, window, source = self._files(index, crop, (size, size))
            crop = np.zeros_like(crop)
        if source not in self._traced:
            self._traced[source] = tf.function(
                lambda example: augment_tf.apply(
                    window(example), example, size, recolor
                ),
                autograph=False,
            )
        columns |= augment_tf.pack(crop, drawn)
        return self._map(columns, self._traced[source])

    def _files(self, index, first=None, count=None):
        """Columns, the function that reads parts of windows by them, and the scales
        that it knows; by default the whole windows."""
        where = self._job.windows
        shown = where.extent[index] if count is None else count
        first = np.zeros((len(index), 2), int) if first is None else first
        parts = decode_regions.of(where, index, first, shown, self._job.reduce)
        branches = np.unique(parts.branch).tolist()
        columns = {"path": self._paths[index], **parts._asdict()}
        function = functools.partial(
            pipeline_window.read, branches=branches, count=count
        )
        return columns, function, tuple(branches)

    def _map(self, columns, function):
        workers = self._job.workers or os.cpu_count() or 1
        options = tf.data.Options()
        options.deterministic = True
        options.threading.private_threadpool_size = workers
        options.threading.max_intra_op_parallelism = 1
        # A thread copies its image into the batch itself. Unfused, and with no more
        # images than threads, each waits until the one before has been taken.
        options.experimental_optimization.map_and_batch_fusion = True
        dataset = tf.data.Dataset.from_tensor_slices(columns).with_options(options)
        return dataset.map(function, 2 * workers)

    def _with_pillow(self, plans):
        if self._pillow is None:
            decoded = self._memory and self._memory.found
            self._pillow = ArrayReader(self._job._replace(disk=None), decoded)
        return self._pillow.read(plans)

    def _open_disk(self):
        found = disk_cache.open_or_make(self._job, "tfdata", self._fill_disk)
        return _Memory(found, self._job.windows.extent)

    def _fill_disk(self, pixels, starts):
        total = len(starts)
        bar = progress(self._windows(), total=total, desc="decode", unit="img")
        return self._fill(bar, pixels, starts)

    def _in_memory(self) -> "_Memory":
        """All windows in memory, without unreadable files; see `_Memory`."""
        where = self._job.windows
        pixels, starts = np.zeros(where.num_bytes, np.uint8), where.starts
        good = self._fill(self._windows(), pixels, starts)
        return _Memory(disk_cache.Windows(pixels, starts, good), where.extent)

    def _fill(self, all_windows, pixels, starts):
        """Writes all windows to their places; returns False for unreadable files."""
        good = np.zeros(len(starts), bool)
        for index, window in enumerate(all_windows):
            if window is not None:
                pixels[starts[index] :][: window.size] = window.ravel()
                good[index] = True
        return good

    def _windows(self) -> Iterator[np.ndarray | None]:
        """All whole windows in order; None for an unreadable file."""
        job, done = self._job, 0
        while done < len(job.paths):
            rest = np.arange(done, len(job.paths))
            try:
                for window in self._map(*self._files(rest)[:2]).prefetch(64):
                    yield window.numpy()
                    done += 1
            except tf.errors.OpError:
                try:
                    yield job.read(done)
                except decode.BadImage:
                    yield None
                done += 1


class _Memory:
    """Windows in one tensor; reading one of an unreadable file raises an OpError.

    The tensor is captured by the datasets, not copied into their graphs, and no Python
    runs when an example is read.

    Attributes:
      found: the windows.
    """

    def __init__(self, found: disk_cache.Windows, extent: np.ndarray):
        if found.pixels.ctypes.data % _ALIGNED == 0:  # true for every mapped file
            tensor = tf.experimental.dlpack.from_dlpack(found.pixels.__dlpack__())
        else:
            tensor = tf.constant(found.pixels)
        self.found = found._replace(pixels=tensor.numpy())
        self._pixels = tensor
        starts = np.where(found.good, found.starts, -1)  # an invalid start for slices
        self._places = np.concatenate([starts[:, None], extent], axis=1)

    def columns(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of examples that `get` needs."""
        return {"window": self._places[index]}

    def get(self, example: dict[str, tf.Tensor]) -> tf.Tensor:
        """The window of an example, uint8 (height, width, 3)."""
        start, height, width = tf.unstack(example["window"])
        flat = tf.slice(self._pixels, [start], [height * width * 3])
        return tf.reshape(flat, tf.stack([height, width, 3]))
