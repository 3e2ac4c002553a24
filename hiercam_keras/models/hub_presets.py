"""Image networks from presets of keras-hub, with the preset's weights and pixels.

`keras_hub:PRESET` names a folder that `save_to_preset` wrote, or a preset that
keras-hub downloads. The preset's image converter says which pixels the network takes;
its scale and offset become a Rescaling in front of the network. Its resize is left to
this program, which gives square images of the network's size.

What a linear head reads of the tokens is what the literature of each family reads:

* ViT: the class token (Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1); without
  one, the mean of the patches (appendix D.3).
* DeiT: the class token (Touvron et al. 2020, arXiv:2012.12877), as in keras-hub's own
  classifier.
* DINOv2 and DINOv3: the class token and the mean of the patches, concatenated, as the
  linear classifiers that were published with both (Oquab et al. 2023, arXiv:2304.07193;
  Simeoni et al. 2025, arXiv:2508.10104). Registers are not read.
* Swin: the mean of all tokens (Liu et al. 2021, arXiv:2103.14030, section 3.1).
* Networks that end in maps, as MiT: the maps, which the head pools.
"""

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.layers import all_layers

PREFIX = "keras_hub:"
WEIGHTS = "preset"  # name of the weights that a preset comes with
LAYER = "backbone"  # name of the layer that holds the preset's network

# Tokens before the patches, by the class of the backbone. As of keras-hub 0.32.
_SPECIAL: dict[str, Callable[[Any], int]] = {
    "ViTBackbone": lambda net: int(net.use_class_token),
    "DeiTBackbone": lambda net: 2,
    "DINOV2Backbone": lambda net: 1 + net.num_register_tokens,
    "DINOV3Backbone": lambda net: 1 + net.num_register_tokens,
    "SwinTransformerBackbone": lambda net: 0,
}
_DINO = ("DINOV2Backbone", "DINOV3Backbone")
# In keras-hub's errors for a preset that has no head for image classification.
_NO_HEAD = ("num_classes", "subclass of ImageClassifier")


def is_preset(name: str) -> bool:
    """Whether the name of a network begins with `keras_hub:`."""
    return name.startswith(PREFIX)


def short(name: str) -> str:
    """The last part of a preset's name or path: "vit" of "keras_hub:nets/vit/"."""
    return Path(name.removeprefix(PREFIX)).absolute().name


def version() -> str:
    """Version of the installed keras-hub. Raises UserError if it is not installed."""
    return _library().__version__


def classifier(name: str) -> keras.Model:
    """Loads an image classifier: RGB images (B, S, S, 3) in 0..255 to logits.

    Args:
      name: `keras_hub:PRESET`.

    Raises:
      UserError: keras-hub is not installed, there is no such preset, its download
        fails, it has no head, or the pixels that it takes are not known.
    """
    load = _library().models.ImageClassifier.from_preset
    _check_exists(name)
    try:
        net = _built(name, load, activation=None, preprocessor=None)
    except UserError as error:
        if not any(words in str(error.__cause__) for words in _NO_HEAD):
            raise
        raise UserError(
            f"{name}: the preset is a backbone without a head for image "
            "classification, so there is nothing to ask it. Train a head on it: "
            f"--mode=train --config.model.backbone={name}, with "
            f"--config.train.freeze_through={LAYER} for a linear head on frozen "
            "features."
        ) from error
    # Without the class of the task, which would save its preprocessor and optimizer.
    plain = keras.Model(net.input, net.output, name=net.name)
    return _with_pixels(name, plain)


def backbone(name: str, image_size: int | None, pretrained: bool) -> keras.Model:
    """Loads a backbone: RGB images (B, S, S, 3) in 0..255 to features or maps.

    Dropout and stochastic depth of the preset are off in a training: the features of a
    frozen network are the same at each step, and JAX cannot trace the stochastic depth
    of DINOv2 and DINOv3. The position embeddings of DINOv2 are interpolated once, to
    the size of the images; at any other size it would save others than it was trained
    with.

    Args:
      name: `keras_hub:PRESET`.
      image_size: S in pixels; None for the size of the preset.
      pretrained: whether to load the weights of the preset.

    Returns:
      A model that ends in features (B, C) or maps (B, h, w, C). Its layer LAYER is the
      preset's network. The attribute `cam_layer` is "": `cam.Explainer` finds the
      layer.

    Raises:
      UserError: as for `classifier`, except for the head; the network cannot take
        images of this size, or ends in neither maps nor tokens of a known family.
    """
    load = _library().models.Backbone.from_preset
    _check_exists(name)
    shape = {} if image_size is None else {"image_shape": (image_size, image_size, 3)}
    try:
        net = _built(name, load, load_weights=pretrained, name=LAYER, **shape)
    except UserError:
        _check_size(name, load, image_size)
        raise
    net = _with_own_positions(net)
    _turn_off_noise(net)
    model = _with_pixels(name, net)
    features = _features(name, net, model.output)
    model = keras.Model(model.input, features, name=model.name)
    model.cam_layer = ""
    return model


def _library() -> Any:
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise UserError(
            f"{PREFIX}PRESET needs the package keras-hub, which cannot be imported "
            f"({error}). Install it with `make install-keras-hub`, or `pip install "
            "--no-deps -r requirements-keras-hub.txt` (docs/INSTALL.md)."
        ) from error


def _check_exists(name: str) -> None:
    """Raises UserError for a folder that is no preset, and for an unknown name."""
    preset = name.removeprefix(PREFIX)
    known = _library().models.Backbone.presets
    if Path(preset).exists():
        if not (Path(preset) / "config.json").is_file():
            raise UserError(
                f"{name}: no preset. Expected a folder with config.json, as "
                f"network.save_to_preset({preset!r}) of keras-hub writes it."
            )
    elif "://" not in preset and preset not in known:
        near = difflib.get_close_matches(preset, known, n=1, cutoff=0.0)
        raise UserError(
            f"{name}: there is no such folder, and no such preset in keras-hub "
            f"{version()}; the nearest name is {PREFIX}{near[0]}."
        )


def _built(name: str, load: Callable[..., Any], /, **options: Any) -> Any:
    """Calls a `from_preset` of keras-hub; any error becomes a UserError."""
    preset = name.removeprefix(PREFIX)
    try:
        with numpy_initializers():
            return load(preset, **options)
    except MemoryError:
        raise
    except Exception as error:  # of downloads, files and constructors of any kind
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        advice = "Expected a folder that save_to_preset wrote."
        if not Path(preset).exists():
            advice = (
                "Expected a preset that keras-hub can download. Without a network, "
                "copy its folder from a machine that has it, and give "
                f"{PREFIX}FOLDER."
            )
        raise UserError(f"{name}: cannot be loaded ({why}). {advice}") from error


def _check_size(name: str, load: Callable[..., Any], image_size: int | None) -> None:
    """Raises UserError if a preset loads at its own size, which is another one."""
    own = tuple(getattr(_built(name, load), "image_shape", ()))[:2]
    if own and image_size is not None and own != (image_size, image_size):
        raise UserError(
            f"{name}: its weights are for images of {own[0]} x {own[1]} px, found "
            f"data.image_size={image_size}. Use --config.data.image_size={own[0]}."
        )


def _with_pixels(name: str, net: keras.Model) -> keras.Model:
    """Puts the preset's scale and offset of the pixels in front of its network."""
    shapes = [tuple(one.shape[1:]) for one in net.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][-1] != 3:
        raise UserError(
            f"{name}: its network takes arrays of shape "
            f"{', '.join(map(str, shapes))}, expected RGB images (height, width, 3)."
        )
    image = keras.Input(shapes[0], dtype="float32", name="image")
    x = _rescaling(name)(image)
    # Some backbones take a dict with one tensor.
    given = keras.tree.pack_sequence_as(net.input, [x])
    return keras.Model(image, net(given), name=short(name))


def _rescaling(name: str) -> keras.layers.Rescaling:
    converters = _library().layers.ImageConverter
    preset = name.removeprefix(PREFIX)
    try:
        converter = converters.from_preset(preset)
    except Exception as error:  # of downloads and files
        converter, why = None, f" ({' '.join(str(error).split())[:200]})"
    else:
        why = ""
    if converter is None:
        raise UserError(
            f"{name}: the preset has no image converter, so the pixels that its "
            f"network takes are not known{why}. Add it to the folder: "
            "converter.save_to_preset(FOLDER), of the converter in keras_hub.layers "
            "for this backbone, with scale and offset."
        )
    if type(converter).call is not converters.call:
        raise UserError(
            f"{name}: its {type(converter).__name__} computes more than a scale and an "
            "offset of the pixels, which is not supported."
        )
    scale = 1.0 if converter.scale is None else np.asarray(converter.scale).tolist()
    offset = 0.0 if converter.offset is None else np.asarray(converter.offset).tolist()
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="rescale")


def _with_own_positions(net: Any) -> Any:
    """A DINOv2 with position embeddings of its size; any other network as it is."""
    embedded = getattr(net, "position_embedding_shape", None)
    if embedded is None or tuple(embedded)[:2] == tuple(net.image_shape)[:2]:
        return net
    config = net.get_config() | {"position_embedding_shape": net.image_shape}
    with numpy_initializers():
        other = type(net).from_config(config)
    for new, old in zip(other.weights, net.weights, strict=True):
        if new is other.embeddings.position_embeddings:
            old = net.embeddings.interpolated_position_embeddings
        # A copy, because JAX cannot donate one array for two variables.
        new.assign(keras.ops.copy(old.value))
    return other


def _turn_off_noise(net: keras.Model) -> None:
    """Sets the rates of dropout and stochastic depth to 0, in place.

    A saved file keeps the rates of the preset, which have no effect in inference.
    (Keras 3.15 ignores `training=False` in the call of a nested model.)
    """
    for layer in all_layers(net):
        for rate in ("rate", "drop_prob"):
            if isinstance(getattr(layer, rate, None), float):
                setattr(layer, rate, 0.0)


def _features(name: str, net: Any, outputs: Any) -> Any:
    """What a linear head reads of a backbone's outputs, see above."""
    kind, axes = type(net).__name__, len(getattr(outputs, "shape", ()))
    if axes == 4:
        return outputs
    if kind not in _SPECIAL or axes != 3:
        raise UserError(
            f"{name}: a {kind} ends in neither maps nor tokens of "
            f"{', '.join(_SPECIAL)}, so it is not known what a head reads of it."
        )
    special = _SPECIAL[kind](net)
    layers = keras.layers
    mean = layers.GlobalAveragePooling1D(dtype="float32", name="mean_of_patches")
    if not special:
        return mean(outputs)
    if kind not in _DINO:
        return outputs[:, 0]
    both = [outputs[:, 0], mean(outputs[:, special:])]
    return layers.Concatenate(dtype="float32", name="class_token_and_mean")(both)
