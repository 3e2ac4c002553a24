"""The fast batch normalization against Keras' own and against float64."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.models.xla_layers import batchnorm
from hiercam_keras.models.xla_layers.batchnorm import BatchNormalization

CASES = settings(max_examples=10, deadline=None, derandomize=True)


def batch_norm(*arguments):
    """y, mean and variance."""
    y, center, variance = batchnorm.batch_norm(*arguments)
    return y, sum(center), variance


def textbook(x, gamma, beta, epsilon):
    """The formula of Ioffe and Szegedy, with the gradient derived by JAX."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) / jnp.sqrt(variance + epsilon) * gamma + beta, mean, variance


@CASES
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    channels=st.integers(1, 5),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_output_and_gradients_are_those_of_the_textbook(shape, channels, dtype, seed):
    rng = np.random.default_rng(seed)
    x, cotangent = rng.standard_normal((2, *shape, channels)).astype(dtype)
    gamma, beta = rng.uniform(0.5, 2.0, (2, channels)).astype(dtype)

    def pulled(function, *arguments):
        def loss(x, gamma, beta):
            y, mean, variance = function(x, gamma, beta, 0.01)
            return (y * cotangent).sum(), (y, mean, variance)

        return jax.grad(loss, (0, 1, 2), has_aux=True)(*arguments)

    def both(x, gamma, beta):
        precise = (jnp.asarray(value, "float64") for value in (x, gamma, beta))
        return pulled(batch_norm, x, gamma, beta), pulled(textbook, *precise)

    with jax.enable_x64(True):
        results = jax.jit(both)(x, gamma, beta)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for got, expected in zip(*map(jax.tree.leaves, results), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_no_gradient_flows_through_the_statistics():
    x = jnp.asarray([[1.0], [3.0], [8.0]])

    def statistics(x):
        _, mean, variance = batch_norm(x, jnp.ones(1), jnp.zeros(1), 0.01)
        return (mean + variance).sum()

    np.testing.assert_array_equal(jax.grad(statistics)(x), np.zeros((3, 1)))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_layer_trains_as_that_of_keras(scale, center):
    rng = np.random.default_rng(5)
    x, cotangent = rng.standard_normal((2, 4, 5, 5, 3)).astype("float32")
    config = {"scale": scale, "center": center, "momentum": 0.9}
    results = []
    for cls in (BatchNormalization, keras.layers.BatchNormalization):
        layer = cls(**config)
        layer.build(x.shape)
        trainable = [v.value + 0.5 for v in layer.trainable_variables]
        state = [v.value + 0.25 for v in layer.non_trainable_variables]

        def loss(trainable, x, layer=layer, state=state):
            y, new = layer.stateless_call(trainable, state, x, training=True)
            return (y * cotangent).sum(), (y, new)

        step = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
        results.append(jax.tree.leaves(step(trainable, jnp.asarray(x))))
    assert (
        len(results[0]) == 4 + scale + center
    )  # dx, y, both statistics, dgamma, dbeta
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@CASES
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    channels=st.integers(1, 4),
    momentum=st.floats(0.0, 1.0),
    epsilon=st.floats(1e-5, 1.0),
    seed=st.integers(0, 99),
)
def test_layer_equals_keras_in_float64(shape, channels, momentum, epsilon, seed):
    rng = np.random.default_rng(seed)
    x, cotangent = rng.standard_normal((2, *shape, channels))
    start = rng.uniform(0.5, 2.0, (4, channels))

    def pulled(layer, x):
        def loss(trainable, x):
            y, new = layer.stateless_call(trainable, state, x, training=True)
            return (y * cotangent).sum(), (y, new)

        trainable = [v.value for v in layer.trainable_variables]
        state = [v.value for v in layer.non_trainable_variables]
        step = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
        return jax.tree.leaves(step(trainable, x))

    with jax.enable_x64(True):
        layers = []
        for cls in (BatchNormalization, keras.layers.BatchNormalization):
            layers.append(cls(momentum=momentum, epsilon=epsilon, dtype="float64"))
            layers[-1].build(x.shape)
            layers[-1].set_weights(list(start))
        results = jax.jit(lambda x: [pulled(layer, x) for layer in layers])(x)
    for got, expected in zip(*results, strict=True):
        assert got.dtype == "float64"
        # Keras' own sums are in float32 under JAX in places.
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(far=st.floats(-1, 4.5), scale=st.floats(-3, 3), seed=st.integers(0, 99))
def test_float32_is_right_at_any_distance_of_the_mean(far, scale, seed):
    """A mean of 10^far deviations, below and above the threshold of centered sums."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((6, 10, 10, 2)) * 10**scale
    x[..., 0] += 10 ** (far + scale)  # the other channel stays near 0
    x = x.astype("float32")
    dy = rng.standard_normal(x.shape).astype("float32")
    epsilon = 1e-6 * 10 ** (2 * scale)

    def pulled(x, dy):
        arguments = x, jnp.ones(2, x.dtype), jnp.zeros(2, x.dtype)
        y, pull = jax.vjp(lambda *a: batch_norm(*a, epsilon)[0], *arguments)
        return y, *pull(dy)

    x64, dy64 = x.astype("float64"), dy.astype("float64")
    axes, n = (0, 1, 2), x.size / 2
    inv = 1 / np.sqrt(x64.var(axes) + epsilon)
    xhat = (x64 - x64.mean(axes)) * inv
    dgamma = (dy64 * xhat).sum(axes)
    dx = inv * (dy64 - dy64.mean(axes) - xhat * dgamma / n)
    y, got_dx, got_dgamma, got_dbeta = pulled(jnp.asarray(x), jnp.asarray(dy))
    np.testing.assert_allclose(y, xhat, atol=1e-3)
    np.testing.assert_allclose(got_dx / inv, dx / inv, atol=1e-3)
    np.testing.assert_allclose(got_dgamma / n, dgamma / n, atol=1e-4)
    np.testing.assert_allclose(got_dbeta, dy64.sum(axes), atol=1e-3)


@pytest.mark.parametrize("mean", [0.0, -1e4, 1e4])
def test_statistics_do_not_cancel_far_from_zero(mean):
    rng = np.random.default_rng(0)
    x = (mean + rng.standard_normal((16, 12, 12, 3))).astype("float32")
    x64 = x.astype("float64")
    m, v = x64.mean((0, 1, 2)), x64.var((0, 1, 2))
    ones, zeros = jnp.ones(3), jnp.zeros(3)
    y, got_mean, got_variance = batch_norm(jnp.asarray(x), ones, zeros, 1e-3)
    np.testing.assert_allclose(got_variance, v, rtol=1e-4)
    np.testing.assert_allclose(got_mean, m, rtol=1e-6, atol=1e-5)
    expected = (x64 - m) / np.sqrt(v + 1e-3)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    # E[x^2] - m^2 in float32 is off by several units here: the test can fail.
    if mean:
        naive = np.square(x).mean((0, 1, 2)) - x.mean((0, 1, 2)) ** 2
        assert np.abs(naive - v).max() > 0.5


def test_gradient_far_from_zero():
    rng = np.random.default_rng(1)
    x = (1e4 + rng.standard_normal((8, 10, 10, 2))).astype("float32")
    dy = rng.standard_normal(x.shape).astype("float32")

    def loss(x):
        return (batch_norm(x, jnp.ones(2), jnp.zeros(2), 1e-3)[0] * dy).sum()

    got = jax.grad(loss)(jnp.asarray(x))
    axes, n = (0, 1, 2), x.size / 2
    x64, dy64 = x.astype("float64"), dy.astype("float64")
    inv = 1 / np.sqrt(x64.var(axes) + 1e-3)
    xhat = (x64 - x64.mean(axes)) * inv
    expected = inv * (dy64 - dy64.mean(axes) - xhat * (dy64 * xhat).sum(axes) / n)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_two_values_by_hand():
    # Values 1 and 3: mean 2, variance 1, so y = gamma (-1, 1) / sqrt(1 + 3) + beta.
    layer = BatchNormalization(epsilon=3.0, momentum=0.75)
    layer.build((2, 1))
    layer.gamma.assign([4.0])
    layer.beta.assign([10.0])
    y = layer(np.array([[1.0], [3.0]], "float32"), training=True)
    np.testing.assert_allclose(np.ravel(y), [8.0, 12.0], rtol=1e-6)
    # Moving mean 0 * 0.75 + 2 * 0.25; moving variance 1 * 0.75 + 1 * 0.25.
    np.testing.assert_allclose(layer.moving_mean, [0.5], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [1.0], rtol=1e-6)


def test_mixed_precision_keeps_statistics_in_float32():
    rng = np.random.default_rng(2)
    x = jnp.asarray(100.0 + rng.standard_normal((8, 8, 8, 4)), "bfloat16")
    layer = BatchNormalization(dtype="mixed_bfloat16", momentum=0.0)
    y = layer(x, training=True)
    assert y.dtype == "bfloat16"
    exact = np.asarray(x, "float64")
    np.testing.assert_allclose(layer.moving_mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, exact.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("reason", ["inference", "frozen", "mask", "axis", "renorm"])
def test_what_is_not_covered_is_done_by_keras(reason):
    x = np.random.default_rng(3).standard_normal((4, 5, 3)).astype("float32")
    config = {"axis": {"axis": 1}, "renorm": {"renorm": True}}.get(reason, {})
    arguments = {"training": reason != "inference"}
    if reason == "mask":
        arguments["mask"] = np.arange(20).reshape(4, 5) % 3 > 0
    layers = [
        cls(trainable=reason != "frozen", **config)
        for cls in (BatchNormalization, keras.layers.BatchNormalization)
    ]
    fast, stock = (np.asarray(layer(x, **arguments)) for layer in layers)
    np.testing.assert_array_equal(fast, stock)
    for ours, theirs in zip(*(layer.get_weights() for layer in layers), strict=True):
        np.testing.assert_array_equal(ours, theirs)
