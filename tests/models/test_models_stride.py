"""Output stride: the same weights, finer maps."""

import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models.stride import with_output_stride


def grid(model):
    return model.get_layer("top_activation").output.shape[1:3]


def test_names_weights_and_the_model_given_stay(small_model):
    # conftest's small model has output stride 8 from a stem and both stages.
    before = grid(small_model)
    finer = with_output_stride(small_model, 16)
    assert (before, grid(finer), grid(small_model)) == ((2, 2), (4, 4), (2, 2))
    assert grid(with_output_stride(small_model, 8)) == (8, 8)
    assert [layer.name for layer in finer.layers] == [
        layer.name for layer in small_model.layers
    ]
    assert [w.path for w in finer.weights] == [w.path for w in small_model.weights]
    for ours, theirs in zip(finer.weights, small_model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_every_second_value_is_that_of_the_coarse_model():
    """A strided convolution is the dense one, sampled; stages after it see finer maps.

    Up to the convolution itself the finer model must hold the coarse one's values at
    the positions that it had: this pins down the padding.
    """
    keras.utils.set_random_seed(1)
    L = keras.layers
    image = keras.Input((8, 8, 2))
    x = L.ZeroPadding2D(((0, 1), (0, 1)), name="block6a_dwconv_pad")(image)
    x = L.DepthwiseConv2D(3, 2, name="block6a_dwconv")(x)
    coarse = keras.Model(image, x)
    fine = with_output_stride(coarse, 16)
    images = np.random.default_rng(0).standard_normal((1, 8, 8, 2)).astype("float32")
    # Padding (0, 1) centers the taps on pixels 1, 3, 5, 7; "same" on every pixel.
    expected = np.asarray(coarse(images))
    np.testing.assert_allclose(fine(images)[:, 1::2, 1::2], expected, atol=1e-6)


def test_normalization_still_normalizes():
    image = keras.Input((8, 8, 3))
    norm = keras.layers.Normalization(name="normalize")
    x = keras.layers.DepthwiseConv2D(1, name="block6a_dwconv")(norm(image))
    model = keras.Model(image, x)
    norm.set_weights([np.full(3, 5.0), np.full(3, 4.0), np.zeros((), "int32")])
    norm.finalize_state()
    images = np.full((1, 8, 8, 3), 9.0, "float32")
    layer = with_output_stride(model, 16).get_layer("normalize")
    np.testing.assert_allclose(layer(images), 2.0)  # (9 - 5) / sqrt(4)


def test_32_is_the_model_itself(small_model):
    assert with_output_stride(small_model, 32) is small_model


def test_other_strides_and_models_are_told(small_model):
    with pytest.raises(UserError, match="output_stride=4, expected one of 32, 16, 8"):
        with_output_stride(small_model, 4)
    plain = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(
        UserError, match="none of the layers that stride in EfficientNet"
    ):
        with_output_stride(plain, 16)
