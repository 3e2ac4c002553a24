"""A model as it is exported: Keras' own layers, in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from hiercam_keras.models import xla_layers
from hiercam_keras.models.layers import all_layers

_NARROW = ("float16", "bfloat16")


@contextlib.contextmanager
def stock(model: keras.Model) -> Iterator[None]:
    """Replaces the program's fast layers by Keras' own within the context."""
    counts = xla_layers.accelerated_layers(model)
    xla_layers.stock(model)
    try:
        yield
    finally:
        xla_layers.accelerate(model, tuple(kind for kind, n in counts.items() if n))


@contextlib.contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Layers that compute in 16 bits compute in float32 within the context.

    Their weights are float32 already, under a mixed policy.
    """
    changed = []
    try:
        for layer in [model, *all_layers(model)]:
            policy = getattr(layer, "dtype_policy", None)
            if getattr(policy, "compute_dtype", None) in _NARROW:
                changed.append((layer, policy))
                layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy
