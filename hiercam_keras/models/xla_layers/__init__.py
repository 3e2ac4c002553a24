"""Replacements of stock Keras layers with equal results, optimized for XLA."""

from hiercam_keras.models.xla_layers.swap import (
    CPU_KINDS,
    KINDS,
    accelerate,
    accelerated_layers,
    resolve_kinds,
    stock,
)

__all__ = [
    "CPU_KINDS",
    "KINDS",
    "accelerate",
    "accelerated_layers",
    "resolve_kinds",
    "stock",
]
