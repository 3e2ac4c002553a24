"""The transformers of keras-hub, small and with random weights, without downloads."""

import keras
import keras_hub
import numpy as np

hub = keras_hub.models
CLASSES = 3


def with_head(backbone):
    """A head on the class token, as a user adds one to a backbone without a head."""
    token = backbone(backbone.input)[:, 0]
    outputs = keras.layers.Dense(CLASSES, name="predictions")(token)
    return keras.Model(backbone.input, outputs)


def vit(size, **settings):
    return hub.ViTImageClassifier(
        hub.ViTBackbone((*size, 3), 16, 2, 2, 16, 32, **settings), CLASSES
    )


def vit_without_class_token(size):
    return vit(size, use_class_token=False)


def deit(size):
    return hub.DeiTImageClassifier(
        hub.DeiTBackbone((*size, 3), 16, 2, 2, 16, 32), CLASSES
    )


def dinov2(size):
    return with_head(
        hub.DINOV2Backbone(
            *(16, 2, 16, 2, 32),
            num_register_tokens=2,
            image_shape=(*size, 3),
            position_embedding_shape=size,
        )
    )


def dinov3(size):
    return with_head(
        hub.DINOV3Backbone(
            *(16, 2, 16, 2, 32), num_register_tokens=4, image_shape=(*size, 3)
        )
    )


def swin(size):
    return hub.SwinTransformerImageClassifier(
        hub.SwinTransformerBackbone((*size, 3), 8, (1, 2), (1, 2), 2, patch_size=8),
        CLASSES,
    )


def mit(size):
    return hub.MiTImageClassifier(
        hub.MiTBackbone(
            *([1, 1], 2, [1, 2], [2, 1], 0.0, [7, 3], [8, 2]),
            image_shape=(*size, 3),
            hidden_dims=[8, 16],
        ),
        CLASSES,
    )


# What is built, the size of the pictures, special tokens, what is explained.
CASES = {
    "vit": (vit, (64, 96), 1, "transformer_block_2:input"),
    "vit0": (vit_without_class_token, (64, 96), 0, "transformer_block_2:input"),
    "deit": (deit, (64, 96), 2, "transformer_block_2:input"),
    "dinov2": (dinov2, (64, 64), 3, "layers_1:input"),
    "dinov3": (dinov3, (192, 256), 5, "layers_1:input"),
    "swin": (swin, (64, 96), 0, "norm"),
    "mit": (mit, (64, 64), 0, "layer_normalization"),
}
POOLED = ("swin", "mit")  # heads on the mean of the tokens
PATCH = 16


def pictures(name, seed=0, count=2):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 1, (count, *CASES[name][1], 3)).astype("float32")


def built(name):
    """Without positions, so that a picture's cells differ in their content alone, and
    with two opposite classes."""
    build, size, *_ = CASES[name]
    keras.utils.set_random_seed(3)
    model = build(size)
    for weight in model.weights:
        if "position_embedding" in weight.path:
            weight.assign(np.zeros(weight.shape))
    kernel, bias = model.layers[-1].weights
    columns = np.random.default_rng(0).normal(0, 1, kernel.shape)
    columns[:, 1] = -columns[:, 0]
    kernel.assign(columns)
    return model
