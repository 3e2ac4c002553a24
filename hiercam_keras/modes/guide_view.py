"""The layer and the method of the guide's step maps.

The default is LayerCAM at the last addition of the first stage at 1/16 of the image. Of
24 combinations (6 layers, 4 methods) for the species model of `make demo` it names the
planted part of most taxa on the validation images; README.md has the results on the
test images. For other networks the layer is selected by the same rule, without a
measurement.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from absl import logging
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.modes.load import RunData

AUTO = "auto"
# By backbone: the last addition of the first stage at 1/16 of the image.
LAYERS = {
    "efficientnet_b0": "block4c_add",
    "efficientnet_b1": "block4d_add",
    "efficientnet_b2": "block4d_add",
    "efficientnet_b3": "block4e_add",
    "efficientnet_v2_b0": "block4c_add",
    "efficientnet_lite0": "block4c_add",
    "efficientnet_lite1": "block4d_add",
    "efficientnet_lite2": "block4d_add",
    "resnet50": "conv4_block3_out",
    "resnet50_v2": "conv4_block3_out",
    "mobilenet_v3_small": "expanded_conv_5_add",
    "mobilenet_v3_large": "expanded_conv_9_add",
}


def with_view(data: RunData, fields: Any, given: Iterable[str] = ()) -> RunData:
    """Returns the run with the guide's layer and method in its `config.cam`.

    Args:
      data: the run; its config includes the overrides of the command line.
      fields: the config's `guide`.
      given: dotted names of the fields set on the command line; --method and
        --config.cam.layer have priority over the guide's settings.
    """
    config, given = ConfigDict(data.config.to_dict()), set(given)
    if "cam.method" not in given:
        config.cam.method = fields.method
    if "cam.layer" not in given:
        config.cam.layer = _layer(fields.layer, config.model.backbone)
    return replace(data, config=FrozenConfigDict(config))


def _layer(asked: str, backbone: str) -> str:
    if asked != AUTO:
        return asked
    if backbone not in LAYERS:
        logging.info(
            "no earlier layer of %s is known, so the guide's maps are of its last "
            "activation; --config.guide.layer=... chooses another",
            backbone or "an imported network",
        )
    return LAYERS.get(backbone, "")
