"""Benchmarks: Keras on JAX as it comes."""

import os

os.environ["KERAS_BACKEND"] = "jax"

from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402

from benchmarks.case import Case  # noqa: E402
from benchmarks.peers import jax_forward, keras_common, packages  # noqa: E402
from benchmarks.peers.jax_forward import device_memory  # noqa: E402, F401

LABEL = "Keras/JAX, stock"
TASKS = ("train", "forward")

_model = cache(keras_common.stock_model)


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    model = _model(case)
    if task == "forward":
        return jax_forward.forward(model, case)
    keras_common.compile_model(model)
    return keras_common.fit(model, case)


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return packages.versions("keras", "jax", "jaxlib")
