"""Adds the preprocessing that a published network expects as layers in front of it.

The kinds are the modes of `keras.applications.imagenet_utils.preprocess_input`
("caffe", "tf" and "torch"), plus "model" and "unit".
"""

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models.architectures import CAFFE_MEAN
from hiercam_keras.models.weights import IMAGENET_MEAN, IMAGENET_STD

# Input that a network expects, computed from RGB in 0..255.
KINDS = {
    "model": "the network computes it itself: RGB 0..255",
    "caffe": "BGR minus ImageNet's mean, not scaled",
    "tf": "RGB of -1..1: x/127.5 - 1",
    "torch": "RGB of 0..1, minus ImageNet's mean, divided by its deviation",
    "unit": "RGB of 0..1: x/255",
}


def in_front(model: keras.Model, kind: str, image_size: int | None) -> keras.Model:
    """Returns a model that takes RGB images (B, S, S, 3) in 0..255, uint8 or float.

    Stock layers compute the preprocessing in float32 under any dtype policy, so the
    result can be saved and loaded by Keras alone. A channels-last network of the kind
    "model" is returned unchanged; any other becomes a layer of the result and shares
    its weights.

    Args:
      model: with one input of three-channel images, channels first or last.
      kind: a key of KINDS.
      image_size: S in pixels; None for the network's own size.

    Raises:
      UserError: the kind is unknown, the model has several inputs or not three
        channels, or it takes images of another size.
    """
    if kind not in KINDS:
        raise UserError(
            f"model.preprocessing={kind}: expected one of "
            f"{'; '.join(f'{name} ({text})' for name, text in KINDS.items())}."
        )
    channels_first, height, width = _image_shape(model)
    sides = {height, width} - {None}
    if image_size is not None and sides - {image_size}:
        use = f"Use --config.data.image_size={height or width}."
        raise UserError(
            f"model {model.name!r} takes images of {height} x {width} px, found "
            f"data.image_size={image_size}. "
            + (use if len(sides) == 1 else "Expected one that takes square images.")
        )
    if kind == "model" and not channels_first:
        return model
    shape = (height or image_size, width or image_size, 3)
    image = keras.Input(shape, dtype="float32", name="image")
    x = _preprocessed(image, kind)
    if channels_first:
        x = keras.layers.Permute((3, 1, 2), dtype="float32", name="channels_first")(x)
    return keras.Model(image, model(x), name=f"{model.name}_with_preprocessing")


def _image_shape(model: keras.Model) -> tuple[bool, int | None, int | None]:
    """Whether channels are first, height and width (None: any) of a model's input."""
    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(one.shape) for one in inputs]
    if len(shapes) == 1 and len(shapes[0]) == 4:
        _, first, second, last = shapes[0]
        if last == 3:
            return False, first, second
        if first == 3:
            return True, second, last
    raise UserError(
        f"model {model.name!r} takes {shapes or 'inputs of unknown shapes'}, expected "
        "one input of RGB images, (batch, height, width, 3) or (batch, 3, height, "
        "width)."
    )


def _preprocessed(image: keras.KerasTensor, kind: str) -> keras.KerasTensor:
    layers = keras.layers
    if kind == "tf":
        return layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="rescale")(image)
    if kind in ("unit", "torch"):
        image = layers.Rescaling(1 / 255, dtype="float32", name="rescale")(image)
    if kind == "torch":
        return layers.Normalization(
            mean=IMAGENET_MEAN,
            variance=tuple(std * std for std in IMAGENET_STD),
            dtype="float32",
            name="normalization",
        )(image)
    if kind == "caffe":
        centered = layers.Normalization(
            mean=CAFFE_MEAN,
            variance=(1.0, 1.0, 1.0),
            dtype="float32",
            name="minus_mean",
        )(image)
        return keras.ops.flip(centered, axis=-1)
    return image
