"""Batch normalization with statistics of one pass, for compilers that fuse the rest.

XLA:TPU fuses sums over x with the convolution that makes x, and elementwise work with
the convolutions that read it. The variance of Keras is the mean of (x - E[x])^2, which
reads x again, and so does its gradient, for a sum that is zero. E[x^2] - E[x]^2 needs
neither, and its gradient 2 (x - E[x])/n is elementwise. As y is written x scale + shift
with vectors of channels, all other gradients follow from two sums, of dy and of dy x.
"""

import keras
from jax import lax

from hiercam_keras.models.xla_layers import batchnorm
from hiercam_keras.models.xla_layers.lean import moments


class BatchNormalization(batchnorm.BatchNormalization):
    """`keras.layers.BatchNormalization` of one pass; saved as the stock layer.

    What `xla_layers.batchnorm` leaves to Keras is left to Keras.
    """

    __module__ = "keras.layers"

    def normalize(self, inputs, gamma, beta):
        """Returns y, mean and variance of inputs (..., C)."""
        c, d, variance = moments(inputs, gamma.dtype)
        mean = c + d
        scale = gamma * lax.rsqrt(variance + self.epsilon)
        shift = beta - mean * scale
        y = keras.ops.cast(inputs, gamma.dtype) * scale + shift
        return keras.ops.cast(y, inputs.dtype), mean, variance
