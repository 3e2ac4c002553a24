"""Room models: convolutional backbones by name, each with its CAM layer."""

from collections.abc import Callable
from typing import NamedTuple

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.weights import load_backbone_weights, set_normalization


class Backbone(NamedTuple):
    """How to build a network without its head, and which activation a CAM explains."""

    build: Callable[[keras.KerasTensor], keras.Model]
    cam_layer: str


def _efficientnet_b0(image: keras.KerasTensor) -> keras.Model:
    """EfficientNetB0 (Tan and Le 2019, arXiv:1905.11946) without its top.

    `keras.applications` builds another graph for weights="imagenet" (one Rescaling
    more) than for weights=None. Here it is always the graph of weights=None, and its
    Normalization layer holds the ImageNet mean and variance: (x/255 - mean)/std, which
    is what both Rescalings and the Normalization of the other graph amount to.
    """
    graph = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_tensor=image
    )
    set_normalization(graph)
    # keras.applications made the input a list of one.
    return keras.Model(image, graph.output, name="efficientnetb0")


BACKBONES = {"efficientnet_b0": Backbone(_efficientnet_b0, "top_activation")}


def _entry(name: str) -> Backbone:
    if name not in BACKBONES:
        raise UserError(
            f"backbone {name!r} is not known, expected one of {', '.join(BACKBONES)}."
        )
    return BACKBONES[name]


def build_backbone(
    name: str, image_size: int | None, weights: str | None = None
) -> keras.Model:
    """Build a backbone without its top: images (B, S, S, 3) to activations.

    Its input, named "image", takes RGB of 0..255, uint8 or float; normalization is
    inside. `image_size` S is in pixels (None: any). `weights` is a spec that
    `load_backbone_weights` reads, None for random ones.

    Raises UserError for a name that is not in BACKBONES, and for weights that cannot
    be loaded.
    """
    entry = _entry(name)
    # A float32 input: Keras casts what it is given to the input's dtype, on the device,
    # so uint8 images travel as bytes; a uint8 input would cut floats down silently.
    image = keras.Input((image_size, image_size, 3), dtype="float32", name="image")
    with numpy_initializers():
        model = entry.build(image)
    load_backbone_weights(model, weights)
    return model


def cam_layer(name: str) -> str:
    """The layer whose output a CAM of this backbone explains, by default."""
    return _entry(name).cam_layer


def backbone_of(model: keras.Model, name: str) -> keras.Model:
    """The backbone inside a model of `build_model`, sharing its layers and weights.

    Raises UserError if the model does not hold that backbone's last layer.
    """
    layer = cam_layer(name)
    if layer not in {inner.name for inner in model.layers}:
        raise UserError(
            f"Model {model.name!r} has no layer {layer!r}, expected one built on "
            f"{name!r}."
        )
    return keras.Model(model.input, model.get_layer(layer).output, name=name)
