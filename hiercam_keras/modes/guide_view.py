"""How the guide looks: the layer and the method of its step maps.

The default is HiResCAM at the last sum before the last stage. There the maps are no
coarser than at the last activation and lie closer to small parts; README.md has the
figures of both on the birds whose traits are known, chosen on the validation pictures.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from absl import logging
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.modes.load import RunData

AUTO = "auto"
# By backbone: the last sum at 1/16 of the image, on which the last stage works.
BEFORE_LAST_STAGE = {
    "efficientnet_b0": "block5c_add",
    "efficientnet_b1": "block5d_add",
    "efficientnet_b2": "block5d_add",
    "efficientnet_b3": "block5e_add",
    "efficientnet_v2_b0": "block5e_add",
    "resnet50": "conv4_block6_out",
    "resnet50_v2": "conv4_block5_out",
    "mobilenet_v3_small": "expanded_conv_7_add",
    "mobilenet_v3_large": "expanded_conv_11_add",
}


def with_view(data: RunData, fields: Any, given: Iterable[str] = ()) -> RunData:
    """The run with the guide's layer and method in its `config.cam`.

    Args:
      data: the run; its config has what the command line says of maps in general.
      fields: the config's `guide`.
      given: dotted names of the fields that the command line named; --method and
        --config.cam.layer beat the guide's own.
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
    if backbone not in BEFORE_LAST_STAGE:
        logging.info(
            "no earlier layer of %s is known, so the guide's maps are of its last "
            "activation; --config.guide.layer=... chooses another",
            backbone,
        )
    return BEFORE_LAST_STAGE.get(backbone, "")
