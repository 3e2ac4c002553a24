"""A 1x1 convolution and its batch normalization as one product; a swish behind it."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.models.xla_layers import (
    accelerate,
    activation,
    batchnorm,
    conv,
    conv_norm,
    stock,
)


def textbook(h, w, gamma, beta, epsilon):
    """Ioffe and Szegedy's formula, with the gradient derived by JAX."""
    x = h @ w
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) / jnp.sqrt(variance + epsilon) * gamma + beta, mean, variance


def pulled(function, cotangent, *arguments):
    """Value of a function of arrays, and its gradients."""

    def run(*arguments):
        def loss(*arguments):
            y, mean, variance = function(*arguments, 0.01)
            return (y * cotangent).sum(), (y, mean, variance)

        return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(*arguments)

    return jax.tree.leaves(jax.jit(run)(*arguments))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    images=st.integers(1, 3),
    size=st.integers(1, 5),
    few=st.integers(1, 5),
    more=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_it_is_that_of_the_textbook_in_float64(images, size, few, more, seed):
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((images, size, size + 1, few)) + 3
    w = rng.standard_normal((few, few + more))
    cotangent = rng.standard_normal((images, size, size + 1, few + more))
    gamma, beta = rng.uniform(0.5, 2.0, (2, few + more))
    with jax.enable_x64(True):
        found = pulled(conv_norm.conv_batch_norm, cotangent, h, w, gamma, beta)
        expected = pulled(textbook, cotangent, h, w, gamma, beta)
    for got, exact in zip(found, expected, strict=True):
        assert got.dtype == "float64"
        np.testing.assert_allclose(got, exact, rtol=1e-8, atol=1e-8)


def test_two_values_by_hand():
    # x is 1 and 3 in one channel: mean 2, variance 1; 2 and 6 in the other: 4, 4.
    h, w = jnp.asarray([[[[1.0], [3.0]]]]), jnp.asarray([[1.0, 2.0]])
    y, mean, variance = conv_norm.conv_batch_norm(
        h, w, jnp.asarray([4.0, 3.0]), jnp.asarray([10.0, 0.0]), 0.0
    )
    np.testing.assert_allclose(y[0, 0], [[6.0, -3.0], [14.0, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(mean, [2.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(variance, [1.0, 4.0], rtol=1e-6)


def alike(rng, rows, spread):
    """h of two channels that are alike but for `spread`, and w: sum and difference."""
    one = rng.standard_normal(rows)
    h = np.stack([one, one + spread * rng.standard_normal(rows)], 1)
    return h.reshape(4, -1, 1, 2), np.array([[0.5, 1.0], [0.5, -1.0]])


@pytest.mark.parametrize("spread", [1.0, 1e-2, 3e-4])
def test_a_difference_of_channels_that_are_alike_is_right_in_float32(spread):
    """The variance of the difference is lost in w' S w, and then computed from x."""
    rng = np.random.default_rng(1)
    h, w = (array.astype("float32") for array in alike(rng, 4096, spread))
    cotangent = rng.standard_normal((4, 1024, 1, 2)).astype("float32")
    epsilon = spread**2 / 10

    def all_of(function, dtype):
        arrays = [jnp.asarray(array, dtype) for array in (h, w)]
        arrays += [jnp.ones(2, dtype), jnp.zeros(2, dtype)]
        y, pull = jax.vjp(lambda *a: function(*a, epsilon)[0], *arrays)
        return function(*arrays, epsilon)[2], y, *pull(jnp.asarray(cotangent, dtype))

    found = all_of(conv_norm.conv_batch_norm, "float32")
    with jax.enable_x64(True):
        expected = all_of(textbook, "float64")
    for got, exact, tolerance in zip(
        found, expected, (1e-4, 1e-3, 2e-3, 2e-3, 2e-3, 1e-4), strict=True
    ):
        got = np.asarray(got, "float64")
        # Each channel by itself: that of the difference has the larger gradients.
        np.testing.assert_allclose(
            got, exact, atol=tolerance * np.abs(exact).max(), rtol=tolerance
        )
    if spread < 1e-3:  # the product alone is off: the test can fail
        rows = h.reshape(-1, 2)
        rows = rows - rows.mean(0)
        naive = np.einsum("ac,ab,bc->c", w, rows.T @ rows / len(rows), w)[1]
        assert abs(naive / np.asarray(expected[0])[1] - 1) > 1e-3


def network(few=4, many=12, size=8, **options):
    """A convolution of few channels to many, normalized, with a swish."""
    images = keras.Input((size, size, few))
    x = keras.layers.Conv2D(many, 1, use_bias=False, name="conv", **options)(images)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("swish")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation("swish")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(3)(x))


def gradients(model, images):
    """Logits, new statistics, and gradients of all weights and of the images."""
    trainable = [variable.value for variable in model.trainable_variables]
    state = [variable.value for variable in model.non_trainable_variables]

    def loss(trainable, images):
        logits, new = model.stateless_call(trainable, state, images, training=True)
        return jnp.square(logits - 1).sum(), (logits, new)

    return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(trainable, images)


def assert_alike(found, expected):
    """All arrays of two trees, to 1e-4 of the largest value of each."""
    for got, exact in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        scale = np.abs(exact).max()
        np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-4 * scale)


@pytest.fixture
def folded(monkeypatch):
    """The calls of `conv_batch_norm` by shapes of h."""
    calls = []

    def counted(h, *rest):
        calls.append(h.shape)
        return conv_norm.conv_batch_norm(h, *rest)

    monkeypatch.setattr(batchnorm, "conv_batch_norm", counted)
    return calls


def images_of(model, count=3):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("nested", [False, True])
def test_a_network_trains_as_that_of_keras(folded, nested):
    keras.utils.set_random_seed(0)
    model = network()
    if nested:
        inputs = keras.Input(model.input_shape[1:])
        model = keras.Model(inputs, model(inputs))
    images = images_of(model)
    expected = gradients(stock(model), images)
    assert not folded
    found = gradients(accelerate(model), images)
    assert folded == [(3, 8, 8, 4)]
    assert_alike(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"many": 4},
        {"use_bias": True},
        {"activation": "relu"},
        {"strides": 2},
        {"size": 3, "few": 5},  # too few rows for each channel
    ],
)
def test_others_are_normalized_by_themselves(folded, options):
    inputs = {"few": 4, "many": 12, "size": 8} | {
        name: options[name] for name in ("few", "many", "size") if name in options
    }
    rest = {"use_bias": False} | {
        name: value for name, value in options.items() if name not in inputs
    }
    images = keras.Input((inputs["size"], inputs["size"], inputs["few"]))
    x = keras.layers.Conv2D(inputs["many"], 1, **rest)(images)
    model = keras.Model(images, keras.layers.BatchNormalization()(x))
    expected = gradients(stock(model), images_of(model))
    found = gradients(accelerate(model), images_of(model))
    assert not folded
    for got, exact in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-3, atol=1e-3)


def test_an_operation_between_the_two_separates_them(folded):
    images = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(12, 1, use_bias=False)(images)
    model = keras.Model(images, keras.layers.BatchNormalization()(2 * x))
    gradients(accelerate(model), images_of(model))
    assert not folded


def test_a_convolution_that_has_other_readers_gets_both_gradients(folded):
    images = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(12, 1, use_bias=False)(images)
    y = keras.layers.BatchNormalization()(x)
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Add()([y, x])))
    expected = gradients(stock(model), images_of(model))
    found = gradients(accelerate(model), images_of(model))
    assert folded
    assert_alike(found, expected)


def test_a_frozen_convolution_keeps_its_gradient_of_images(folded):
    model = network()
    model.get_layer("conv").trainable = False
    expected = gradients(stock(model), images_of(model))
    found = gradients(accelerate(model), images_of(model))
    assert folded
    assert_alike(found, expected)


@pytest.mark.parametrize("fast", [False, True])
def test_bfloat16_is_folded_where_its_products_are_fast(folded, monkeypatch, fast):
    """With gradients as near to those of float32 as those of Keras' layers are."""
    for module in (conv, conv_norm):
        monkeypatch.setattr(module, "multiplies_bfloat16_fast", lambda: fast)
    keras.utils.set_random_seed(3)
    model = network(size=32)
    images = images_of(model, 4)
    exact = gradients(stock(model), images)[0][0]
    half = keras.models.clone_model(
        model,
        clone_function=lambda layer: type(layer).from_config(
            layer.get_config() | {"dtype": "mixed_bfloat16"}
        ),
    )
    half.set_weights(model.get_weights())
    stock_found = gradients(stock(half), images)[0][0]
    found = gradients(accelerate(half), images)[0][0]
    assert bool(folded) is fast
    for got, other, right in zip(found, stock_found, exact, strict=True):
        scale = np.abs(right).max()
        error = np.abs(np.asarray(got, "float32") - right).max() / scale
        theirs = np.abs(np.asarray(other, "float32") - right).max() / scale
        assert error < max(3 * theirs, 0.05)


@pytest.mark.parametrize("shape", [(2048, 24, 8), (2048, 8, 24), (1031, 3, 5)])
def test_pieces_of_a_product_of_columns_are_their_sum(monkeypatch, shape):
    """1,031 is a prime number: one piece."""
    monkeypatch.setattr(conv, "multiplies_bfloat16_fast", lambda: True)
    rng = np.random.default_rng(2)
    count, few, many = shape
    x = jnp.asarray(rng.standard_normal((count, few)), "bfloat16")
    dy = jnp.asarray(rng.standard_normal((count, many)), "bfloat16")
    exact = np.asarray(x, "float64").T @ np.asarray(dy, "float64")
    got = jax.jit(conv.columns_product)(x, dy)
    assert got.dtype == "float32" and got.shape == (few, many)
    np.testing.assert_allclose(got, exact, atol=1e-3)


def test_swish_computes_a_normalization_again_for_its_gradient():
    """Equal to the gradient through y, at values where a swish bends."""
    rng = np.random.default_rng(4)
    x = jnp.asarray(rng.standard_normal((5, 3)) * 3, "float32")
    c, d, scale, beta = jnp.asarray(rng.standard_normal((4, 3)), "float32")
    origin = batchnorm.Normalized(x, c, d, scale, beta)
    y = batchnorm.normalized(*origin)
    value, pull = jax.vjp(activation.swish_of_normalized, y, origin)
    expected, pull_y = jax.vjp(jax.nn.silu, y)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    dy = jnp.ones_like(y)
    np.testing.assert_allclose(pull(dy)[0], pull_y(dy)[0], rtol=1e-5, atol=1e-6)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(pull(dy)[1]))
