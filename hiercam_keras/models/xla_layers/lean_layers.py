"""Layers of the kind "lean", which move few bytes of main memory in training.

The operations are those of `lean`. A convolution notes its input, a batch normalization
its own, and a swish the copies of its output, so that each layer finds what it can
compute in one step; see `notes`. In inference they are the stock layers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import keras

from hiercam_keras.models.xla_layers import batchnorm, lean
from hiercam_keras.models.xla_layers.depthwise import as_kernel, spatial_axis
from hiercam_keras.models.xla_layers.notes import Convolved, note, noted

# Products for each value of a gradient by slices. With more of them, as at 5x5 taps and
# stride 1, loading them from the caches may take longer than the memory.
MAX_PRODUCTS = 9


class _Normalized(NamedTuple):
    """How a batch normalization was made, without its arguments `swish`."""

    make: Callable[[bool], tuple[tuple[jax.Array, ...], jax.Array, jax.Array]]


class _Copies(NamedTuple):
    """An array equal to a swish, for its pooling and for its scaling."""

    to_pool: jax.Array
    to_scale: jax.Array


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that notes its input; saved as the stock layer."""

    __module__ = "keras.layers"

    def call(self, inputs):
        """Convolves inputs (B, H, W, A): (B, H', W', C)."""
        outputs = super().call(inputs)
        plain = (
            set(self.kernel_size + self.strides + self.dilation_rate) == {1}
            and self.groups == 1
            and not self.use_bias
            and self.activation is keras.activations.linear
            and self.data_format == "channels_last"
        )
        if plain:
            inputs, kernel = as_kernel(inputs, self.kernel)
            note(outputs, Convolved(inputs, kernel[0, 0]))
        return outputs


class BatchNormalization(batchnorm.BatchNormalization):
    """`keras.layers.BatchNormalization` of few arrays; saved as the stock layer.

    What `xla_layers.batchnorm` leaves to Keras is left to Keras.
    """

    __module__ = "keras.layers"

    def normalize(self, inputs, gamma, beta):
        """Returns y, mean and variance of inputs (..., C)."""
        origin = noted(inputs)
        make = partial(_normalize, inputs, origin, gamma, beta, self.epsilon)
        results, mean, variance = make(False)
        note(results[0], _Normalized(make))
        return results[0], mean, variance


def _normalize(x, origin, gamma, beta, epsilon, swish):
    if isinstance(origin, Convolved) and _widens(origin):
        y, mean, variance = lean.conv_batch_norm(
            x, *origin, gamma, beta, epsilon, swish
        )
        return (y, y, y), mean, variance
    return lean.batch_norm(x, gamma, beta, epsilon, swish)


def _widens(origin: Convolved) -> bool:
    """Whether the statistics are best computed from the input of the convolution.

    Not with several devices: the sums over the batch of a matrix for each layer, in the
    middle of the backward pass, would join the one of all gradients.
    """
    few, many = origin.kernel.shape
    return few < many and keras.distribution.distribution() is None


class Activation(keras.layers.Activation):
    """`keras.layers.Activation` with a lean swish; saved as the stock layer."""

    __module__ = "keras.layers"

    def call(self, inputs):
        """Applies the activation to inputs of any shape."""
        origin = noted(inputs)
        if not isinstance(origin, _Normalized):
            return super().call(inputs)
        outputs, to_pool, to_scale = origin.make(True)[0]
        if to_pool is not outputs:  # a note that holds its own value would keep it
            note(outputs, _Copies(to_pool, to_scale))
        return outputs


class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """`keras.layers.GlobalAveragePooling2D` of a copy; saved as the stock layer."""

    __module__ = "keras.layers"

    def call(self, inputs):
        """Means of inputs (B, H, W, C) over H and W."""
        origin = noted(inputs)
        known = isinstance(origin, _Copies)
        return super().call(origin.to_pool if known else inputs)


class Multiply(keras.layers.Multiply):
    """`keras.layers.Multiply`, lean for squeeze-and-excitation; saved as stock."""

    __module__ = "keras.layers"

    def call(self, inputs):
        """The product of all inputs."""
        if len(inputs) == 2:
            x, scale = inputs
            origin = noted(x)
            if isinstance(origin, _Copies) and _scales_channels(x, scale):
                return lean.scale_channels(x, origin.to_scale, scale)
        return super().call(inputs)


def _scales_channels(x: Any, scale: Any) -> bool:
    shape = (x.shape[0], 1, 1, x.shape[-1])
    return x.ndim == 4 and x.dtype == scale.dtype and scale.shape == shape


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a gradient of slices; saved as stock.

    Dilation, a depth multiplier, channels_first and many taps use Keras'
    implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Convolves inputs (B, H, W, C), adds the bias, applies the activation."""
        strides = zip(self.kernel_size, self.strides, strict=True)
        down, across = (-(-size // stride) for size, stride in strides)
        covered = (
            self.data_format == "channels_last"
            and self.depth_multiplier == 1
            and set(self.dilation_rate) == {1}
            and len(inputs.shape) == 4
            and down * across <= MAX_PRODUCTS
            and jax.numpy.issubdtype(inputs.dtype, jax.numpy.floating)
        )
        if not covered:
            return super().call(inputs)
        sizes = zip(inputs.shape[1:3], self.kernel_size, self.strides, strict=True)
        rows, cols = (spatial_axis(*size, self.padding) for size in sizes)
        inputs, kernel = as_kernel(inputs, self.kernel)
        convolve = partial(
            keras.ops.depthwise_conv,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )
        outputs = lean.depthwise_conv(inputs, kernel, convolve, rows, cols)
        if self.use_bias:
            outputs = keras.ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)


LAYERS = (
    Conv2D,
    BatchNormalization,
    Activation,
    GlobalAveragePooling2D,
    Multiply,
    DepthwiseConv2D,
)
