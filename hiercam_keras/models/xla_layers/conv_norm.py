"""A 1x1 convolution and the batch normalization behind it as one product.

In training a batch normalization reads x = h w four times: twice for its sums, for y,
and for the sums of its gradient. If the convolution has more outputs than inputs, all
of these follow from the smaller h. With n values per channel, m = E[h], S = cov(h),
inv = 1/sqrt(var(x) + eps) and a = gamma inv:

    E[x] = m w,   var(x) = diag(w' S w)
    y = (h - m) (w a) + beta
    dbeta = sum dy,   dgamma = inv diag(w' (h - m)'dy)
    dx = a dy - b - (h - m) w c,   b = a dbeta/n,   c = a inv dgamma/n
    dh = dx w' = dy (w a)' - b w' - (h - m) (w c w')
    dw = h'dx  = ((h - m)'dy) a - n S w c

Neither x nor dx is written. A column of ones next to h - m adds beta to y and gives
dbeta with the product of the gradient.
"""

import jax
import jax.numpy as jnp
from jax import lax

from hiercam_keras.models.xla_layers.conv import columns_product, product, transposed
from hiercam_keras.models.xla_layers.halfword import copies, narrow, widen
from hiercam_keras.processor import multiplies_bfloat16_fast

# Rows of h for each of its channels from which on the products by S and by w c w' cost
# less than the passes over x that they replace.
_LEAST_ROWS = 16

# var(x) is computed from x itself if the rounding of w' S w may exceed this times the
# float32 epsilon, in parts of var(x) + eps, in any channel. See `batchnorm`.
_FAR = 1e3

_barrier = lax.optimization_barrier


def pays(h: jax.Array, w: jax.Array) -> bool:
    """Whether h (B, H, W, A) convolved with w (A, C) is better not written."""
    few, many = w.shape
    if w.dtype == jnp.bfloat16 and not multiplies_bfloat16_fast():
        return False
    return few < many and h.size >= _LEAST_ROWS * few * few


@jax.custom_vjp
def conv_batch_norm(
    h: jax.Array, w: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalization of h (B, H, W, A) convolved with w (A, C).

    Returns y (B, H, W, C), and mean and biased variance (C,) of the convolution, which
    have no gradient. gamma and beta have the dtype of sums, y has that of h and w.
    """
    return _forward(h, w, gamma, beta, epsilon)[0]


def _forward(h, w, gamma, beta, epsilon):
    few = h.shape[-1]
    rows = h.reshape(-1, few)
    count = len(rows)
    m = jnp.sum(widen(rows), 0) / count
    ones = jnp.ones((count, 1), h.dtype)
    # The second copy: XLA would merge the first with the one that is summed.
    centered = narrow(copies(rows, 2)[-1] - m, h.dtype)
    extended = _barrier(jnp.concatenate([centered, ones], 1))
    wide = widen(w)
    covariance = columns_product(extended, extended)[:few, :few] / count
    variance = jnp.sum(wide * (covariance @ wide), 0)
    deviation = jnp.sqrt(jnp.diag(covariance))
    rounding = jnp.square(deviation @ jnp.abs(wide))
    far = jnp.any(rounding > _FAR * (variance + epsilon))
    variance = lax.cond(
        far,
        lambda: jnp.sum(jnp.square(widen(extended[:, :few]) @ wide), 0) / count,
        lambda: jnp.maximum(variance, 0),
    )
    inv = lax.rsqrt(variance + epsilon)
    kernel = jnp.concatenate([wide * (gamma * inv), beta[None]]).astype(w.dtype)
    y = product(extended, kernel).reshape(*h.shape[:-1], -1)
    residuals = extended, w, gamma, m, covariance, inv, far
    return (y, m @ wide, variance), residuals


def _backward(residuals, cotangents):
    extended, w, gamma, m, covariance, inv, far = residuals
    dy = cotangents[0]
    few, many = w.shape
    count = len(extended)
    rows = _barrier(dy.reshape(-1, many))
    sums = columns_product(extended, rows)
    sums, dbeta = sums[:few], sums[few]
    wide = widen(w)
    slope = lax.cond(
        far,
        lambda: jnp.sum(widen(rows) * (widen(extended[:, :few]) @ wide), 0),
        lambda: jnp.sum(wide * sums, 0),
    )
    dgamma = inv * slope
    a = gamma * inv
    b, c = a * dbeta / count, a * inv * dgamma / count
    dw = sums * a - count * (covariance @ wide) * c
    mixed = jnp.concatenate([(wide * c) @ wide.T, (wide @ b)[None]])
    dh = product(rows, transposed((wide * a).astype(w.dtype)))
    dh = dh - product(extended, mixed.astype(w.dtype))
    dh = dh.reshape(*dy.shape[:-1], few)
    return dh, dw.astype(w.dtype), dgamma, dbeta, None


conv_batch_norm.defvjp(_forward, _backward)
