"""Global average pooling with float32 sums, next to another reader of its input.

Squeeze-and-excitation takes the means of activations and multiplies the same
activations. Of 16-bit values XLA:CPU would store a float32 copy for both.
"""

import jax
import jax.numpy as jnp
import keras

from hiercam_keras.models.xla_layers.halfword import own


@jax.custom_vjp
def spatial_mean(x: jax.Array) -> jax.Array:
    """Means of 16-bit x (B, H, W, C) over H and W, summed in float32: (B, 1, 1, C)."""
    return jnp.mean(own(x), (1, 2), keepdims=True).astype(x.dtype)


def _forward_rule(x):
    return spatial_mean(x), x.shape


def _backward_rule(shape, dy):
    dx = dy.astype(jnp.float32) / (shape[1] * shape[2])
    return (jnp.broadcast_to(dx.astype(dy.dtype), shape),)


spatial_mean.defvjp(_forward_rule, _backward_rule)


class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """`keras.layers.GlobalAveragePooling2D`, fast for 16 bits; saved as stock.

    Inputs of 32 bits or more and channels_first use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Means of inputs (B, H, W, C): (B, C), or (B, 1, 1, C) with keepdims."""
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        narrow = dtype in ("bfloat16", "float16") and inputs.ndim == 4
        if not narrow or self.data_format != "channels_last":
            return super().call(inputs)
        means = spatial_mean(inputs)
        return means if self.keepdims else means[:, 0, 0]
