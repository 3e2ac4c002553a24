"""Preprocessing layers agree with the functions of keras.applications."""

import keras
import numpy as np
import pytest
from keras.applications.imagenet_utils import preprocess_input

from hiercam_keras.errors import UserError
from hiercam_keras.models import preprocessing

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (2, 5, 4, 3), "uint8")
FLOATS = RNG.uniform(0, 255, (2, 5, 4, 3)).astype("float32")


def network(shape=(5, 4, 3)):
    """The identity model."""
    image = keras.Input(shape)
    return keras.Model(image, keras.layers.Activation("linear")(image), name="net")


def expected(images, kind, data_format):
    if kind == "unit":
        return images / 255
    images = images.astype("float64")  # preprocess_input changes floats in place
    if kind == "model":
        return images
    return preprocess_input(images, mode=kind, data_format=data_format)


@pytest.mark.parametrize("images", [BYTES, FLOATS], ids=["uint8", "float32"])
@pytest.mark.parametrize("kind", preprocessing.KINDS)
def test_it_is_that_of_keras_applications(kind, images):
    found = preprocessing.in_front(network(), kind, None)(images)
    wanted = expected(images, kind, "channels_last")
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("images", [BYTES, FLOATS], ids=["uint8", "float32"])
@pytest.mark.parametrize("kind", preprocessing.KINDS)
def test_a_network_with_channels_first_takes_the_same_images(kind, images):
    model = preprocessing.in_front(network((3, 5, 4)), kind, None)
    assert model.input_shape == (None, 5, 4, 3)
    turned = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    wanted = expected(turned, kind, "channels_first")
    np.testing.assert_allclose(model(images), wanted, rtol=1e-6, atol=2e-5)


def test_a_network_that_does_it_itself_is_returned_as_it_is():
    model = network((5, 5, 3))
    assert preprocessing.in_front(model, "model", 5) is model


@pytest.mark.parametrize("kind", preprocessing.KINDS)
def test_the_file_needs_keras_only(kind, tmp_path):
    model = preprocessing.in_front(network((3, 5, 4)), kind, None)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(BYTES), model(BYTES))


def test_pixels_are_not_rounded_under_a_policy_of_half_precision():
    """bfloat16 has 8 bits: 255/127.5 - 1 and its neighbours would be one value."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        front = preprocessing.in_front(network(), "tf", None)
        first = keras.Model(front.input, front.get_layer("rescale").output)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(first(BYTES), BYTES / 127.5 - 1, atol=1e-6)


def test_any_size_becomes_the_one_that_is_asked_for():
    model = preprocessing.in_front(network((None, None, 3)), "tf", 7)
    assert model.input_shape == (None, 7, 7, 3)
    open_ended = preprocessing.in_front(network((None, None, 3)), "tf", None)
    assert open_ended.input_shape == (None, None, None, 3)


def test_the_weights_are_those_of_the_network():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(image)
    inner = keras.Model(image, {"a": x, "b": keras.layers.Flatten()(x)}, name="net")
    outer = preprocessing.in_front(inner, "caffe", 8)
    assert outer.get_layer("net") is inner
    assert list(outer.trainable_variables) == list(inner.trainable_variables)
    assert set(outer.output) == {"a", "b"}


@pytest.mark.parametrize(
    ("shape", "kind", "size", "match"),
    [
        ((5, 4, 3), "vgg", None, "preprocessing=vgg: .*caffe .*BGR"),
        ((8, 8, 3), "tf", 16, "8 x 8 px, found data.image_size=16.*image_size=8"),
        ((3, 8, 8), "tf", 16, "8 x 8 px, found data.image_size=16"),
        ((5, 4, 3), "model", 5, "5 x 4 px, found .*=5. Expected one that takes square"),
        ((5, 4, 1), "tf", None, "'net' takes .*5, 4, 1.*one input of RGB images"),
        ((5, 4), "tf", None, "one input of RGB images"),
    ],
)
def test_what_does_not_fit(shape, kind, size, match):
    with pytest.raises(UserError, match=match):
        preprocessing.in_front(network(shape), kind, size)


def test_a_model_with_two_inputs():
    inputs = [keras.Input((5, 4, 3)), keras.Input((5, 4, 3))]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    with pytest.raises(UserError, match="one input of RGB images"):
        preprocessing.in_front(model, "tf", None)
