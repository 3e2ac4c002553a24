"""The gradient of a max pooling, in operations that ONNX has.

JAX computes it by select_and_scatter_add, which puts the gradient of each window to the
place of its first maximum. ONNX has no such operator. Where windows do not overlap, as
in VGG16, the places within a window are strided slices, which are compared one by one.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def fits(params: Mapping[str, Any]) -> bool:
    """Whether select_and_scatter_add with these parameters is of a max pooling with
    windows that neither overlap nor leave the array."""
    return (
        params["select_prim"].name == "ge"
        and tuple(params["window_dimensions"]) == tuple(params["window_strides"])
        and not np.any(params["padding"])
    )


def unpooled(
    source: jax.Array, operand: jax.Array, windows: Sequence[int]
) -> jax.Array:
    """Each value of `source` at the place of the first maximum of its window, else 0.

    Args:
      source: gradient of the pooled array.
      operand: what was pooled; the rest that no window covers gets 0.
      windows: size of a window along each axis; windows are next to one another.

    Returns:
      Of the shape of `operand`.
    """
    axes = [axis for axis, size in enumerate(windows) if size > 1]
    sizes = [windows[axis] for axis in axes]
    places = list(np.ndindex(*sizes))
    parts = [_part(operand, source.shape, axes, sizes, place) for place in places]
    top = functools.reduce(jnp.maximum, parts)
    found, free = {}, jnp.ones_like(top)
    for place, part in zip(places, parts, strict=True):
        first = free * (part >= top).astype(free.dtype)
        free = free - first
        found[place] = first * source
    for level in reversed(range(len(axes))):
        found = _joined(found, axes[level], sizes[level])
    (whole,) = found.values()
    rest = [(0, 0)] * operand.ndim
    for axis in axes:
        rest[axis] = (0, operand.shape[axis] - whole.shape[axis])
    return jnp.pad(whole, rest, constant_values=0.0) if np.any(rest) else whole


def _part(operand, count, axes, sizes, place):
    """The values at one place of every window."""
    for axis, size, start in zip(axes, sizes, place, strict=True):
        operand = jax.lax.slice_in_dim(operand, start, count[axis] * size, size, axis)
    return operand


def _joined(parts, axis, size):
    """Interleaves along an axis the parts that differ in the last number of their
    place."""
    found = {}
    for place in dict.fromkeys(place[:-1] for place in parts):
        stacked = jnp.stack([parts[(*place, i)] for i in range(size)], axis + 1)
        shape = stacked.shape
        shape = (*shape[:axis], shape[axis] * size, *shape[axis + 2 :])
        found[place] = stacked.reshape(shape)
    return found
