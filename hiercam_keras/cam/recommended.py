"""The method and the layer of --method=recommended.

They agree best with the causes of drawn birds, plain maps and steps together, by
--mode=causes (docs/CAUSES.md). Grad-CAM at the last activation stays the default: it is
the method of the study. Layers are those of `LAYERS`; a network that is not among them
is explained at its last activation.
"""

from absl import logging

NAME = "recommended"
METHOD = "eigengradcam"
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


def early_layer(backbone: str) -> str:
    """The layer of a backbone in LAYERS; "", the last activation, for another one."""
    if backbone not in LAYERS:
        logging.info(
            "no earlier layer of %s is known, so the maps are of its last activation; "
            "--config.cam.layer=... chooses another",
            backbone or "an imported network",
        )
    return LAYERS.get(backbone, "")


def resolved(method: str, layer: str, backbone: str) -> tuple[str, str]:
    """Method and layer, with what NAME is for a backbone; a named layer is kept."""
    if method != NAME:
        return method, layer
    return METHOD, layer or early_layer(backbone)
