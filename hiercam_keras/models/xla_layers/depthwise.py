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


def _pad_gradient(dy, rows, cols):
    """dy with the zeros that its gradients reach, and how many lie above and left."""
    _, top, bottom = _phase_padding(rows)
    _, left, right = _phase_padding(cols)
    if top or bottom or left or right:
        dy = _barrier(jnp.pad(dy, ((0, 0), (top, bottom), (left, right), (0, 0))))
    return dy, top, left


def _input_gradient(dyp, w, rows, cols):
    """dx (B, H, W, C) from dy (B, oh, ow, C), padded."""
    dtype = _accumulator(dyp.dtype)
    batch, _, _, channels = dyp.shape
    height, top, _ = _phase_padding(rows)
    width, left, _ = _phase_padding(cols)
    taps = w[..., 0].astype(dtype)

    def one_phase(a, b):
        total = jnp.zeros((batch, height, width, channels), dtype)
        for i, u in _phase_shifts(rows, a):
            for j, v in _phase_shifts(cols, b):
                start = (0, u + top, v + left, 0)
                shape = (batch, u + top + height, v + left + width, channels)
                total = total + lax.slice(dyp, start, shape) * taps[i, j]
        return total.astype(dyp.dtype)

    if rows.stride == cols.stride == 1:
        return _barrier(one_phase(0, 0))
    interleaved = [
        _barrier(jnp.stack([one_phase(a, b) for b in range(cols.stride)], axis=3))
        for a in range(rows.stride)
    ]
    dx = jnp.stack(interleaved, axis=2)  # (B, height, sh, width, sw, C)
    dx = dx.reshape(batch, height * rows.stride, width * cols.stride, channels)
    return _barrier(dx[:, : rows.size, : cols.size])


def _weight_gradient(xp, dyp, rows, cols, top, left):
    """dw (kh, kw, C, 1) of one device's batch; dyp is padded.

    One row of outputs for each iteration, carrying one running (ow * C) vector for each
    tap: all of them stay in cache. Two rows an iteration were five times slower. Both
    arrays are read as they are, as a reshape outside of the loop would make XLA compute
    and write them once more.
    """
    dtype = _accumulator(dyp.dtype)
    batch, _, _, channels = dyp.shape
    span = cols.out * channels
    phases = {
        (a, b): xp[:, a :: rows.stride, b :: cols.stride]
        for a in range(min(rows.stride, rows.kernel))
        for b in range(min(cols.stride, cols.kernel))
    }
    if len(phases) > 1:
        phases = _barrier(phases)
    # Taps (a, a + stride, ..) by (j), of which the first share a line of a phase.
    groups = [
        (a, j, len(range(a, rows.kernel, rows.stride)))
        for a in range(min(rows.stride, rows.kernel))
        for j in range(cols.kernel)
    ]

    def add_row(n, sums):
        image, row = n // rows.out, n % rows.out

        def lines(array, row, column, height, width):
            start, shape = (image, row, column, 0), (1, height, width, channels)
            found = lax.dynamic_slice(array, start, shape)
            return found.reshape(height, width * channels).astype(dtype)

        grad = lines(dyp, row + top, left, 1, cols.out)
        new = []
        for (a, j, height), total in zip(groups, sums, strict=True):
            phase = phases[a, j % cols.stride]
            taps = lines(phase, row, j // cols.stride, height, cols.out)
            new.append(total + taps * grad)
        return tuple(new)

    zeros = tuple(jnp.zeros((height, span), dtype) for _, _, height in groups)
    sums = lax.fori_loop(0, batch * rows.out, add_row, zeros)
    dw = jnp.zeros((rows.kernel, cols.kernel, channels), dtype)
    for (a, j, height), total in zip(groups, sums, strict=True):
        total = total.reshape(height, cols.out, channels).sum(1)
        dw = dw.at[a :: rows.stride, j].set(total)
    return dw[..., None]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: jax.Array, w: jax.Array, rows: Axis, cols: Axis) -> jax.Array:
    """Depthwise convolution of x (B, H, W, C) with w (kh, kw, C, 1): (B, oh, ow, C)."""
    return _forward(x, w, rows, cols)[0]


def _forward_rule(x, w, rows, cols):
    return _forward(x, w, rows, cols)


def _backward_rule(rows, cols, residuals, dy):
    xp, w = residuals
    dyp, top, left = _pad_gradient(_barrier(dy), rows, cols)
    dx = _input_gradient(dyp, w, rows, cols)
    one_shard = partial(_weight_gradient, rows=rows, cols=cols, top=top, left=left)
    dw = sum_over_batch_shards(one_shard, xp, dyp)
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
