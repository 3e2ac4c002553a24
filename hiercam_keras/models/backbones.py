"""Registry of convolutional backbones and their default CAM layers."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import architectures, custom, efficientnet_lite, hub_presets
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.layers import layer_output
from hiercam_keras.models.weights import choose, load_backbone_weights

# The layers that `heads.build_model` puts between a backbone and the heads.
HEAD_POOL, HEAD_DROPOUT = "avg_pool", "head_dropout"


class Backbone(NamedTuple):
    """Builder of a network without its head, and the name of its CAM layer."""

    build: Callable[[keras.KerasTensor], keras.Model]
    cam_layer: str


def _efficientnet(variant: str) -> Backbone:
    return Backbone(architectures.efficientnet(variant), "top_activation")


BACKBONES = {
    "efficientnet_b0": _efficientnet("B0"),
    "efficientnet_b1": _efficientnet("B1"),
    "efficientnet_b2": _efficientnet("B2"),
    "efficientnet_b3": _efficientnet("B3"),
    "efficientnet_v2_b0": Backbone(architectures.efficientnet_v2_b0, "top_activation"),
    **{
        name: Backbone(efficientnet_lite.backbone(name), efficientnet_lite.CAM_LAYER)
        for name in efficientnet_lite.VARIANTS
    },
    "resnet50": Backbone(architectures.resnet50, "conv5_block3_out"),
    "resnet50_v2": Backbone(architectures.resnet50_v2, "post_relu"),
    "convnext_tiny": Backbone(architectures.convnext_tiny, "top_norm"),
    "mobilenet_v3_small": Backbone(
        architectures.mobilenet_v3("Small"), "top_activation"
    ),
    "mobilenet_v3_large": Backbone(
        architectures.mobilenet_v3("Large"), "top_activation"
    ),
}


def check_name(name: str) -> None:
    """Raises UserError unless `name` is in BACKBONES or names a preset or a function.

    Whether keras-hub has the preset is known when it is loaded.
    """
    if name in BACKBONES or hub_presets.is_preset(name) or custom.is_function(name):
        return
    hint = ""
    if "vit" in name.lower() or "swin" in name.lower():
        hint = (
            f" Transformers are presets of keras-hub, {hub_presets.PREFIX}PRESET "
            "(docs/MODELS.md)."
        )
    raise UserError(
        f"backbone {name!r} is not known, expected one of {', '.join(BACKBONES)}, "
        f"{hub_presets.PREFIX}PRESET, or a function of yours as "
        f"package.module:function.{hint}"
    )


def build_backbone(
    name: str, image_size: int | None, weights: str | None = None
) -> keras.Model:
    """Builds a backbone without its top: images (B, S, S, 3) to activations.

    Args:
      name: one of BACKBONES, "keras_hub:PRESET" (see `hub_presets`), or
        "package.module:function" (see `custom`).
      image_size: S in pixels; None for any size.
      weights: a spec for `load_backbone_weights`; None for random weights.

    Returns:
      A model with one float32 input of RGB images in 0..255 (uint8 images are cast);
      normalization is part of the model. For a name of BACKBONES the input is called
      "image". The attribute `cam_layer` names the layer that a CAM explains; "" is
      the one that `cam.Explainer` finds.

    Raises:
      UserError: the name is unknown, or the weights cannot be loaded.
    """
    check_name(name)
    if hub_presets.is_preset(name):
        pretrained = choose(weights or "none", name) == hub_presets.WEIGHTS
        model = hub_presets.backbone(name, image_size, pretrained)
    elif name not in BACKBONES:
        model = custom.build(name, image_size)
    else:
        # Keras casts inputs to this dtype on the device, so uint8 images are
        # transferred as bytes; a uint8 input would truncate floats.
        image = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
        with numpy_initializers():
            model = BACKBONES[name].build(image)
        model.cam_layer = BACKBONES[name].cam_layer
    load_backbone_weights(model, weights, name)
    return model


def cam_layer(name: str) -> str:
    """Name of the default CAM layer of a backbone in BACKBONES.

    Raises UserError for other names, including those of user functions.
    """
    check_name(name)
    if name not in BACKBONES:
        raise UserError(
            f"backbone {name!r} has no CAM layer by name; the model that it builds has."
        )
    return BACKBONES[name].cam_layer


def takes_output_stride(name: str) -> bool:
    """Whether the output stride of a backbone can be chosen."""
    if custom.is_function(name):
        return custom.takes_output_stride(name)
    return not hub_presets.is_preset(name)


def model_name(name: str) -> str:
    """Name of the Keras model of a backbone, which has no colon and no slash."""
    return (
        hub_presets.short(name)
        if hub_presets.is_preset(name)
        else (name.replace(":", "."))
    )


def backbone_of(model: keras.Model, name: str) -> keras.Model:
    """Returns the backbone of a `build_model` model, sharing its layers and weights.

    The backbone ends in the input of the heads, independent of the CAM layer.

    Raises UserError if the model lacks the layers between a backbone and its heads.
    """
    drop = layer_output(model, HEAD_DROPOUT)
    if drop is None:
        raise UserError(
            f"Model {model.name!r} has no layer {HEAD_DROPOUT!r}, expected one built "
            f"by build_model on {name!r}."
        )
    features = model.get_layer(HEAD_DROPOUT).input
    if features._keras_history.operation.name == HEAD_POOL:
        features = model.get_layer(HEAD_POOL).input
    return keras.Model(model.input, features, name=model_name(name))
