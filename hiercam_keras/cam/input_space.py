"""Attributions to the pixels themselves, which no layer is chosen for.

Functions of `gradient`, which takes float images (B, H, W, 3) to the gradients
(B, K, H, W, 3) of K scores, so that they know nothing of models. They give maps
(B, K, H, W) in model-input pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Gradient = Callable[[jax.Array], jax.Array]


def saliency(gradient: Gradient, images: jax.Array) -> jax.Array:
    """max_c |dy/dx_c|. Simonyan et al. 2014, arXiv:1312.6034, section 3.1."""
    return jnp.abs(gradient(images)).max(-1)


def smoothgrad(
    gradient: Gradient,
    images: jax.Array,
    keys: jax.Array,
    *,
    samples: int,
    noise: float,
) -> jax.Array:
    """max_c |mean over samples of dy/dx_c at x + normal noise|.

    Smilkov et al. 2017, arXiv:1706.03825: the noise's standard deviation is `noise`
    times the image's own range max - min (they find 0.1 to 0.2 good).

    Args:
      keys: one PRNG key an image, (B,), so that an image's noise is its own.
    """
    axes = (1, 2, 3)
    spread = noise * (images.max(axes) - images.min(axes))[:, None, None, None]

    def add(total, sample):
        fresh = jax.vmap(lambda key: jax.random.fold_in(key, sample))(keys)
        draw = jax.vmap(
            lambda key: jax.random.normal(key, images.shape[1:], images.dtype)
        )(fresh)
        return total + gradient(images + spread * draw), None

    start = jnp.zeros_like(jax.eval_shape(gradient, images))
    total, _ = jax.lax.scan(add, start, jnp.arange(samples))
    return jnp.abs(total / samples).max(-1)


def integrated_gradients(
    gradient: Gradient, images: jax.Array, *, baseline: float, steps: int
) -> jax.Array:
    """sum_c (x - x') * integral over a in [0, 1] of dy/dx_c at x' + a (x - x').

    Sundararajan et al. 2017, arXiv:1703.01365, equation 1, by the midpoint rule, which
    does not touch the end points and errs by O(1 / steps^2). The map is signed; by
    completeness its sum is y(x) - y(x').

    Args:
      baseline: x', the value of every pixel of the image that says nothing.
    """
    reach = images - baseline

    def add(total, step):
        at = (step + 0.5) / steps
        return total + gradient(baseline + at.astype(images.dtype) * reach), None

    start = jnp.zeros_like(jax.eval_shape(gradient, images))
    total, _ = jax.lax.scan(add, start, jnp.arange(steps))
    return (reach[:, None] * total / steps).sum(-1)


def completeness_gap(
    attribution: jax.Array, scores: jax.Array, baseline_scores: jax.Array
) -> jax.Array:
    """|sum of the map - (y(x) - y(x'))|: (B, K). What integrated gradients misses."""
    return jnp.abs(attribution.sum((-2, -1)) - (scores - baseline_scores))
