"""Swish with a gradient of its own."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras.models.xla_layers.activation import Activation, swish


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-14)]
)
def test_value_and_gradient_are_those_of_the_formula(dtype, tolerance):
    x = np.concatenate([np.linspace(-30, 30, 241), [-1e4, 1e4]])
    s = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    with jax.enable_x64(True):
        given = jnp.asarray(x, dtype)
        y, pull = jax.vjp(swish, given)
        (dx,) = pull(jnp.full_like(given, 2.0))
        assert y.dtype == dx.dtype == dtype
    np.testing.assert_allclose(y, x * s, rtol=10 * tolerance, atol=tolerance)
    expected = 2 * (s + x * s * (1 - s))
    np.testing.assert_allclose(dx, expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_by_hand():
    # s(0) = 1/2, so y(0) = 0 and dy/dx(0) = 1/2.
    assert float(swish(0.0)) == 0.0
    assert float(jax.grad(swish)(0.0)) == 0.5


def test_other_activations_are_left_to_keras():
    x = np.array([-2.0, 0.0, 3.0], "float32")
    np.testing.assert_array_equal(Activation("relu")(x), [0.0, 0.0, 3.0])
    expected = keras.layers.Activation("swish")(x)
    np.testing.assert_allclose(Activation("swish")(x), expected, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    layer = Activation("swish", dtype="mixed_bfloat16")
    assert layer(jnp.ones((2, 2))).dtype == "bfloat16"
