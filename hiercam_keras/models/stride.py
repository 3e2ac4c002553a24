"""Changes the output stride of a backbone, to get finer maps with the same weights.

A convolution's weights do not depend on its stride. Setting the stride of a late stage
to 1 doubles the size of all later maps, as in the high-resolution variant of Cole et
al. 2022 (arXiv:2207.10225). The receptive field in input pixels shrinks, so train or
fine-tune at the stride that is used in inference.
"""

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.initializers import numpy_initializers

# Strided layers of each family, those that produce 1/32 and 1/16 of the image size.
# A model belongs to the first family with all required layers in the model.
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
    """Copies all weights to a model of the same layers, in place.

    A Normalization layer caches constants derived from its weights; `finalize_state`
    updates them.
    """
    target.set_weights(source.get_weights())
    for layer in target.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def with_output_stride(model: keras.Model, output_stride: int) -> keras.Model:
    """Returns a model of the same layers, names and weights at another output stride.

    The strided layers of the affected stages get stride 1. Where a ZeroPadding2D
    precedes such a layer, its padding becomes 0 and the layer pads "same".

    Args:
      model: built by name with `build_backbone` (output stride 32), with or without
        heads. It is not changed, and returned itself for an output stride of 32.
      output_stride: input pixels for one cell of the last activation: 32, 16 or 8.

    Raises:
      UserError: the stride is unsupported, or the model belongs to no family of
        STRIDED.
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
            # Rebuilt from its layers, as its config fixes the size of its input.
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
    """Names of the strided layers in the last `stages` strided stages."""
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
