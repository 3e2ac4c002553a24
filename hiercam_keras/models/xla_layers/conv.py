"""Convolutions as matrix products with an explicit gradient.

A 1x1 convolution is one product of (pixels, channels) with the kernel. The stem, which
has few input channels, becomes a matrix product after its taps are concatenated along
the channel axis (im2col). The barrier before the weight gradient prevents XLA from
fusing the transpose of dy into it.
"""

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.depthwise import (
    as_kernel,
    pad_axes,
    spatial_axis,
    take_tap,
)
from hiercam_keras.models.xla_layers.halfword import widen
from hiercam_keras.models.xla_layers.notes import Convolved, note
from hiercam_keras.models.xla_layers.sharding import sum_over_batch_shards
from hiercam_keras.processor import multiplies_bfloat16_fast

# With more input channels the copies of im2col cost more than the product saves.
MAX_STEM_CHANNELS = 4

# Values of the largest factor or result up to which bfloat16 is multiplied as float32.
_CACHED = 2**22

# Rows of a piece of a weight gradient's factors.
_ROWS = 512

_barrier = lax.optimization_barrier


def _in_float32(x: jax.Array, w: jax.Array) -> bool:
    """Whether bfloat16 factors of x @ w are converted before the product.

    The kernel's own conversion takes a third more time than a float32 product; separate
    ones pay as long as the float32 arrays stay in cache.
    """
    if x.dtype != jnp.bfloat16 or multiplies_bfloat16_fast():
        return False
    return len(x) * max(w.shape) <= _CACHED


def product(x: jax.Array, w: jax.Array) -> jax.Array:
    """x (n, a) @ w (a, b) with the dtype of x; sums in float32 or wider."""
    if not _in_float32(x, w):
        return x @ w
    # The barrier keeps one copy of x; XLA fuses it with what computes x.
    return (_barrier(widen(x)) @ widen(w)).astype(jnp.bfloat16)


def _wide_product(x, dy):
    """x (n, a)^T @ dy (n, b): (a, b), with the dtype of its sums."""
    return lax.dot_general(widen(x), widen(dy), (((0,), (0,)), ((), ())))


def _product_by_pieces(x, dy):
    """`_wide_product` of bfloat16 factors.

    XLA has no product of bfloat16 along the first axis of both: it would convert all of
    x and dy, which takes twice the time of a float32 product. The pieces stay in cache.
    """
    pieces = len(x) // _ROWS
    done = pieces * _ROWS

    def add(piece, total):
        start = piece * _ROWS
        rows = [
            lax.dynamic_slice_in_dim(array, start, _ROWS, allow_negative_indices=False)
            for array in (x, dy)
        ]
        return total + _wide_product(*rows)

    rest = _wide_product(x[done:], dy[done:])
    return lax.fori_loop(0, pieces, add, rest)


def _product_by_transposed_pieces(x, dy):
    """`_wide_product` of bfloat16 factors, where their products are fast.

    The narrower factor is transposed, piece by piece: XLA transposes as a loop that
    writes one value a row, which is slow where the rows are long.
    """
    if x.shape[1] > dy.shape[1]:
        return _barrier(_product_by_transposed_pieces(dy, x)).T
    count, few = x.shape
    rows = min(
        (
            count // pieces
            for pieces in range(1, count // _ROWS + 1)
            if count % pieces == 0
        ),
        default=count,
    )
    pieces = count // rows
    columns = x.reshape(pieces, rows, few).transpose(0, 2, 1)
    columns = _barrier(columns.reshape(-1)).reshape(columns.shape)  # by rows in memory
    sums = lax.dot_general(
        columns,
        dy.reshape(pieces, rows, -1),
        (((2,), (1,)), ((0,), (0,))),
        preferred_element_type=jnp.float32,
    )
    return jnp.sum(sums, 0)


def columns_product(x: jax.Array, dy: jax.Array) -> jax.Array:
    """x (n, a)^T @ dy (n, b): (a, b), with the dtype of its sums."""
    if x.dtype != jnp.bfloat16 or len(x) < 2 * _ROWS:
        return _wide_product(x, dy)
    fast = multiplies_bfloat16_fast()
    one_shard = _product_by_transposed_pieces if fast else _product_by_pieces
    return sum_over_batch_shards(one_shard, x, dy)


def _weight_gradient(x, dy):
    return columns_product(x, dy).astype(x.dtype)


def transposed(w: jax.Array) -> jax.Array:
    """w.T; of bfloat16 by rows in memory, as XLA has no other kernel for it."""
    if w.dtype != jnp.bfloat16:
        return w.T
    return _barrier(w.T.reshape(-1)).reshape(w.shape[::-1])


@jax.custom_vjp
def matmul(x: jax.Array, w: jax.Array) -> jax.Array:
    """x (n, a) @ w (a, b): (n, b)."""
    return product(x, w)


def _forward_rule(x, w):
    return product(x, w), (x, w)


def _backward_rule(residuals, dy):
    x, w = residuals
    dy = _barrier(dy)
    return product(dy, transposed(w)), _weight_gradient(x, dy)


matmul.defvjp(_forward_rule, _backward_rule)


def pointwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """1x1 convolution of x (B, H, W, a) with kernel (1, 1, a, b): (B, H, W, b)."""
    channels, filters = kernel.shape[2:]
    pixels, kernel = x.reshape(-1, channels), kernel[0, 0]
    # Squeeze-and-excitation's (B, 1, 1, C) gains nothing from it.
    if x.shape[1] * x.shape[2] > 1 and not _in_float32(pixels, kernel):
        pixels = _barrier(pixels)
    y = matmul(pixels, kernel)
    return y.reshape(*x.shape[:3], filters)


def im2col_conv(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: str
) -> jax.Array:
    """Convolution of x (B, H, W, a) with kernel (kh, kw, a, b): (B, oh, ow, b)."""
    kh, kw, channels, filters = kernel.shape
    sizes = zip(x.shape[1:3], (kh, kw), strides, strict=True)
    rows, cols = (spatial_axis(*size, padding) for size in sizes)
    xp = pad_axes(x, rows, cols)
    taps = [take_tap(xp, i, j, rows, cols) for i in range(kh) for j in range(kw)]
    patches = _barrier(jnp.concatenate(taps, axis=-1))
    y = matmul(patches.reshape(-1, kh * kw * channels), kernel.reshape(-1, filters))
    return y.reshape(x.shape[0], rows.out, cols.out, filters)


def _plain(layer: keras.layers.Conv2D, inputs: jax.Array) -> bool:
    """Whether a layer uses only options that the fast implementations support."""
    return (
        layer.data_format == "channels_last"
        and layer.groups == 1
        and set(layer.dilation_rate) == {1}
        and len(inputs.shape) == 4
    )


def _named_as_stock(cls: type) -> type:
    """Names a class as Keras' Conv2D, for saved files and weight paths."""
    cls.__name__ = cls.__qualname__ = "Conv2D"
    cls.__module__ = "keras.layers"
    return cls


@_named_as_stock
class PointwiseConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a 1x1 kernel; saved as the stock layer.

    Strides other than 1, groups, dilation and channels_first use Keras' convolution.
    """

    def convolution_op(self, inputs, kernel):
        """Convolves inputs (B, H, W, a) with kernel (1, 1, a, b): (B, H, W, b)."""
        if not _plain(self, inputs) or set(self.strides + self.kernel_size) != {1}:
            return super().convolution_op(inputs, kernel)
        inputs, kernel = as_kernel(inputs, kernel)
        outputs = pointwise_conv(inputs, kernel)
        if not self.use_bias and self.activation is keras.activations.linear:
            note(outputs, Convolved(inputs, kernel[0, 0]))
        return outputs


@_named_as_stock
class StemConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` on at most 4 input channels; saved as the stock layer.

    More channels, groups, dilation and channels_first use Keras' convolution.
    """

    def convolution_op(self, inputs, kernel):
        """Convolves inputs (B, H, W, a) with kernel (kh, kw, a, b): (B, oh, ow, b)."""
        if not _plain(self, inputs) or inputs.shape[-1] > MAX_STEM_CHANNELS:
            return super().convolution_op(inputs, kernel)
        inputs, kernel = as_kernel(inputs, kernel)
        return im2col_conv(inputs, kernel, self.strides, self.padding)
