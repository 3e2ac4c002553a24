"""Benchmarks: Keras on TensorFlow.

Without XLA, which Keras would turn on by itself: on a CPU TensorFlow's own kernels are
the faster ones, and a peer is to be shown at its best.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402

import tensorflow as tf  # noqa: E402

from benchmarks.case import Case, images, labels  # noqa: E402
from benchmarks.peers import keras_common, packages  # noqa: E402

LABEL = "Keras/TensorFlow"
TASKS = ("train", "forward")

_model = cache(keras_common.stock_model)


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    model = _model(case)
    if task == "forward":
        return _forward(model, case)
    keras_common.compile_model(model, jit_compile=case.device == "gpu")
    batch = tf.data.Dataset.from_tensors((images(case), labels(case)))

    def run(calls: int) -> None:
        model.fit(batch.repeat(calls), epochs=1, verbose=0)

    return run


def _forward(model, case):
    pixels = images(case)
    logits = tf.function(
        lambda pictures: model(pictures, training=False),
        jit_compile=case.device == "gpu",
    )

    def run(calls: int) -> None:
        for _ in range(calls):
            logits(tf.constant(pixels)).numpy()

    return run


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return {**packages.versions("keras"), "tensorflow": tf.__version__}
