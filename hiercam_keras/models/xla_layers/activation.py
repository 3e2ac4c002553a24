"""Swish that stores a single array for its gradient.

    y = x s,   s = 1/(1 + exp(-x)),   dx = dy s (1 + x (1 - s))

(Ramachandran et al. 2017, arXiv:1710.05941). Automatic differentiation stores s as well
as x for every activation of the network; writing and reading s costs more than
recomputing it.
"""

import jax
import jax.numpy as jnp
import keras
from jax import lax

from hiercam_keras.models.xla_layers.halfword import narrow, sigmoid, widen

# XLA's tanh of float32, which `sigmoid` uses, may stop short of -1 (jax 0.8 does); s is
# then 9e-8 for every x far below 0, where x s must not grow with x.
_LOWEST = -30.0


@jax.custom_vjp
def swish(x: jax.Array) -> jax.Array:
    """x / (1 + exp(-x)), elementwise."""
    wide = widen(x)
    s = sigmoid(wide, x.dtype)
    return narrow(jnp.maximum(wide, _LOWEST) * s, x.dtype)


def _forward_rule(x):
    return swish(x), x


def _backward_rule(x, dy):
    # Without the barrier XLA reuses the s of the forward pass, and so stores it.
    wide = widen(lax.optimization_barrier(x))
    s = sigmoid(wide, x.dtype)
    dx = widen(dy) * (s * (1 + jnp.maximum(wide, _LOWEST) * (1 - s)))
    return (narrow(dx, x.dtype),)


swish.defvjp(_forward_rule, _backward_rule)


class Activation(keras.layers.Activation):
    """`keras.layers.Activation` with a fast swish; saved as the stock layer.

    Other activations use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Applies the activation to inputs of any shape."""
        if self.activation is not keras.activations.silu:
            return super().call(inputs)
        return swish(inputs)
