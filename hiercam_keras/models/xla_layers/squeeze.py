"""Squeeze-and-excitation of 16-bit activations, with float32 sums.

The means m of activations x (B, H, W, C) and their product with a gate g (B, 1, 1, C),
and the gradients, with n = H W (Hu et al. 2018, arXiv:1709.01507):

    m = sum_hw x / n,   dx = dm / n
    y = x g,            dx = dy g,   dg = sum_hw dy x

XLA:CPU would store float32 copies of x and dy for the several readers of each.
"""

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.halfword import copies, widen


@jax.custom_vjp
def spatial_mean(x: jax.Array) -> jax.Array:
    """Means of x (B, H, W, C) over H and W: (B, 1, 1, C)."""
    (one,) = copies(x, 1)
    return jnp.mean(one, (1, 2), keepdims=True).astype(x.dtype)


def _mean_forward_rule(x):
    return spatial_mean(x), x.shape


def _mean_backward_rule(shape, dy):
    dx = (widen(dy) / (shape[1] * shape[2])).astype(dy.dtype)
    return (jnp.broadcast_to(dx, shape),)


spatial_mean.defvjp(_mean_forward_rule, _mean_backward_rule)


@jax.custom_vjp
def stored(x: jax.Array) -> jax.Array:
    """x, which XLA computes before its readers and not in them; its gradient is free.

    Without it XLA of JAX 0.12 hands a pooling to YNNPACK as one operation with the
    products around it, here the last convolution, its swish, the means and the logits:
    a forward pass of B0 takes 2 to 3 % more processor time.
    """
    return lax.optimization_barrier(x)


stored.defvjp(lambda x: (stored(x), None), lambda _, dy: (dy,))


@jax.custom_vjp
def excite(x: jax.Array, gate: jax.Array) -> jax.Array:
    """x (B, H, W, C) times gate (B, 1, 1, C), of one dtype."""
    return (widen(x) * widen(gate)).astype(x.dtype)


def _excite_forward_rule(x, gate):
    return excite(x, gate), (x, gate)


def _excite_backward_rule(residuals, dy):
    x, gate = residuals
    to_scale, to_sum = copies(dy, 2)
    dx = (to_scale * widen(gate)).astype(x.dtype)
    again = copies(x, 2)[-1]  # not the float32 values of the means
    dgate = jnp.sum(to_sum * again, (1, 2), keepdims=True)
    return dx, dgate.astype(gate.dtype)


excite.defvjp(_excite_forward_rule, _excite_backward_rule)


def _has_16_bits(x: jax.Array) -> bool:
    return keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16")


class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """`keras.layers.GlobalAveragePooling2D`, fast for 16 bits; saved as stock.

    Inputs of 32 bits or more and channels_first use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Means of inputs (B, H, W, C): (B, C), or (B, 1, 1, C) with keepdims."""
        if self.data_format != "channels_last" or not _has_16_bits(inputs):
            return super().call(stored(inputs))
        means = spatial_mean(inputs)
        return means if self.keepdims else means[:, 0, 0]


class Multiply(keras.layers.Multiply):
    """`keras.layers.Multiply`, fast for a gate of 16 bits; saved as the stock layer.

    Other inputs use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """The product of all inputs."""
        if len(inputs) == 2 and _is_gate(*inputs):
            return excite(*inputs)
        return super().call(inputs)


def _is_gate(x: jax.Array, gate: jax.Array) -> bool:
    if x.ndim != 4 or x.dtype != gate.dtype or not _has_16_bits(x):
        return False
    return gate.shape == (x.shape[0], 1, 1, x.shape[-1])
