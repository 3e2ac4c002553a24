"""Replacements of stock Keras layers with equal results, optimized for XLA."""

from hiercam_keras.models.xla_layers.swap import (
    KINDS,
    accelerate,
    accelerated_layers,
    resolve_kinds,
    stock,
)

__all__ = ["KINDS", "accelerate", "accelerated_layers", "resolve_kinds", "stock"]
