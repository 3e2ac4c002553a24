"""One map from the maps of several layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from hiercam_keras.errors import UserError


def refine(maps: Sequence[Any]) -> jax.Array:
    """The product of the maps of several layers, each within 0 .. 1.

    Domeniconi et al. 2026, RefineCAM, arXiv:2605.14641. What an early layer marks in
    detail remains where all deeper ones mark something, too.

    Args:
      maps: signed, (..., h, w), of any sizes; the leading axes are the same. Of each
        the ReLU is taken, and scaled by (x - min) / (max - min). One that is constant
        or not finite gives zeros, and so does the product.

    Returns:
      (..., H, W) in 0 .. 1, as fine as the finest map, float32 or wider. Coarser maps
      are resized bilinearly.

    Raises:
      UserError: fewer than two maps.
    """
    if len(maps) < 2:
        raise UserError(
            f"maps of several layers are fused, found {len(maps)}: give layer= a list"
        )
    arrays = [jnp.asarray(one) for one in maps]
    size = tuple(max(one.shape[axis] for one in arrays) for axis in (-2, -1))
    product = None
    for one in arrays:
        scaled = _scaled(one.astype(jnp.promote_types(one.dtype, jnp.float32)))
        large = jax.image.resize(scaled, (*one.shape[:-2], *size), "bilinear")
        product = large if product is None else product * large
    return product


def _scaled(maps: jax.Array) -> jax.Array:
    positive = jax.nn.relu(maps)
    least = positive.min((-2, -1), keepdims=True)
    span = positive.max((-2, -1), keepdims=True) - least
    return jnp.where(span > 0, (positive - least) / jnp.where(span > 0, span, 1), 0)
