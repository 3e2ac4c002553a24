"""Room models: weights for a backbone, from a name or a file.

A .npz file holds one array for each variable, keyed "layer/variable", and its metadata
as JSON bytes; nothing in it is pickled. The Normalization layer is not in it: its
values are constants of `keras.applications`, and its name depends on what was built
before it.
"""

import importlib.resources
import json
import os
import pathlib
import re
from collections.abc import Mapping

import keras
import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.models import files, imagenet
from hiercam_keras.models.initializers import numpy_initializers

# Of the images in 0..1, per RGB channel.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SYNTHETIC_ASSET = "pretrained_b0.npz"
SYNTHETIC_BACKBONE = "efficientnet_b0"
METADATA_KEY = "__metadata__"
_UNNAMED = re.compile(r"variable_\d+")
SUFFIXES = (".keras", ".weights.h5", ".h5", ".npz")


def set_normalization(
    model: keras.Model,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    variance: tuple[float, ...] = tuple(s * s for s in IMAGENET_STD),
) -> None:
    """Write mean and variance of images in 0..1 into the Normalization layer.

    One that was built with constants of its own keeps them.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights(
                [np.asarray(mean), np.asarray(variance), np.zeros((), "int32")]
            )
            layer.finalize_state()


def load_backbone_weights(
    model: keras.Model,
    spec: str | os.PathLike | None,
    backbone: str = SYNTHETIC_BACKBONE,
) -> None:
    """Load weights into a backbone that `build_backbone` made, in place.

    `backbone` is its name in BACKBONES. `spec` is "none" (or None: leave the model as
    it is), "imagenet" (Keras' own file, downloaded once into its cache and checked),
    "synthetic" (ours, trained on procedural birds), or the path of a .keras,
    .weights.h5, .h5 or .npz file. Layers in a .keras file that the backbone does not
    have, such as heads, are left out.

    Raises UserError if the download fails, the checksum or a shape does not fit, or
    the file is missing, damaged or of another kind.
    """
    if spec is None or spec == "none":
        return
    if spec == "imagenet":
        _load_h5(model, imagenet.download(backbone))
    elif spec == "synthetic":
        if backbone != SYNTHETIC_BACKBONE:
            raise UserError(
                f"model.weights=synthetic: they are of {SYNTHETIC_BACKBONE}, found "
                f"model.backbone={backbone}. Use imagenet, none or a file."
            )
        _load_npz(model, _synthetic_asset())
    else:
        _load_file(model, pathlib.Path(spec))


def _load_file(model: keras.Model, path: pathlib.Path) -> None:
    if not path.is_file():
        raise UserError(
            f"model.weights={str(path)!r}: expected 'none', 'imagenet', 'synthetic' or "
            "a file, and there is no such file."
        )
    if path.suffix == ".npz":
        _load_npz(model, path)
    elif path.suffix == ".keras":
        _load_keras(model, path)
    elif path.suffix == ".h5":
        _load_h5(model, path)
    else:
        raise UserError(
            f"model.weights={str(path)!r}: expected a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )


def _load_h5(model: keras.Model, path: pathlib.Path) -> None:
    """Load Keras' legacy whole-model h5, or the .weights.h5 of a model like this."""
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"{path}: not the weights of {model.name!r} without its top "
            f"({str(error).splitlines()[0]}). Expected what save_weights wrote for the "
            "same backbone; for a model with heads give its .keras file."
        ) from error
    if imagenet.is_rescaled(path):
        _fold_imagenet_rescaling(model)


def _fold_imagenet_rescaling(model: keras.Model) -> None:
    """Give the graph of weights=None what the graph of weights="imagenet" computes.

    For these weights keras.applications divides by sqrt(IMAGENET_STD) in one more
    Rescaling, after a Normalization that divides by the root of the file's variance.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            mean, variance, _ = layer.get_weights()
            set_normalization(model, mean, variance * np.asarray(IMAGENET_STD))


def _assign(model: keras.Model, values: Mapping[str, np.ndarray], source: str) -> None:
    """Assign values keyed "layer/variable" to all variables; all or nothing."""
    variables = named_variables(model)
    missing = [name for name in variables if name not in values]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of the {len(variables)} variables of "
            f"{model.name!r} are missing, the first is {missing[0]!r}. Give weights "
            "of the same backbone."
        )
    for name, variable in variables.items():
        if tuple(variable.shape) != values[name].shape:
            raise UserError(
                f"{source}: {name!r} has the shape {values[name].shape}, expected "
                f"{tuple(variable.shape)}. Give the weights of the same backbone."
            )
    for name, variable in variables.items():
        variable.assign(values[name].astype("float32"))


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The weights of a flat model by "layer/variable", without Normalization's.

    A variable that its layer gave no name is called "variable": Keras numbers these as
    they come.
    """
    return {
        f"{layer.name}/{_UNNAMED.sub('variable', weight.name)}": weight
        for layer in model.layers
        if not isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }


def _load_keras(model: keras.Model, path: pathlib.Path) -> None:
    try:
        with numpy_initializers():
            source = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a Keras model file ({str(error).splitlines()[0]})."
        ) from error
    values = {name: np.asarray(v) for name, v in named_variables(source).items()}
    _assign(model, values, str(path))


def save_float16(model: keras.Model, path: str | os.PathLike, metadata: dict) -> None:
    """Write a backbone's weights to a .npz: float16, moving variances float32.

    `metadata` is what JSON can hold (data, seeds, steps, figures). The file is written
    beside its place and renamed. Raises ValueError for a weight that is not finite in
    float16.
    """
    path = pathlib.Path(path)
    arrays = {}
    for name, variable in named_variables(model).items():
        wide = name.endswith("/moving_variance")
        with np.errstate(over="ignore"):
            array = np.asarray(variable).astype("float32" if wide else "float16")
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
    """Read what `save_float16` wrote: arrays by "layer/variable", and the metadata.

    Raises UserError for a file that is damaged or not of this kind.
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


def _load_npz(model: keras.Model, path: os.PathLike) -> None:
    arrays, _ = read_npz(path)
    _assign(model, arrays, str(path))
    set_normalization(model)


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
