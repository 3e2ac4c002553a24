"""Benchmarks: a plain jitted forward pass of a Keras model, pictures in, logits out."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras
import numpy as np

from benchmarks.case import Case, images


def forward(model: keras.Model, case: Case) -> Callable[[int], None]:
    """uint8 pictures from the host in, float32 logits on the host out."""
    pixels = images(case)
    # Copies: training gives its own buffers away.
    variables = (
        [jnp.copy(variable.value) for variable in model.trainable_variables],
        [jnp.copy(variable.value) for variable in model.non_trainable_variables],
    )

    @jax.jit
    def logits(trainable, non_trainable, pictures):
        return model.stateless_call(trainable, non_trainable, pictures, training=False)[
            0
        ]

    def run(calls: int) -> None:
        for _ in range(calls):
            np.asarray(logits(*variables, pixels))

    return run


def device_memory() -> float | None:
    """Peak memory of the accelerator in MiB, None on a CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**20
