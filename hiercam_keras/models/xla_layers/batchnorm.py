"""Batch normalization with an explicit gradient.

With n values per channel, xhat = (x - m) inv, inv = 1/sqrt(v + eps) (Ioffe and Szegedy
2015, arXiv:1502.03167):

    y     = gamma xhat + beta
    dbeta = sum dy,   dgamma = sum dy xhat
    dx    = gamma inv (dy - dbeta/n - xhat dgamma/n)

The sums run over x and x^2, not over x - c with c near the mean: XLA would write x - c
to memory or recompute x for each sum, and x is often an entire depthwise convolution.
E[x^2] - m^2 cancels if the mean is much larger than the standard deviation. If this
occurs in any channel, the sums are computed again over x - c, where c is the first
estimate of the mean. The mean is then c + d; c and d are subtracted from x separately,
without rounding their sum.
"""

from functools import partial

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.conv_norm import conv_batch_norm, pays
from hiercam_keras.models.xla_layers.halfword import copies, narrow, widen
from hiercam_keras.models.xla_layers.notes import Convolved, Normalized, note, noted

# Sums are centered if mean^2/(variance + epsilon) exceeds this in any channel. At the
# limit the float32 error of E[x^2] - m^2 is about 1e3 * 6e-8 of variance + epsilon.
_FAR = 1e3

# Layers of equal shapes are traced once; the call is inlined.
_traced_once = partial(jax.jit, inline=True)


def _far(mean: jax.Array, inv: jax.Array) -> jax.Array:
    """Whether uncentered sums cancel in any channel: bool ()."""
    return jnp.any(jnp.square(mean * inv) > _FAR)


def _moments(x: jax.Array, epsilon: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns c, d and the biased variance, (C,) each; the mean is c + d."""
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    one, other = copies(x, 2)
    c = jnp.sum(one, axes) / count
    variance = jnp.sum(jnp.square(other), axes) / count - jnp.square(c)
    variance = jnp.maximum(variance, 0)

    def again():
        centered = widen(x) - c
        d = jnp.sum(centered, axes) / count
        exact = jnp.sum(jnp.square(centered), axes) / count - jnp.square(d)
        return d, jnp.maximum(exact, 0)

    far = _far(c, lax.rsqrt(variance + epsilon))
    d, variance = lax.cond(far, again, lambda: (jnp.zeros_like(c), variance))
    return c, d, variance


@partial(_traced_once, static_argnames="epsilon")
def _forward(x, gamma, beta, epsilon):
    c, d, variance = _moments(x, epsilon)
    inv = lax.rsqrt(variance + epsilon)
    # The third copy: XLA would merge the first two with those of `_moments`.
    y = normalized(copies(x, 3)[-1], c, d, inv * gamma, beta)
    return (narrow(y, x.dtype), (c, d), variance), (x, gamma, c, d, inv)


def normalized(x, c, d, scale, beta):
    """y from x (..., C), the parts of its mean c + d, scale = gamma inv and beta."""
    return (x - c - d) * scale + beta


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float
) -> tuple[jax.Array, tuple[jax.Array, jax.Array], jax.Array]:
    """Normalizes x (..., C) over all axes but the last: y, (c, d) and the variance.

    The mean c + d and the biased variance are (C,). Sums are computed in the dtype of
    gamma; y has the dtype of x. The gradient dx is complete, including the dependence
    of y on mean and variance, but no gradient flows through the mean and the variance
    that are returned.
    """
    return _forward(x, gamma, beta, epsilon)[0]


def _forward_rule(x, gamma, beta, epsilon):
    return _forward(x, gamma, beta, epsilon)


@_traced_once
def _backward(x, gamma, c, d, inv, dy):
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    to_sum, to_scale = copies(dy, 2)
    dbeta = jnp.sum(to_sum, axes)
    product = lax.cond(
        _far(c, inv),
        lambda: jnp.sum(widen(dy) * (widen(x) - c - d), axes),
        lambda: jnp.sum(widen(dy) * widen(x), axes) - (c + d) * dbeta,
    )
    dgamma = product * inv
    scale = gamma * inv
    slope = -scale * inv * dgamma / count
    dx = to_scale * scale + (widen(x) - c - d) * slope - scale * dbeta / count
    return narrow(dx, x.dtype), dgamma, dbeta


def _backward_rule(epsilon, residuals, cotangents):
    return _backward(*residuals, cotangents[0])


batch_norm.defvjp(_forward_rule, _backward_rule)


def _folds(origin: Convolved) -> bool:
    """Whether the normalization of a convolution is computed with it.

    Not with several devices: each layer would sum a matrix over the batch, in the
    middle of the backward pass.
    """
    return pays(*origin) and keras.distribution.distribution() is None


class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, fast in training; saved as the stock layer.

    Inference, frozen layers, masks, renormalization and axes other than the last use
    Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs, training=None, mask=None):
        """Normalizes inputs (..., C); training also updates the moving statistics."""
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
        # Keras' result_type would demote float64 to float32 under JAX.
        dtype = jnp.promote_types(inputs.dtype, "float32")
        channels = (inputs.shape[-1],)
        gamma, beta = jnp.ones(channels, dtype), jnp.zeros(channels, dtype)
        if self.scale:
            gamma = keras.ops.cast(self.gamma, dtype)
        if self.center:
            beta = keras.ops.cast(self.beta, dtype)
        outputs, mean, variance = self.normalize(inputs, gamma, beta)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def normalize(self, inputs, gamma, beta):
        """Returns y, mean and variance of inputs (..., C)."""
        origin = noted(inputs)
        if isinstance(origin, Convolved) and _folds(origin):
            return conv_batch_norm(*origin, gamma, beta, self.epsilon)
        y, center, variance = batch_norm(inputs, gamma, beta, self.epsilon)
        if inputs.dtype == gamma.dtype:
            scale = gamma * lax.rsqrt(variance + self.epsilon)
            note(y, Normalized(inputs, *center, scale, beta))
        return y, sum(center), variance

    def _move(self, average, value):
        old = keras.ops.cast(average, value.dtype)
        new = old * self.momentum + lax.stop_gradient(value) * (1.0 - self.momentum)
        average.assign(new)
