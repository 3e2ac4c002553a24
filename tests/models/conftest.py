"""Small models with every kind of layer that has a fast form."""

import keras
import pytest

from hiercam_keras.models.initializers import numpy_initializers


def mbconv(x, filters, stride, name):
    """One inverted residual block with squeeze and excitation, as EfficientNet's."""
    L = keras.layers
    channels = x.shape[-1] * 2
    x = L.Conv2D(channels, 1, use_bias=False, name=f"{name}_expand_conv")(x)
    x = L.BatchNormalization(name=f"{name}_expand_bn")(x)
    x = L.Activation("swish", name=f"{name}_expand_activation")(x)
    padding = "same"
    if stride == 2:
        x = L.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_dwconv_pad")(x)
        padding = "valid"
    x = L.DepthwiseConv2D(3, stride, padding, use_bias=False, name=f"{name}_dwconv")(x)
    x = L.BatchNormalization(name=f"{name}_bn")(x)
    x = L.Activation("swish", name=f"{name}_activation")(x)
    se = L.GlobalAveragePooling2D(keepdims=True, name=f"{name}_se_squeeze")(x)
    se = L.Conv2D(channels, 1, activation="sigmoid", name=f"{name}_se_expand")(se)
    x = L.Multiply(name=f"{name}_se_excite")([x, se])
    return L.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)


def build_small(labels=3):
    """Image (B, 16, 16, 3) -> stem -> two blocks (output stride 8) -> logits."""
    L = keras.layers
    with numpy_initializers():
        image = keras.Input((16, 16, 3), name="image")
        x = L.Rescaling(1 / 255, name="rescale")(image)
        x = L.Conv2D(4, 3, 2, "same", use_bias=False, name="stem_conv")(x)
        x = mbconv(x, 6, 2, "block4a")
        x = mbconv(x, 6, 2, "block6a")
        x = L.Activation("swish", name="top_activation")(x)
        x = L.GlobalAveragePooling2D(name="avg_pool")(x)
        x = L.Dropout(0.2, name="head_dropout")(x)
        logits = L.Dense(labels, name="logits_order")(x)
    return keras.Model(image, logits, name="small")


@pytest.fixture
def small_model():
    """A new model with random weights from a fixed seed."""
    keras.utils.set_random_seed(0)
    return build_small()


@pytest.fixture
def images():
    """Four uint8 images (4, 16, 16, 3)."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), "uint8")
