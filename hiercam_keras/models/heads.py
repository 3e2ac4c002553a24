"""Builds models: a backbone with one logits head for each rank."""

from collections.abc import Mapping

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import chained_heads, custom, hub_presets
from hiercam_keras.models.backbones import (
    BACKBONES,
    HEAD_DROPOUT,
    HEAD_POOL,
    build_backbone,
    model_name,
    takes_output_stride,
)
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.layers import all_layers
from hiercam_keras.models.stride import OUTPUT_STRIDES, with_output_stride
from hiercam_keras.models.weights import load_backbone_weights

KERAS_DROP_CONNECT = 0.2  # default stochastic depth rate in keras.applications


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Sets the momentum of every batch normalization; takes effect at the next trace.

    With Keras' default of 0.99 the moving statistics need several hundred steps to
    converge. Use 0.9 or less for short runs, or `batchnorm.reestimate` after training.

    Raises UserError unless 0 <= momentum < 1.
    """
    if not 0.0 <= momentum < 1.0:
        raise UserError(f"bn_momentum={momentum}, expected 0 <= bn_momentum < 1.")
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = float(momentum)


def set_drop_connect(model: keras.Model, share: float) -> None:
    """Sets the stochastic depth rate of the deepest residual block.

    EfficientNet and ConvNeXt drop whole residual blocks in training, with a rate that
    increases with depth (Huang et al. 2016, arXiv:1603.09382). The layers are built for
    a final rate of 0.2 and are rescaled here, so call this once for each model. Short
    runs learn faster at 0. A model without such layers is not changed.

    Raises UserError unless 0 <= share < 1.
    """
    if not 0.0 <= share < 1.0:
        raise UserError(f"drop_connect={share}, expected 0 <= drop_connect < 1.")
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Dropout) and layer.name.endswith("_drop"):
            layer.rate *= share / KERAS_DROP_CONNECT


def _check_labels(num_labels: Mapping[str, int]) -> None:
    if not num_labels:
        raise UserError("num_labels is empty, expected at least one rank.")
    for rank, count in num_labels.items():
        if count < 2:
            raise UserError(
                f"rank {rank!r} has {count} label(s) in this data, expected at least "
                "2: with a single one its loss is always 0. Choose a finer rank."
            )


def build_model(
    backbone_name: str,
    image_size: int,
    num_labels: Mapping[str, int],
    *,
    dropout: float = 0.2,
    output_stride: int = 32,
    bn_momentum: float = 0.99,
    drop_connect: float = KERAS_DROP_CONNECT,
    weights: str | None = None,
    head_features: int = 0,
    head_chain: str = "none",
) -> keras.Model:
    """Builds backbone, global average pooling, dropout and a Dense layer for each rank.

    Args:
      backbone_name: one of BACKBONES, "keras_hub:PRESET", or "package.module:function".
      image_size: S in pixels.
      num_labels: number of labels by rank, coarse to fine; at least 2 each.
      dropout: rate in 0..1 between the pooling and the heads.
      output_stride: input pixels for one cell of the backbone's output: 32, 16 or 8.
      bn_momentum: of `set_momentum`.
      drop_connect: of `set_drop_connect`.
      weights: of `load_backbone_weights`.
      head_features, head_chain: of `chained_heads.rank_logits`.

    Returns:
      A model of RGB images (B, S, S, 3) in 0..255, uint8 or float. With one rank it
      gives logits (B, labels), with several a dict of logits by rank. Pooling, dropout
      and the Dense layers `logits_<rank>` are float32 under any dtype policy. The
      attribute `cam_layer` names the layer that a CAM explains, see `build_backbone`.

    Raises:
      UserError: the backbone, stride, weights, momentum, drop rate or chain is invalid,
        a rank has fewer than 2 labels, or layer names of a user's backbone collide with
        those of the heads.
    """
    _check_labels(num_labels)
    backbone = _backbone(backbone_name, image_size, weights, output_stride)
    cam_layer = backbone.cam_layer
    if backbone_name in BACKBONES:
        backbone = with_output_stride(backbone, output_stride)
    set_momentum(backbone, bn_momentum)
    set_drop_connect(backbone, drop_connect)
    pool = keras.layers.GlobalAveragePooling2D(name=HEAD_POOL, dtype="float32")
    drop = keras.layers.Dropout(dropout, name=HEAD_DROPOUT, dtype="float32")
    maps = backbone.output
    features = drop(pool(maps) if len(maps.shape) == 4 else maps)
    with numpy_initializers():
        logits = chained_heads.rank_logits(
            features, num_labels, head_features, head_chain
        )
    outputs = next(iter(logits.values())) if len(logits) == 1 else logits
    try:
        model = keras.Model(backbone.input, outputs, name=model_name(backbone_name))
    except ValueError as error:  # layer names that are not unique
        raise UserError(
            f"model.backbone={backbone_name}: {str(error).splitlines()[0]} "
            f"{HEAD_POOL}, {HEAD_DROPOUT} and logits_<rank> are names of the heads: "
            "give your layers others."
        ) from error
    model.cam_layer = cam_layer
    return model


def check_output_stride(name: str, output_stride: int) -> None:
    """Raises UserError if a backbone, by name or function, has no such stride."""
    if not takes_output_stride(name):
        if output_stride == 32:
            return
        why = f"the function {name} has no parameter output_stride. Give it one, or"
        if hub_presets.is_preset(name):
            why = f"{name} has the stride of its patches;"
        raise UserError(
            f"model.output_stride={output_stride}: {why} use --config.model."
            "output_stride=32, which leaves its model as it is."
        )
    if not custom.is_function(name) and output_stride not in OUTPUT_STRIDES:
        raise UserError(
            f"output_stride={output_stride}, expected one of "
            f"{', '.join(map(str, OUTPUT_STRIDES))}."
        )


def check_cells(
    model: keras.Model, backbone_name: str, image_size: int, output_stride: int
) -> None:
    """Raises UserError if the maps of `model.cam_layer` have a single cell.

    A network can be trained at such a size, but its CAMs cover the whole image. The
    layer of a preset of keras-hub is not known here.
    """
    if not model.cam_layer:
        return
    shape = model.get_layer(model.cam_layer).output.shape
    if len(shape) != 4 or tuple(shape[1:3]) != (1, 1):
        return
    finer = [s for s in OUTPUT_STRIDES if s < output_stride and 2 * s <= image_size]
    finer = finer if takes_output_stride(backbone_name) else []
    strides = " or ".join(f"--config.model.output_stride={s}" for s in finer)
    raise UserError(
        f"data.image_size={image_size} at model.output_stride={output_stride}: the "
        f"maps of the layer {model.cam_layer!r} are one cell, which marks the whole "
        f"image. Use --config.data.image_size={2 * max(image_size, output_stride)} or "
        f"more{f', or {strides}' if finer else ''}."
    )


def _backbone(
    name: str, image_size: int, weights: str | None, output_stride: int
) -> keras.Model:
    """Builds a backbone; a user's function gets the output stride directly."""
    check_output_stride(name, output_stride)
    if not custom.is_function(name):
        return build_backbone(name, image_size, weights)
    model = custom.build(name, image_size, output_stride)
    load_backbone_weights(model, weights, name)
    return model
