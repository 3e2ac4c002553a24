"""Room models: a backbone with one logits head for each rank."""

from collections.abc import Mapping

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.backbones import build_backbone
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.stride import with_output_stride

KERAS_DROP_CONNECT = 0.2  # the rate that keras.applications builds with


def logits_name(rank: str) -> str:
    """The name of the Dense layer that answers at a rank."""
    return f"logits_{rank}"


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Set the momentum of every batch normalization; takes effect at the next trace.

    Keras' default of 0.99 needs several hundred steps before the moving statistics are
    right: short runs want 0.9 or less, or `batchnorm.reestimate` after training.
    """
    if not 0.0 <= momentum < 1.0:
        raise UserError(f"bn_momentum={momentum}, expected 0 <= bn_momentum < 1.")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = float(momentum)


def set_drop_connect(model: keras.Model, share: float) -> None:
    """Set how often the residual blocks are dropped in training, at the deepest one.

    EfficientNet drops whole blocks, more often with depth, and Keras always at 0.2.
    Short runs learn faster at 0. Does nothing to a model without such layers.
    """
    if not 0.0 <= share < 1.0:
        raise UserError(f"drop_connect={share}, expected 0 <= drop_connect < 1.")
    for layer in model.layers:
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
) -> keras.Model:
    """Backbone, global average pooling, dropout and a float32 Dense for each rank.

    Takes RGB images (B, S, S, 3) of 0..255, uint8 or float, in an input named "image".
    With one rank in `num_labels` (rank -> number of labels) the output is one tensor of
    logits (B, labels); with several it is a dict rank -> logits. The Dense layers are
    named `logits_<rank>`. Logits are float32 under any dtype policy, and so are the
    pooling and the dropout before them. `weights` is for `load_backbone_weights`.

    Raises UserError for an unknown backbone, output stride, weights or momentum, and
    for a rank with fewer than 2 labels.
    """
    _check_labels(num_labels)
    backbone = build_backbone(backbone_name, image_size, weights)
    backbone = with_output_stride(backbone, output_stride)
    set_momentum(backbone, bn_momentum)
    set_drop_connect(backbone, drop_connect)
    pool = keras.layers.GlobalAveragePooling2D(name="avg_pool", dtype="float32")
    drop = keras.layers.Dropout(dropout, name="head_dropout", dtype="float32")
    features = drop(pool(backbone.output))
    logits = {}
    for rank, count in num_labels.items():
        dense = keras.layers.Dense(count, name=logits_name(rank), dtype="float32")
        with numpy_initializers():
            logits[rank] = dense(features)
    outputs = next(iter(logits.values())) if len(logits) == 1 else logits
    return keras.Model(backbone.input, outputs, name=backbone_name)
