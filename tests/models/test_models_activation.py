"""Swish with a custom gradient."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.models.xla_layers.activation import Activation, swish


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 3e-6), ("float64", 1e-14)]
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


@jax.jit
def _both(x, dy):
    """Value and gradient, each with that of Keras in float64."""
    got, pull = jax.vjp(swish, x)
    expected, slow = jax.vjp(keras.activations.silu, x.astype("float64"))
    return (got, expected), (pull(dy)[0], slow(dy.astype("float64"))[0])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    scale=st.floats(-3, 3),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_it_equals_keras_in_float64(shape, scale, dtype, seed):
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, *shape)) * 10**scale
    with jax.enable_x64(True):
        pairs = _both(jnp.asarray(x, dtype), jnp.asarray(dy, dtype))
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for one, other in pairs:
        size = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * size)


def test_by_hand():
    # s(0) = 1/2, so y(0) = 0 and dy/dx(0) = 1/2.
    zero = jnp.zeros(())
    assert float(swish(zero)) == 0.0
    assert float(jax.grad(swish)(zero)) == 0.5


def test_other_activations_are_left_to_keras():
    x = np.array([-2.0, 0.0, 3.0], "float32")
    np.testing.assert_array_equal(Activation("relu")(x), [0.0, 0.0, 3.0])
    expected = keras.layers.Activation("swish")(x)
    np.testing.assert_allclose(Activation("swish")(x), expected, rtol=1e-6)


def test_bfloat16_stays_bfloat16():
    layer = Activation("swish", dtype="mixed_bfloat16")
    assert layer(jnp.ones((2, 2))).dtype == "bfloat16"
