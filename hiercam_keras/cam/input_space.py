"""Attribution methods for input pixels.

The methods take a function `gradient` from float images (B, H, W, 3) to the gradients
(B, K, H, W, 3) of K scores, so they do not depend on models. They return maps
(B, K, H, W) at the resolution of the model input.
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

    Smilkov et al. 2017, arXiv:1706.03825.

    Args:
      gradient: see above.
      images: float (B, H, W, 3).
      keys: (B,), one PRNG key for each image, so that the noise of an image does not
        depend on its batch.
      samples: number of noisy images.
      noise: standard deviation as a fraction of the image's range max - min. The paper
        recommends 0.1 to 0.2.

    Returns:
      (B, K, H, W), nonnegative.
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

    Sundararajan et al. 2017, arXiv:1703.01365, equation 1, by the midpoint rule with an
    error of O(1 / steps^2). By completeness the sum of the map is y(x) - y(x').

    Args:
      gradient: see above.
      images: x, float (B, H, W, 3).
      baseline: x', the value of all pixels of the baseline image.
      steps: number of points of the midpoint rule.

    Returns:
      (B, K, H, W), signed.
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
    """|sum of the map - (y(x) - y(x'))|: (B, K), the error of the integration."""
    return jnp.abs(attribution.sum((-2, -1)) - (scores - baseline_scores))
