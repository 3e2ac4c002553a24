"""Room models: depthwise convolution as shifted multiply-adds, with its own gradient.

XLA:CPU lowers a grouped convolution and its two gradients to scalar loops. Here every
kernel tap is one slice of the padded input times one row of channels, which XLA turns
into vector code, and the gradients are written out:

    out[b, r, q, c]  = sum_ij xp[b, s r + i, s q + j, c] w[i, j, c]
    dx[b, h, v, c]   = sum_ij dy[b, (h + p - i)/s, (v + p - j)/s, c] w[i, j, c]
    dw[i, j, c]      = sum_brq xp[b, s r + i, s q + j, c] dy[b, r, q, c]

where terms of dx count only if the division by the stride s leaves no remainder, so
that each of the s x s phases of dx is itself a stride-1 sum of shifted dy.
Differentiating the forward sum automatically gives the same values, but one unfused
pad for every tap.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.sharding import sum_over_batch_shards

# Without barriers XLA fuses pads and transposes into the loops that read them, and
# computes each padded value k * k times.
_barrier = lax.optimization_barrier


class Axis(NamedTuple):
    """One spatial axis: input size, taps, stride, zeros before and after, outputs."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    out: int


def spatial_axis(size: int, kernel: int, stride: int, padding: str) -> Axis:
    """Lay out one axis as Keras does for padding "same" or "valid"."""
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return Axis(size, kernel, stride, total // 2, total - total // 2, out)
    return Axis(size, kernel, stride, 0, 0, (size - kernel) // stride + 1)


def pad_axes(x: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """Zero-pad (B, H, W, C) as the two axes ask, behind a barrier."""
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


def _accumulator(dtype) -> jnp.dtype:
    """Sums of 16-bit values are kept in float32, as XLA's own convolution does."""
    return jnp.promote_types(dtype, jnp.float32)


def _forward(x, w, rows, cols):
    dtype = _accumulator(x.dtype)
    xp = pad_axes(_barrier(x), rows, cols)
    taps = w[..., 0].astype(dtype)  # (kh, kw, C)
    out = 0
    for i in range(rows.kernel):
        for j in range(cols.kernel):
            out = out + take_tap(xp, i, j, rows, cols) * taps[i, j]
    return out.astype(x.dtype), (xp, w)


def _phase_shifts(axis: Axis, phase: int) -> list[tuple[int, int]]:
    """(tap, offset into dy) of the taps that reach input positions phase + n stride."""
    return [
        (i, (phase + axis.before - i) // axis.stride)
        for i in range(axis.kernel)
        if (phase + axis.before - i) % axis.stride == 0
    ]


def _phase_padding(axis: Axis) -> tuple[int, int, int]:
    """Length of a phase of dx, and the zeros before and after dy that it reaches."""
    length = -(-axis.size // axis.stride)
    offsets = [o for a in range(axis.stride) for _, o in _phase_shifts(axis, a)]
    before = max(0, -min(offsets))
    after = max(0, max(offsets) + length - axis.out)
    return length, before, after


def _input_gradient(dy, w, rows, cols):
    """dx (B, H, W, C) from dy (B, oh, ow, C)."""
    dtype = _accumulator(dy.dtype)
    batch, _, _, channels = dy.shape
    height, top, bottom = _phase_padding(rows)
    width, left, right = _phase_padding(cols)
    taps = w[..., 0].astype(dtype)
    dyp = dy
    if top or bottom or left or right:
        dyp = _barrier(jnp.pad(dy, ((0, 0), (top, bottom), (left, right), (0, 0))))

    def one_phase(a, b):
        total = jnp.zeros((batch, height, width, channels), dtype)
        for i, u in _phase_shifts(rows, a):
            for j, v in _phase_shifts(cols, b):
                start = (0, u + top, v + left, 0)
                shape = (batch, u + top + height, v + left + width, channels)
                total = total + lax.slice(dyp, start, shape) * taps[i, j]
        return total.astype(dy.dtype)

    if rows.stride == cols.stride == 1:
        return _barrier(one_phase(0, 0))
    interleaved = [
        _barrier(jnp.stack([one_phase(a, b) for b in range(cols.stride)], axis=3))
        for a in range(rows.stride)
    ]
    dx = jnp.stack(interleaved, axis=2)  # (B, height, sh, width, sw, C)
    dx = dx.reshape(batch, height * rows.stride, width * cols.stride, channels)
    return _barrier(dx[:, : rows.size, : cols.size])


def _weight_gradient(xp, dy, rows, cols):
    """dw (kh, kw, C, 1) of one device's batch.

    One row of outputs for each iteration, carrying one running (ow * C) vector for each
    tap: all of them stay in cache. Two rows an iteration were five times slower.
    """
    dtype = _accumulator(dy.dtype)
    batch, _, _, channels = dy.shape
    span = cols.out * channels
    grads = dy.reshape(batch, rows.out, span)
    phases = {}
    for a in range(min(rows.stride, rows.kernel)):
        for b in range(min(cols.stride, cols.kernel)):
            phase = xp[:, a :: rows.stride, b :: cols.stride]
            phases[a, b] = phase.reshape(batch, phase.shape[1], -1)
    phases = _barrier(phases)

    def add_row(n, sums):
        image, row = n // rows.out, n % rows.out
        grad = lax.dynamic_slice(grads, (image, row, 0), (1, 1, span))[0, 0]
        grad = grad.astype(dtype)
        lines = {
            (a, b): lax.dynamic_slice(
                phase,
                (image, row, 0),
                (1, 1 + (rows.kernel - 1 - a) // rows.stride, phase.shape[2]),
            )[0]
            for (a, b), phase in phases.items()
        }
        new = []
        for i in range(rows.kernel):
            for j in range(cols.kernel):
                line = lines[i % rows.stride, j % cols.stride][i // rows.stride]
                start = (j // cols.stride) * channels
                new.append(sums[len(new)] + line[start : start + span] * grad)
        return tuple(new)

    zeros = tuple(jnp.zeros(span, dtype) for _ in range(rows.kernel * cols.kernel))
    sums = lax.fori_loop(0, batch * rows.out, add_row, zeros)
    dw = jnp.stack([s.reshape(cols.out, channels).sum(0) for s in sums])
    return dw.reshape(rows.kernel, cols.kernel, channels, 1)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: jax.Array, w: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """Depthwise convolution of x (B, H, W, C) with w (kh, kw, C, 1): (B, oh, ow, C)."""
    return _forward(x, w, rows, cols)[0]


def _forward_rule(x, w, rows, cols):
    return _forward(x, w, rows, cols)


def _backward_rule(rows, cols, residuals, dy):
    xp, w = residuals
    dy = _barrier(dy)
    dx = _input_gradient(dy, w, rows, cols)
    one_shard = partial(_weight_gradient, rows=rows, cols=cols)
    dw = sum_over_batch_shards(one_shard, xp, dy)
    return dx, dw.astype(w.dtype)


depthwise_conv.defvjp(_forward_rule, _backward_rule)


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`, fast under XLA:CPU; saved as the stock layer.

    Dilation, a depth multiplier and channels_first go to Keras' own call.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Convolve inputs (B, H, W, C), add the bias, apply the activation."""
        covered = (
            self.data_format == "channels_last"
            and self.depth_multiplier == 1
            and set(self.dilation_rate) == {1}
            and len(inputs.shape) == 4
        )
        if not covered:
            return super().call(inputs)
        sizes = zip(inputs.shape[1:3], self.kernel_size, self.strides, strict=True)
        rows, cols = (spatial_axis(*size, self.padding) for size in sizes)
        kernel = keras.ops.convert_to_tensor(self.kernel, dtype=inputs.dtype)
        outputs = depthwise_conv(inputs, kernel, rows, cols)
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)
