"""Fast layers in less usual places: integer pictures, gradients of gradients."""

import gc

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras.models.xla_layers import accelerate, notes, stock
from hiercam_keras.models.xla_layers.halfword import sigmoid

L = keras.layers
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((4, 6, 6, 2)).astype("float32")
BYTES = RANDOM.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def blocks() -> keras.Model:
    """All kinds of layers; the first convolution has 72 pixels for each channel."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 2))
    x = L.Conv2D(6, 1, use_bias=False)(image)
    x = L.BatchNormalization()(x)
    x = L.Activation("swish")(x)
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.BatchNormalization()(x)
    x = L.Activation("swish")(x)
    scale = L.GlobalAveragePooling2D(keepdims=True)(x)
    scale = L.Conv2D(6, 1, activation="sigmoid")(scale)
    x = L.Multiply()([x, scale])
    return keras.Model(image, L.Conv2D(3, 1)(x))


def penalty_gradients(model: keras.Model) -> list[np.ndarray]:
    """Of the squared norm of the images' gradient, in training mode, by the weights."""
    trainable = [one.value for one in model.trainable_variables]
    state = [one.value for one in model.non_trainable_variables]

    def penalty(trainable):
        def loss(images):
            outputs, _ = model.stateless_call(trainable, state, images, training=True)
            return jnp.square(outputs).sum()

        return jnp.square(jax.grad(loss)(IMAGES)).sum()

    return [np.asarray(one) for one in jax.jit(jax.grad(penalty))(trainable)]


@pytest.mark.parametrize(
    "kinds", ["auto", "lean", "one_pass", "batchnorm+swish", "swish+lean"]
)
def test_gradients_of_a_gradient_are_those_of_stock_layers(kinds):
    model = blocks()
    expected = penalty_gradients(stock(model))
    found = penalty_gradients(accelerate(model, kinds))
    largest = max(np.abs(one).max() for one in expected)
    assert largest > 0.01
    for got, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=2e-4 * largest)


def test_a_sigmoid_of_few_digits_has_its_slope():
    x = jnp.linspace(-5, 5, 11)
    slope = jax.vmap(jax.grad(lambda value: sigmoid(value, jnp.bfloat16)))(x)
    s = 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    np.testing.assert_allclose(slope, s * (1 - s), rtol=2e-4)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("kinds", ["auto", "lean"])
def test_pictures_of_bytes_keep_the_kernel(kinds, size):
    """Keras convolves integers in the dtype of the kernel."""
    image = keras.Input((8, 8, 3), dtype="uint8")
    model = keras.Model(image, L.Conv2D(4, size)(image))
    expected = np.asarray(stock(model)(BYTES))
    found = np.asarray(accelerate(model, kinds)(BYTES))
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_a_layer_that_does_not_autocast_has_the_dtype_of_its_kernel():
    layer = L.Conv2D(4, 1, autocast=False)
    model = keras.Sequential([keras.Input((6, 6, 2)), layer])
    halves = jnp.asarray(IMAGES, jnp.bfloat16)
    expected = stock(model)(halves)
    found = accelerate(model)(halves)
    assert found.dtype == expected.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kinds", ["none", "auto", "lean"])
def test_a_depthwise_convolution_of_integers_is_refused_as_by_keras(kinds):
    layer = L.DepthwiseConv2D(3)
    layer.build((None, 8, 8, 3))
    accelerate(keras.Sequential([layer]), kinds)
    with pytest.raises(TypeError, match="the same dtypes, got uint8, float32"):
        layer(jnp.asarray(BYTES))


@pytest.fixture
def channels_first():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("kinds", ["auto", "lean"])
def test_a_layer_has_a_data_format_of_its_own(channels_first, kinds):
    layer = L.DepthwiseConv2D(3, data_format="channels_last")
    model = keras.Sequential([keras.Input((6, 6, 2)), layer])
    expected = np.asarray(stock(model)(IMAGES))
    np.testing.assert_allclose(accelerate(model, kinds)(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize("kinds", ["auto", "lean"])
def test_no_pass_leaves_an_array_behind(kinds):
    model = accelerate(blocks(), kinds)
    model(IMAGES, training=True)
    gc.collect()
    before = len(notes._notes)
    for _ in range(3):
        model(IMAGES, training=True)
    gc.collect()
    assert len(notes._notes) == before
