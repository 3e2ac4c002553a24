"""Score-CAM: channel weights from forward passes instead of gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def top_channels(activations: jax.Array, count: int) -> jax.Array:
    """Indices (B, count) of the channels with the largest spatial standard deviation.

    The selection of FasterScore-CAM: a constant channel masks nothing. `count` is
    limited to the number of channels.
    """
    spread = activations.std((1, 2))  # (B, C)
    return jax.lax.top_k(spread, min(count, spread.shape[-1]))[1]


def scorecam(
    score: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    activations: jax.Array,
    *,
    channels: int,
) -> jax.Array:
    """sum_k w_k A_k with w = softmax over k of y(image masked by channel k).

    Wang et al. 2020, arXiv:1910.01279, equations 3 to 6. The mask is A_k, resized to
    the image and min-max normalized. Masked pixels are replaced by the image's mean
    color, because black is not neutral for images in 0..255. The paper's baseline score
    cancels in the softmax.

    Args:
      score: function from images (B, H, W, 3) to scores (B, K).
      images: float (B, H, W, 3).
      activations: (B, h, w, C).
      channels: number of channels to use, with one forward pass each.

    Returns:
      Maps (B, K, h, w).
    """
    batch, height, width, _ = images.shape
    chosen = top_channels(activations, channels)
    picked = jnp.take_along_axis(activations, chosen[:, None, None, :], axis=-1)
    mean = images.mean((1, 2), keepdims=True)

    def masked_score(channel):  # (B, h, w) -> (B, K)
        mask = jax.image.resize(channel, (batch, height, width), "bilinear")
        low = mask.min((1, 2), keepdims=True)
        span = mask.max((1, 2), keepdims=True) - low
        mask = jnp.where(span > 0, (mask - low) / jnp.where(span > 0, span, 1), 0.0)
        return score(mean + mask[..., None] * (images - mean))

    scores = jax.lax.map(masked_score, jnp.moveaxis(picked, -1, 0))  # (N, B, K)
    weights = jax.nn.softmax(scores, axis=0)
    return jnp.einsum("bhwn,nbk->bkhw", picked, weights)
