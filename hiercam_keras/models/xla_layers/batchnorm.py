"""Room models: batch normalization with a written-out gradient.

With n values per channel, xhat = (x - m) inv, inv = 1/sqrt(v + eps) (Ioffe and Szegedy
2015, arXiv:1502.03167):

    y     = gamma xhat + beta
    dbeta = sum dy,   dgamma = sum dy xhat
    dx    = gamma inv (dy - dbeta/n - xhat dgamma/n)

Mean and variance come from one pass over x. E[x^2] - m^2 would cancel where the mean is
far above the deviation, so the sums are taken of x - c, with c near the mean: the mean
of each image's central pixel. x - c is nearly exact in floating point, and m = c + d is
never rounded to one number before it is subtracted from x.
"""

from functools import partial

import jax
import jax.numpy as jnp
import keras
from jax import lax


def _reference(x: jax.Array) -> jax.Array:
    """A value per channel near its mean, from one pixel of each image: (C,)."""
    center = x[(slice(None), *(size // 2 for size in x.shape[1:-1]))]
    return jnp.mean(center, axis=0)


def _forward(x, gamma, beta, epsilon):
    dtype = gamma.dtype
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    c = _reference(x.astype(dtype))
    centered = x.astype(dtype) - c
    d = jnp.sum(centered, axes) / count
    variance = jnp.sum(jnp.square(centered), axes) / count - jnp.square(d)
    variance = jnp.maximum(variance, 0)
    inv = lax.rsqrt(variance + epsilon)
    y = (centered - d) * (inv * gamma) + beta
    return (y.astype(x.dtype), c + d, variance), (x, gamma, c, d, inv)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalize x (..., C) over all axes but the last: y, mean (C,), variance (C,).

    Sums are in the dtype of gamma, y in that of x. No gradient flows through the mean
    and the variance that are returned; dx is complete.
    """
    return _forward(x, gamma, beta, epsilon)[0]


def _forward_rule(x, gamma, beta, epsilon):
    return _forward(x, gamma, beta, epsilon)


def _backward_rule(epsilon, residuals, cotangents):
    x, gamma, c, d, inv = residuals
    dtype = gamma.dtype
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    dy = cotangents[0].astype(dtype)
    centered = x.astype(dtype) - c
    dbeta = jnp.sum(dy, axes)
    dgamma = (jnp.sum(dy * centered, axes) - d * dbeta) * inv
    scale = gamma * inv
    slope = -scale * inv * dgamma / count
    dx = dy * scale + (centered - d) * slope - scale * dbeta / count
    return dx.astype(x.dtype), dgamma, dbeta


batch_norm.defvjp(_forward_rule, _backward_rule)


class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, fast in training; saved as the stock layer.

    Inference, masks, renormalization and another axis than the last go to Keras' call.
    """

    __module__ = "keras.layers"

    def call(self, inputs, training=None, mask=None):
        """Normalize inputs (..., C); in training also move the moving statistics."""
        rank = len(inputs.shape)
        covered = (
            training
            and self.trainable
            and mask is None
            and not self.renorm
            and rank >= 2
            and self.axis in (-1, rank - 1)
        )
        if not covered:
            return super().call(inputs, training=training, mask=mask)
        inputs = keras.ops.cast(inputs, self.compute_dtype)
        # Not Keras' result_type, which makes float64 float32 under JAX.
        dtype = jnp.promote_types(inputs.dtype, "float32")
        channels = (inputs.shape[-1],)
        gamma, beta = jnp.ones(channels, dtype), jnp.zeros(channels, dtype)
        if self.scale:
            gamma = keras.ops.cast(self.gamma, dtype)
        if self.center:
            beta = keras.ops.cast(self.beta, dtype)
        outputs, mean, variance = batch_norm(inputs, gamma, beta, self.epsilon)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def _move(self, average, value):
        old = keras.ops.cast(average, value.dtype)
        new = old * self.momentum + lax.stop_gradient(value) * (1.0 - self.momentum)
        average.assign(new)
