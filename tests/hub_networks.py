"""Tiny transformers of keras-hub with random weights, saved as presets."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

SIDE = 48  # px
CLASSES = 3
# What the preset's converter does to RGB of 0..255, other for each channel.
SCALE, OFFSET = [1 / 60, 1 / 50, 1 / 70], [-2.0, -1.5, -1.0]
# What the names of keras-hub's classes begin with.
FAMILIES = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "DINOV2",
    "dinov3": "DINOV3",
    "swin": "SwinTransformer",
    "mit": "MiT",
}


def backbone(family: str) -> Any:
    """A backbone for images of SIDE px; stochastic depth where there is some."""
    from keras_hub import models

    keras.utils.set_random_seed(7)
    shape = (SIDE, SIDE, 3)
    if family == "vit":
        return models.ViTBackbone(shape, 8, 2, 2, 16, 32)
    if family == "deit":
        return models.DeiTBackbone(shape, 8, 2, 2, 16, 32)
    if family == "dinov2":
        return models.DINOV2Backbone(
            *(8, 2, 16, 2, 32),
            num_register_tokens=2,
            drop_path_rate=0.3,
            image_shape=shape,
            position_embedding_shape=(64, 64),
        )
    if family == "dinov3":
        return models.DINOV3Backbone(
            *(8, 2, 16, 2, 32),
            num_register_tokens=4,
            drop_path_rate=0.3,
            image_shape=shape,
        )
    if family == "swin":
        return models.SwinTransformerBackbone(
            shape, 8, (1, 2), (1, 2), 3, patch_size=8, drop_path=0.3
        )
    return models.MiTBackbone(
        *([1, 1], 2, [1, 2], [2, 1], 0.3, [7, 3], [8, 2]),
        image_shape=shape,
        hidden_dims=[8, 16],
    )


def converter(family: str, **options: Any) -> Any:
    import keras_hub

    name = f"{FAMILIES[family]}ImageConverter"
    options = {"image_size": (SIDE, SIDE), "scale": SCALE, "offset": OFFSET} | options
    return getattr(keras_hub.layers, name)(**options)


def save_backbone(family: str, folder: Path) -> str:
    """Saves a backbone with its converter; gives its name for this program."""
    backbone(family).save_to_preset(str(folder))
    converter(family).save_to_preset(str(folder))
    return f"keras_hub:{folder}"


def save_classifier(family: str, folder: Path, **options: Any) -> tuple[str, Any]:
    """Saves a classifier with its preprocessor; gives its name, and itself."""
    from keras_hub import models

    kind = f"{FAMILIES[family]}ImageClassifier"
    before = getattr(models, f"{kind}Preprocessor")(image_converter=converter(family))
    options = {"num_classes": CLASSES, "preprocessor": before} | options
    net = getattr(models, kind)(backbone(family), **options)
    net.save_to_preset(str(folder))
    return f"keras_hub:{folder}", net


def pictures(count: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
