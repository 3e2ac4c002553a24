"""Benchmarks: EfficientNetB0 in Keras, the way a user trains and asks it."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from benchmarks.case import LEARNING_RATE, NUM_LABELS, Case, images, labels


def start(case: Case) -> None:
    """The dtype policy of a case, and seeded weights.

    Keras draws its seeds from `random`; its own set_random_seed would import
    TensorFlow under every backend, which takes seconds of the time to the first step.
    """
    random.seed(0)
    mixed = case.dtype == "bfloat16"
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")


def stock_model(case: Case) -> keras.Model:
    """`keras.applications.EfficientNetB0` with float32 logits, random weights."""
    start(case)
    backbone = keras.applications.EfficientNetB0(
        include_top=False,
        weights=None,
        input_shape=(case.size, case.size, 3),
        pooling="avg",
    )
    features = keras.layers.Dropout(0.2)(backbone.output)
    logits = keras.layers.Dense(NUM_LABELS, dtype="float32")(features)
    return keras.Model(backbone.input, logits)


def compile_model(model: keras.Model, jit_compile: Any = "auto") -> None:
    """Adam on cross-entropy, with accuracy, as in training."""
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile,
    )


def fit(
    model: keras.Model,
    case: Case,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    place: Callable[[Any], Any] = lambda batch: batch,
) -> Callable[[int], None]:
    """Training by `fit` on batches of NumPy arrays that are in memory.

    `place` moves a batch to where the model is given it.
    """
    pixels, truth = images(case), labels(case)

    def batches(calls: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(calls):
            yield place((pixels, truth))

    def run(calls: int) -> None:
        model.fit(
            batches(calls),
            steps_per_epoch=calls,
            epochs=1,
            verbose=0,
            shuffle=False,
            callbacks=list(callbacks),
        )

    return run
