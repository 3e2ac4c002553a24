"""Depthwise convolution as shifted multiply-adds, with an explicit gradient.

XLA:CPU lowers a grouped convolution and its two gradients to scalar loops. Here every
kernel tap multiplies one slice of the padded input by one vector of channels, which XLA
compiles to vector code. The gradients are explicit:

    out[b, r, q, c]  = sum_ij xp[b, s r + i, s q + j, c] w[i, j, c]
    dx[b, h, v, c]   = sum_ij dy[b, (h + p - i)/s, (v + p - j)/s, c] w[i, j, c]
    dw[i, j, c]      = sum_brq xp[b, s r + i, s q + j, c] dy[b, r, q, c]

with padding p. Terms of dx count only if the division by the stride s has no remainder,
so each of the s x s phases of dx is a stride-1 sum of shifted dy. Automatic
differentiation of the forward sum gives the same values, but one unfused pad for each
tap.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.halfword import accumulator, narrow
from hiercam_keras.models.xla_layers.sharding import sum_over_batch_shards

# Without barriers XLA fuses pads and transposes into the loops that read them and
# recomputes each padded value k * k times.
_barrier = lax.optimization_barrier

# Layers of equal shapes are traced once; the call is inlined.
_traced_once = partial(jax.jit, static_argnames=("rows", "cols"), inline=True)

# Images per step of the weight gradient's loop: four are faster than two or eight.
_MAX_IMAGES = 4


class Axis(NamedTuple):
    """One spatial axis: input size, taps, stride, zeros before and after, outputs."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    out: int


def spatial_axis(size: int, kernel: int, stride: int, padding: str) -> Axis:
    """Computes padding and output size of one axis, for padding "same" or "valid"."""
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return Axis(size, kernel, stride, total // 2, total - total // 2, out)
    return Axis(size, kernel, stride, 0, 0, (size - kernel) // stride + 1)


def pad_axes(x: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """Zero-pads (B, H, W, C) along both spatial axes, followed by a barrier."""
    pads = ((rows.before, rows.after), (cols.before, cols.after))
    if not any(map(any, pads)):
        return x
    return _barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))


def take_tap(xp: jax.Array, i: int, j: int, rows: Axis, cols: Axis) -> jax.Array:
    """The values of padded `xp` that tap (i, j) multiplies: (B, oh, ow, C)."""
    batch, _, _, channels = xp.shape
    bottom = i + (rows.out - 1) * rows.stride + 1
    right = j + (cols.out - 1) * cols.stride + 1
    return lax.slice(
        xp,
        (0, i, j, 0),
        (batch, bottom, right, channels),
        (1, rows.stride, cols.stride, 1),
    )


@_traced_once
def _forward(x, w, rows, cols):
    """The output, still with the dtype of its sums, and padded x and w."""
    dtype = accumulator(x.dtype)
    xp = pad_axes(_barrier(x), rows, cols)
    taps = w[..., 0].astype(dtype)  # (kh, kw, C)
    out = 0
    for i in range(rows.kernel):
        for j in range(cols.kernel):
            out = out + take_tap(xp, i, j, rows, cols) * taps[i, j]
    return out, (xp, w)


class Gather(NamedTuple):
    """Indexing of one axis of dx as a sum over padded dy.

    Position n * stride + phase of dx sums, over u in 0..U - 1, dy at n + u times tap
    (U - 1 - u) * stride + phase of padded w.

    Attributes:
      length: number of positions n.
      taps: zeros before and after the taps, which extend them to U * stride.
      pads: zeros before and after dy.
    """

    length: int
    taps: tuple[int, int]
    pads: tuple[int, int]


def _gather(axis: Axis) -> Gather:
    """Computes `Gather` from the taps i = phase + axis.before - offset * stride."""
    length = -(-axis.size // axis.stride)
    # The last phase with tap 0 has the largest offset, phase 0 with the last tap the
    # smallest.
    most = (axis.stride - 1 + axis.before) // axis.stride
    least = -((axis.kernel - 1 - axis.before) // axis.stride)
    front = most * axis.stride - axis.before
    back = (most - least + 1) * axis.stride - front - axis.kernel
    return Gather(length, (front, back), (-least, max(0, most + length - axis.out)))


def _pad_gradient(dy: jax.Array, down: Gather, across: Gather) -> jax.Array:
    """Pads dy with the zeros that the gradients read."""
    pads = ((0, 0), down.pads, across.pads, (0, 0))
    return _barrier(jnp.pad(dy, pads)) if any(map(any, pads)) else dy


def _gradient_taps(w, rows, cols):
    """The taps as `_shifted_sum` reads them: (height, stride, width, stride, C)."""
    down, across = _gather(rows), _gather(cols)
    taps = jnp.pad(w[..., 0], (down.taps, across.taps, (0, 0)))
    height, width = taps.shape[0] // rows.stride, taps.shape[1] // cols.stride
    taps = taps.reshape(height, rows.stride, width, cols.stride, taps.shape[-1])
    return _barrier(taps[::-1, :, ::-1])


def _shifted_sum(dyp, taps, rows, cols):
    """dx (B, H, W, C) from padded dy, with the dtype of the taps.

    One sum computes all phases: dy, broadcast over the phases, times the zero-padded
    taps. The result (B, height, stride, width, stride, C) has the memory layout of dx.
    Separate sums for each phase need fewer products, but their results have to be
    interleaved, which XLA may fuse into a loop with a branch for each value.
    """
    down, across = _gather(rows), _gather(cols)
    batch, _, _, channels = dyp.shape
    height, _, width = taps.shape[:3]
    dx = 0
    for u in range(height):
        for v in range(width):
            end = (batch, u + down.length, v + across.length, channels)
            shifted = lax.slice(dyp, (0, u, v, 0), end)
            dx = dx + shifted[:, :, None, :, None] * taps[u, :, v][:, None]
    shape = (batch, down.length * rows.stride, across.length * cols.stride, channels)
    return dx.reshape(shape)[:, : rows.size, : cols.size]


@_traced_once
def _input_gradient(dyp, w, rows, cols):
    """dx (B, H, W, C) from padded dy, with its dtype; stored as it is."""
    taps = _gradient_taps(w.astype(accumulator(dyp.dtype)), rows, cols)
    return _barrier(narrow(_shifted_sum(dyp, taps, rows, cols), dyp.dtype))


def gradient_by_slices(
    dy: jax.Array, w: jax.Array, rows: Axis, cols: Axis
) -> jax.Array:
    """dx (B, H, W, C) from dy (B, oh, ow, C), which XLA may fuse with what reads it.

    On CPUs such loops are slow; see `_barrier`. dx has 32 bits or more.
    """
    down, across = _gather(rows), _gather(cols)
    dyp = jnp.pad(dy, ((0, 0), down.pads, across.pads, (0, 0)))
    taps = _gradient_taps(w.astype(accumulator(dy.dtype)), rows, cols)
    return _shifted_sum(dyp, taps, rows, cols)


def _images_at_once(batch: int) -> int:
    """Images per loop step: the largest divisor of the batch up to _MAX_IMAGES."""
    return max(n for n in range(1, _MAX_IMAGES + 1) if batch % n == 0)


@_traced_once
def _weight_gradient(xp, dyp, rows, cols):
    """dw (kh, kw, C, 1) of one device's batch, from padded x and padded dy.

    Each step of the loop processes one output row of a few images and updates one
    (kh, ow, C) accumulator for each column of taps. The accumulators stay in cache and
    are read and written once for these images. The loop slices both arrays directly: a
    reshape or strided slice outside of it would materialize a copy.
    """
    dtype = accumulator(dyp.dtype)
    batch, _, _, channels = dyp.shape
    images = _images_at_once(batch)
    top, left = _gather(rows).pads[0], _gather(cols).pads[0]
    span = (cols.out - 1) * cols.stride + 1

    def lines(array, image, row, column, height, width):
        return lax.dynamic_slice(
            array,
            (image, row, column, 0),
            (1, height, width, channels),
            allow_negative_indices=False,
        )[0].astype(dtype)

    def add_row(n, sums):
        first, row = n // rows.out * images, n % rows.out
        found = list(sums)
        for image in (first + i for i in range(images)):
            grad = lines(dyp, image, row + top, left, 1, cols.out)
            for j in range(cols.kernel):
                taps = lines(xp, image, row * rows.stride, j, rows.kernel, span)
                found[j] += taps[:, :: cols.stride] * grad
        return tuple(found)

    zeros = (jnp.zeros((rows.kernel, cols.out, channels), dtype),) * cols.kernel
    steps = batch // images * rows.out
    sums = lax.fori_loop(0, steps, add_row, zeros)
    return jnp.stack([total.sum(1) for total in sums], axis=1)[..., None]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: jax.Array, w: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """Depthwise convolution of x (B, H, W, C) with w (kh, kw, C, 1): (B, oh, ow, C)."""
    # In inference XLA fuses the batch normalization behind it, which widens again.
    return _forward(x, w, rows, cols)[0].astype(x.dtype)


def _forward_rule(x, w, rows, cols):
    out, residuals = _forward(x, w, rows, cols)
    return narrow(out, x.dtype), residuals


def _backward_rule(rows, cols, residuals, dy):
    xp, w = residuals
    down, across = _gather(rows), _gather(cols)
    dyp = _pad_gradient(_barrier(dy), down, across)
    dx = _input_gradient(dyp, w, rows, cols)
    one_shard = partial(_weight_gradient, rows=rows, cols=cols)
    dw = sum_over_batch_shards(one_shard, xp, dyp)
    return dx, dw.astype(w.dtype)


depthwise_conv.defvjp(_forward_rule, _backward_rule)


def as_kernel(inputs: jax.Array, kernel: Any) -> tuple[jax.Array, jax.Array]:
    """Inputs and kernel in the dtype of the kernel, as Keras' convolutions take them.

    They differ where pictures are integers, or where a layer does not autocast.
    """
    kernel = keras.ops.convert_to_tensor(kernel)
    return keras.ops.convert_to_tensor(inputs, dtype=kernel.dtype), kernel


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`, fast under XLA:CPU; saved as the stock layer.

    Dilation, a depth multiplier and channels_first use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Convolves inputs (B, H, W, C), adds the bias, applies the activation."""
        covered = (
            self.data_format == "channels_last"
            and self.depth_multiplier == 1
            and set(self.dilation_rate) == {1}
            and len(inputs.shape) == 4
            and jnp.issubdtype(inputs.dtype, jnp.floating)
        )
        if not covered:
            return super().call(inputs)
        sizes = zip(inputs.shape[1:3], self.kernel_size, self.strides, strict=True)
        rows, cols = (spatial_axis(*size, self.padding) for size in sizes)
        inputs, kernel = as_kernel(inputs, self.kernel)
        outputs = depthwise_conv(inputs, kernel, rows, cols)
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)
