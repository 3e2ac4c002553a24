"""The layers at the ends of stages, of networks of every kind."""

import keras
import pytest

from hiercam_keras.cam import stages
from hiercam_keras.models.backbones import build_backbone

layers = keras.layers


def residual(activation: bool, first: bool = False) -> keras.Model:
    """Two stages of two blocks, then a convolution."""
    form = {"data_format": "channels_first"} if first else {}
    image = keras.Input((3, 32, 32) if first else (32, 32, 3))
    x = image
    for stage, width in enumerate((4, 8)):
        x = layers.Conv2D(width, 3, 2, "same", **form)(x)
        for block in range(2):
            y = layers.Conv2D(width, 3, padding="same", **form)(x)
            y = layers.Multiply()([y, layers.Conv2D(width, 1, **form)(y)])
            x = layers.Add(name=f"add{stage}{block}")([x, y])
            if activation:
                x = layers.ReLU(name=f"relu{stage}{block}")(x)
    x = layers.Conv2D(6, 1, name="top", **form)(x)
    return keras.Model(image, layers.GlobalAveragePooling2D(**form)(x))


@pytest.mark.parametrize("first", [False, True])
def test_a_stage_ends_in_its_last_sum_or_the_activation_of_it(first):
    assert stages.ends(residual(False, first)) == ("add11", "add01")
    assert stages.ends(residual(True, first)) == ("relu11", "relu01")


def test_without_sums_the_last_activation_of_each_size():
    image = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255)(image)
    for size in range(3):
        for number in range(2):
            x = layers.Conv2D(4, 3, padding="same", name=f"conv{size}{number}")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.1)(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    assert stages.ends(model) == ("conv21", "conv11", "conv01")


def test_many_channel_counts_count_by_their_size():
    """As in DenseNet, where each block adds channels."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    for number in range(8):
        y = layers.Conv2D(2, 3, padding="same")(x)
        x = layers.Concatenate(name=f"cat{number}")([x, y])
        if number == 3:
            x = layers.AveragePooling2D(2)(x)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x))
    assert stages.ends(model) == ("cat7", "cat3")


def test_a_network_without_either_has_none():
    image = keras.Input((8, 8, 3))
    assert (
        stages.ends(keras.Model(image, layers.Dense(2)(layers.Flatten()(image)))) == ()
    )


def test_those_of_efficientnet_in_whose_first_stage_is_no_sum():
    model = build_backbone("efficientnet_lite0", 64)
    assert stages.ends(model) == (
        "block6d_add", "block5c_add", "block4c_add", "block3b_add", "block2b_add",
    )  # fmt: skip
