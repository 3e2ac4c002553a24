"""A residual network of four stages, small enough to train in a minute from nothing.

For docs/SEARCH.md: `--config.model.backbone=benchmarks.search_network:build`.
"""

import keras

layers = keras.layers


def build(image_size: int | None) -> keras.Model:
    """Maps of an eighth of the image's side, after four stages of one block each."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1)(image)
    for stage, (width, stride) in enumerate(((16, 2), (32, 2), (64, 2), (96, 1)), 1):
        x = _normalized(x, width, stride, f"stage{stage}_down")
        y = _normalized(x, width, 1, f"stage{stage}_block")
        x = layers.Add(name=f"stage{stage}_add")([x, y])
    return keras.Model(image, layers.ReLU(name="top")(x))


def _normalized(x, width: int, stride: int, name: str):
    x = layers.Conv2D(width, 3, stride, "same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
