"""The same weights at a finer output stride, for finer maps.

A convolution's weights do not depend on its stride. Setting the stride of a late stage
to 1 doubles the size of every map after it, as the high-resolution variant of Cole et
al. 2022 (arXiv:2207.10225) does; the receptive field in input pixels shrinks with it,
so train (or fine-tune) at the stride that is used afterwards.
"""

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.initializers import numpy_initializers

# For each family of networks the layers that stride, at 1/32 and at 1/16 of the image.
# The first family all of whose layers a model has is taken to be its own.
STRIDED = {
    "EfficientNet": (("block6a_dwconv",), ("block4a_dwconv",)),
    "EfficientNetV2": (("block6a_dwconv2",), ("block4a_dwconv2",)),
    "ResNet50V2": (
        ("conv4_block6_0_pool", "conv4_block6_2_conv"),
        ("conv3_block4_0_pool", "conv3_block4_2_conv"),
    ),
    "ResNet50": (
        ("conv5_block1_0_conv", "conv5_block1_1_conv"),
        ("conv4_block1_0_conv", "conv4_block1_1_conv"),
    ),
    "ConvNeXt-Tiny": (
        ("convnext_tiny_downsampling_block_2",),
        ("convnext_tiny_downsampling_block_1",),
    ),
    "MobileNetV3-Large": (
        ("expanded_conv_12_depthwise",),
        ("expanded_conv_6_depthwise",),
    ),
    "MobileNetV3-Small": (
        ("expanded_conv_8_depthwise",),
        ("expanded_conv_3_depthwise",),
    ),
}
OUTPUT_STRIDES = (32, 16, 8)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy all weights to a model of the same layers, in place.

    A Normalization layer computes with constants that it derives from its weights:
    without `finalize_state` it would silently go on with those of before.
    """
    target.set_weights(source.get_weights())
    for layer in target.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def with_output_stride(model: keras.Model, output_stride: int) -> keras.Model:
    """Return a model of the same layers, names and weights at another output stride.

    `model` is one that `build_backbone` made by name (output stride 32), with or
    without heads after it; `output_stride` is 32, 16 or 8 input pixels for one cell
    of the last activation. Each stage concerned gets stride 1: what strides there does
    so no more, and where a ZeroPadding2D came before, it pads nothing and the
    convolution pads "same". The input model is not changed; at 32 it is returned
    itself.

    Raises UserError for another stride, or for a model without those stages.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise UserError(
            f"output_stride={output_stride}, expected one of "
            f"{', '.join(map(str, OUTPUT_STRIDES))}."
        )
    if output_stride == 32:
        return model
    names = _strided_layers(model, 1 if output_stride == 16 else 2)
    own_pads = {f"{name}_pad" for name in names}
    padded = {name for name in names if _has_layer(model, f"{name}_pad")}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Sequential):
            # Made anew, without the size of the map that it was built for.
            inner = [_clone_inner(one, layer.name in names) for one in layer.layers]
            return keras.Sequential(inner, name=layer.name)
        config = layer.get_config()
        if layer.name in own_pads:
            config.update(padding=0)
        elif layer.name in names:
            config.update(strides=1)
            if layer.name in padded:
                config.update(padding="same")
        return layer.__class__.from_config(config)

    with numpy_initializers():
        finer = keras.models.clone_model(model, clone_function=clone)
    copy_weights(model, finer)
    return finer


def _clone_inner(layer: keras.layers.Layer, dense: bool) -> keras.layers.Layer:
    config = layer.get_config()
    if dense and isinstance(layer, keras.layers.Conv2D):
        config.update(strides=1, padding="same")
    return layer.__class__.from_config(config)


def _has_layer(model: keras.Model, name: str) -> bool:
    return any(layer.name == name for layer in model.layers)


def _strided_layers(model: keras.Model, stages: int) -> set[str]:
    """Names of the layers of the last `stages` strides."""
    found = {layer.name for layer in model.layers}
    for steps in STRIDED.values():
        names = {name for step in steps[:stages] for name in step}
        if names <= found:
            return names
    raise UserError(
        f"Model {model.name!r} has none of the layers that stride in "
        f"{', '.join(STRIDED)}, which are the networks whose output stride can be "
        "changed. Use output_stride=32, which leaves the model as it is."
    )
