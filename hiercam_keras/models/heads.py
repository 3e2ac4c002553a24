"""A backbone with one logits head for each rank."""

from collections.abc import Mapping

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import chained_heads, custom
from hiercam_keras.models.backbones import (
    BACKBONES,
    HEAD_DROPOUT,
    HEAD_POOL,
    build_backbone,
)
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.layers import all_layers
from hiercam_keras.models.stride import OUTPUT_STRIDES, with_output_stride
from hiercam_keras.models.weights import load_backbone_weights

KERAS_DROP_CONNECT = 0.2  # the rate that keras.applications builds with


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Set the momentum of every batch normalization; takes effect at the next trace.

    Keras' default of 0.99 needs several hundred steps before the moving statistics are
    right: short runs want 0.9 or less, or `batchnorm.reestimate` after training.
    """
    if not 0.0 <= momentum < 1.0:
        raise UserError(f"bn_momentum={momentum}, expected 0 <= bn_momentum < 1.")
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = float(momentum)


def set_drop_connect(model: keras.Model, share: float) -> None:
    """Set how often the residual blocks are dropped in training, at the deepest one.

    EfficientNet and ConvNeXt drop whole blocks, more often with depth, here built for
    0.2 at the last (stochastic depth, Huang et al. 2016, arXiv:1603.09382). Short
    runs learn faster at 0. Does nothing to a model without such layers.
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
    """Backbone, global average pooling, dropout and a float32 Dense for each rank.

    Takes RGB images (B, S, S, 3) of 0..255, uint8 or float, in an input named "image".
    With one rank in `num_labels` (rank -> number of labels, coarse to fine) the output
    is one tensor of logits (B, labels); with several it is a dict rank -> logits. The
    Dense layers are named `logits_<rank>`. Logits are float32 under any dtype policy,
    and so are the pooling and the dropout before them. `weights` is for
    `load_backbone_weights`, `head_features` and `head_chain` for `chain.rank_logits`.
    The attribute `cam_layer` of the result names the layer that a CAM explains.

    Raises UserError for an unknown backbone, output stride, weights, momentum or chain,
    and for a rank with fewer than 2 labels.
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
    name = backbone_name.replace(":", ".")
    try:
        model = keras.Model(backbone.input, outputs, name=name)
    except ValueError as error:  # layers of one name, those of the heads among them
        raise UserError(
            f"model.backbone={backbone_name}: {str(error).splitlines()[0]} "
            f"{HEAD_POOL}, {HEAD_DROPOUT} and logits_<rank> are names of the heads: "
            "give your layers others."
        ) from error
    model.cam_layer = cam_layer
    return model


def check_output_stride(name: str, output_stride: int) -> None:
    """Raises UserError if a backbone, by name or function, cannot have that stride."""
    if not custom.is_function(name):
        if output_stride not in OUTPUT_STRIDES:
            raise UserError(
                f"output_stride={output_stride}, expected one of "
                f"{', '.join(map(str, OUTPUT_STRIDES))}."
            )
    elif output_stride != 32 and not custom.takes_output_stride(name):
        raise UserError(
            f"model.output_stride={output_stride}: the function {name} has no "
            "parameter output_stride. Give it one, or use --config.model."
            "output_stride=32, which leaves its model as it is."
        )


def check_cells(
    model: keras.Model, backbone_name: str, image_size: int, output_stride: int
) -> None:
    """Raises UserError where the maps of `model.cam_layer` are a single cell.

    A network learns at such a size, but its maps mark nothing but the whole image.
    """
    shape = model.get_layer(model.cam_layer).output.shape
    if len(shape) != 4 or tuple(shape[1:3]) != (1, 1):
        return
    finer = [s for s in OUTPUT_STRIDES if s < output_stride and 2 * s <= image_size]
    if custom.is_function(backbone_name):
        finer = finer if custom.takes_output_stride(backbone_name) else []
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
    """A backbone; one of the user's at the output stride that its function gives."""
    if not custom.is_function(name):
        return build_backbone(name, image_size, weights)
    check_output_stride(name, output_stride)
    model = custom.build(name, image_size, output_stride)
    load_backbone_weights(model, weights, name)
    return model
