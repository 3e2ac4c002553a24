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

from hiercam_keras.models.xla_layers.batchnorm import normalized
from hiercam_keras.models.xla_layers.halfword import narrow, sigmoid, widen
from hiercam_keras.models.xla_layers.notes import Normalized, noted

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


def _gradient(x, dy):
    wide = widen(x)
    s = sigmoid(wide, x.dtype)
    dx = widen(dy) * (s * (1 + jnp.maximum(wide, _LOWEST) * (1 - s)))
    return narrow(dx, x.dtype)


def _backward_rule(x, dy):
    # Without the barrier XLA reuses the s of the forward pass, and so stores it.
    return (_gradient(lax.optimization_barrier(x), dy),)


swish.defvjp(_forward_rule, _backward_rule)


@jax.custom_jvp
def _computed_again(y: jax.Array, origin: Normalized) -> jax.Array:
    """y, from what it was made of. As y is not read, XLA does not store it.

    Its derivative is that of y, since mean and variance in `origin` have none: a
    gradient of the gradient needs it.
    """
    # The barrier is for the same reason.
    return normalized(lax.optimization_barrier(origin.x), *origin[1:])


@_computed_again.defjvp
def _computed_again_tangent(primals, tangents):
    return _computed_again(*primals), tangents[0]


@jax.custom_vjp
def swish_of_normalized(y: jax.Array, origin: Normalized) -> jax.Array:
    """Swish of y, whose gradient computes y again and does not store it.

    Args:
      y: (..., C), `batchnorm.normalized` of origin.
      origin: what the batch normalization stores for its own gradient. Its gradient is
        zero, that of y is complete.
    """
    return swish(y)


def _normalized_forward_rule(y, origin):
    return swish(y), (y, origin)


def _normalized_backward_rule(residuals, dy):
    return _gradient(_computed_again(*residuals), dy), None


swish_of_normalized.defvjp(_normalized_forward_rule, _normalized_backward_rule)


class Activation(keras.layers.Activation):
    """`keras.layers.Activation` with a fast swish; saved as the stock layer.

    Other activations use Keras' implementation.
    """

    __module__ = "keras.layers"

    def call(self, inputs):
        """Applies the activation to inputs of any shape."""
        if self.activation is not keras.activations.silu:
            return super().call(inputs)
        origin = noted(inputs)
        if isinstance(origin, Normalized):
            return swish_of_normalized(inputs, jax.lax.stop_gradient(origin))
        return swish(inputs)
