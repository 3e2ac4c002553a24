"""Room models: the same weights at a finer output stride, for finer maps.

A convolution's weights do not depend on its stride. Setting the stride of a late stage
to 1 doubles the size of every map after it; the receptive field in input pixels shrinks
with it, so train (or fine-tune) at the stride that is used afterwards.
"""

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.initializers import numpy_initializers

# EfficientNet B0..B7: the blocks whose stride is set to 1, by output stride.
STRIDED_STAGES = {
    32: (),
    16: ("block6a",),
    8: ("block6a", "block4a"),
}
OUTPUT_STRIDES = tuple(STRIDED_STAGES)


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

    `model` is an EfficientNet that `keras.applications` built (output stride 32), with
    or without heads after it; `output_stride` is 32, 16 or 8 input pixels for one cell
    of the last activation. Each stage concerned gets stride 1: its ZeroPadding2D pads
    nothing and its depthwise convolution pads "same". The input model is not changed;
    at 32 it is returned itself.

    Raises UserError for another stride, or for a model without those stages.
    """
    if output_stride not in STRIDED_STAGES:
        raise UserError(
            f"output_stride={output_stride}, expected one of "
            f"{', '.join(map(str, OUTPUT_STRIDES))}."
        )
    stages = STRIDED_STAGES[output_stride]
    if not stages:
        return model
    found = {layer.name: layer for layer in model.layers}
    missing = [f"{stage}_dwconv" for stage in stages if f"{stage}_dwconv" not in found]
    if missing:
        raise UserError(
            f"Model {model.name!r} has no layer {missing[0]!r}: output stride "
            f"{output_stride} is known for EfficientNets of keras.applications only. "
            "Use output_stride=32, which leaves the model as it is."
        )
    convs = {f"{stage}_dwconv" for stage in stages}
    pads = {f"{stage}_dwconv_pad" for stage in stages}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name in convs:
            config.update(strides=1, padding="same")
        elif layer.name in pads:
            config.update(padding=0)
        return layer.__class__.from_config(config)

    with numpy_initializers():
        finer = keras.models.clone_model(model, clone_function=clone)
    copy_weights(model, finer)
    return finer
