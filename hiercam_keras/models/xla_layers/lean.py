"""Operations that read and write few arrays in training, for devices with fast cores.

A train step of a network of convolutions and batch normalizations waits for the main
memory of a GPU. The operations here keep the outputs of convolutions alone and compute
everything else from them again. XLA fuses elementwise work by itself, so three things
decide on the number of arrays:

- Statistics take one pass. The variance of Keras takes a second one, and its gradient
  a third one, of a sum that is zero.
- Barriers. A value that the forward and the backward pass share is stored, mostly in
  float32. Each consumer here computes its own from the stored convolution.
- After a 1x1 convolution x = h w of few channels to many, the statistics of x follow
  from those of the small h, and the sums of its gradient from the gradient of w.

With n values per channel, m = E[h], S = cov(h), xhat = (x - E[x]) inv, y = gamma xhat +
beta and dy the gradient of the loss by y:

    E[x] = m w,   var(x) = diag(w' S w)
    dbeta = sum dy,   dgamma = inv (diag(w' h'dy) - E[x] dbeta)
    dx = a dy - b - c (h - m) w,   a = gamma inv,  b = a dbeta/n,  c = a inv dgamma/n
    dh = dx w' = dy (w a)' - b w' - (h - m) (w c w')
    dw = h'dx  = (h'dy) a - n m b - n S w c

so dx is never written; dy is, in the dtype of x.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from hiercam_keras.models.xla_layers.depthwise import Axis, gradient_by_slices

_barrier = lax.optimization_barrier


def _all_but_last(x):
    return tuple(range(x.ndim - 1)), x.size // x.shape[-1]


def moments(x: jax.Array, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Parts c and d of the mean c + d of x (..., C), and the biased variance: (C,).

    Each is computed with `dtype` in one pass over x. c, without a gradient, is one of
    the values, so E[(x-c)^2] - d^2 loses little (Chan et al. 1983). It is 0 for values
    of 16 bits: their own rounding, 2^-9 of the mean, exceeds the loss.
    """
    axes, count = _all_but_last(x)
    c = jnp.zeros(x.shape[-1], dtype)
    if x.dtype == dtype:
        c = lax.stop_gradient(x[(0,) * len(axes)])
    centered = x.astype(dtype) - c
    d = jnp.sum(centered, axes) / count
    variance = jnp.sum(jnp.square(centered), axes) / count - jnp.square(d)
    return c, d, jnp.maximum(variance, 0)


def _normalized(x, center, inv):
    """xhat from x and the parts (c, d) of its mean."""
    c, d = center
    return (x.astype(c.dtype) - c - d) * inv


def _activated(y, swish):
    """Swish of y, or y, and its derivative."""
    if not swish:
        return y, None
    s = lax.logistic(y)
    return y * s, s * (1 + y * (1 - s))


def _rounded(x, dtype):
    """x with a dtype, for several readers in one fused loop.

    XLA drops a rounding to 16 bits that readers undo (its option
    allow_excess_precision), and may then store x in float32 for them. Two reversals,
    which a fused loop does by its indices, keep the rounding.
    """
    if x.dtype == dtype or x.ndim < 2:
        return x.astype(dtype)
    return lax.rev(lax.rev(x, (1,)).astype(dtype), (1,))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(
    x: jax.Array, gamma: jax.Array, beta: jax.Array, epsilon: float, swish: bool
) -> tuple[tuple[jax.Array, ...], jax.Array, jax.Array]:
    """Batch normalization of x (..., C), followed by a swish if `swish`.

    Returns:
      The result three times, with the dtype of x, for three consumers that each compute
      their own; mean and biased variance (C,) in the dtype of gamma, which have no
      gradient.
    """
    return _norm_forward(x, gamma, beta, epsilon, swish)[0]


def _norm_forward(x, gamma, beta, epsilon, swish):
    *center, variance = moments(x, gamma.dtype)
    inv = lax.rsqrt(variance + epsilon)

    def result(different):
        # Barriers with the same operands would be one.
        own, _ = _barrier((x, different))
        y = _normalized(own, center, inv) * gamma + beta
        return _rounded(_activated(y, swish)[0], x.dtype)

    results = tuple(result(one) for one in (center[0], variance, inv))
    return (results, sum(center), variance), (x, gamma, beta, center, inv)


def _norm_backward(epsilon, swish, residuals, cotangents):
    x, gamma, beta, center, inv = residuals
    dz = sum(one.astype(gamma.dtype) for one in cotangents[0])
    dz = _rounded(dz, x.dtype).astype(gamma.dtype)
    axes, count = _all_but_last(x)

    def gradient_of_y(x):
        xhat = _normalized(x, center, inv)
        slope = _activated(xhat * gamma + beta, swish)[1]
        return xhat, dz if slope is None else dz * slope

    x = _barrier(x)
    xhat, dy = gradient_of_y(x)
    sums = jnp.sum(dy, axes), jnp.sum(dy * xhat, axes)
    x, (dbeta, dgamma) = _barrier((x, sums))  # dy is computed twice, not stored
    xhat, dy = gradient_of_y(x)
    dx = gamma * inv * (dy - dbeta / count - xhat * (dgamma / count))
    return dx.astype(x.dtype), dgamma, dbeta


batch_norm.defvjp(_norm_forward, _norm_backward)


@jax.custom_vjp
def scale_channels(x: jax.Array, again: jax.Array, scale: jax.Array) -> jax.Array:
    """x (B, H, W, C) times scale (B, 1, 1, C).

    `again` equals x; the gradient of scale is computed from it, and its own is zero.
    """
    return x * scale


def _scale_forward(x, again, scale):
    return x * scale, (again, scale)


def _scale_backward(residuals, dy):
    again, scale = residuals
    wide = jnp.promote_types(dy.dtype, jnp.float32)
    products = dy.astype(wide) * again.astype(wide)
    dscale = jnp.sum(products, (1, 2), keepdims=True).astype(scale.dtype)
    return dy * scale, jnp.zeros_like(again), dscale


scale_channels.defvjp(_scale_forward, _scale_backward)


def _product(a, b):
    """a' b of (n, A) and (n, B): (A, B), summed and returned in 32 bits or more."""
    wide = jnp.promote_types(a.dtype, jnp.float32)
    # Factors of 16 bits have no other precision.
    precision = lax.Precision.HIGHEST if a.dtype == wide else None
    axes = (((0,), (0,)), ((), ()))
    return lax.dot_general(a, b, axes, precision, preferred_element_type=wide)


_exact = partial(jnp.matmul, precision=lax.Precision.HIGHEST)  # of small matrices


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def conv_batch_norm(
    x: jax.Array,
    h: jax.Array,
    w: jax.Array,
    gamma: jax.Array,
    beta: jax.Array,
    epsilon: float,
    swish: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalization after a 1x1 convolution, and a swish if `swish`.

    Args:
      x: h (B, H, W, A) convolved with w (A, C): (B, H, W, C). Its gradient is zero;
        those of h and w are complete.
      h, w, gamma, beta, epsilon, swish: see above.

    Returns:
      The result with the dtype of x; mean and biased variance of x, (C,).
    """
    return _conv_forward(x, h, w, gamma, beta, epsilon, swish)[0]


def _conv_forward(x, h, w, gamma, beta, epsilon, swish):
    flat = h.reshape(-1, h.shape[-1])
    count = flat.shape[0]
    wide = w.astype(gamma.dtype)
    m = jnp.sum(flat.astype(gamma.dtype), 0) / count
    if h.dtype == gamma.dtype:
        centered = flat - m
        covariance = _product(centered, centered) / count
    else:  # 16 bits round h itself by more than the difference loses
        covariance = _product(flat, flat) / count - m[:, None] * m
    mean = _exact(m, wide)
    variance = jnp.maximum(jnp.sum(wide * _exact(covariance, wide), 0), 0)
    inv = lax.rsqrt(variance + epsilon)
    y = _normalized(x, (mean, 0), inv) * gamma + beta
    z = _activated(y, swish)[0].astype(x.dtype)
    residuals = x, h, w, gamma, beta, m, covariance, mean, inv
    return (z, mean, variance), residuals


def _conv_backward(epsilon, swish, residuals, cotangents):
    x, h, w, gamma, beta, m, covariance, mean, inv = residuals
    axes, count = _all_but_last(x)
    dtype = gamma.dtype
    dy = cotangents[0].astype(dtype)
    if swish:
        y = _normalized(_barrier(x), (mean, 0), inv) * gamma + beta
        dy = dy * _activated(y, swish)[1]
    stored = _rounded(dy, x.dtype)
    stored, dbeta = _barrier((stored, jnp.sum(stored.astype(dtype), axes)))
    flat, rows = h.reshape(-1, h.shape[-1]), stored.reshape(-1, x.shape[-1])
    wide = w.astype(dtype)
    product = _product(flat, rows)
    dgamma = inv * (jnp.sum(wide * product, 0) - mean * dbeta)
    a = gamma * inv
    b, c = a * dbeta / count, a * inv * dgamma / count
    dw = product * a - count * (m[:, None] * b + _exact(covariance, wide) * c)
    mixed = _exact(wide * c, wide.T)
    shift = _exact(m, mixed) - _exact(wide, b)
    dh = rows @ (wide * a).T.astype(w.dtype) - flat @ mixed.astype(h.dtype)
    dh = dh + shift.astype(h.dtype)
    return None, dh.reshape(h.shape), dw.astype(w.dtype), dgamma, dbeta


conv_batch_norm.defvjp(_conv_forward, _conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise_conv(
    x: jax.Array, w: jax.Array, convolve, rows: Axis, cols: Axis
) -> jax.Array:
    """Depthwise convolution with an input gradient of shifted slices.

    XLA fuses the slices with what reads the gradient, so dx is not stored. cuDNN takes
    the dy of a strided convolution with zeros between its values, which is written to
    memory: four times its size and more.

    Args:
      x: (B, H, W, C).
      w: (kh, kw, C, 1).
      convolve: the function of x and w that computes the result.
      rows, cols: of `depthwise.spatial_axis`.
    """
    return convolve(x, w)


def _depthwise_forward(x, w, convolve, rows, cols):
    return convolve(x, w), (x, w)


def _depthwise_backward(convolve, rows, cols, residuals, dy):
    x, w = residuals
    _, pull = jax.vjp(partial(convolve, x), w)
    # dy is stored for dw in any case; without the barrier each slice computes its own.
    dx = gradient_by_slices(_barrier(dy), w, rows, cols)
    return _rounded(dx, x.dtype), pull(dy)[0]


depthwise_conv.defvjp(_depthwise_forward, _depthwise_backward)
