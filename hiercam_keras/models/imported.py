"""Imports .keras files of other programs.

A file never selects code to run. Before Keras reads it, its config is searched for
classes and functions that are not part of Keras; a file that needs any which the user's
modules do not define is rejected.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import keras

from hiercam_keras import workdir
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, preprocessing, user_code

_MEMBERS = ("config.json", "model.weights.h5")  # written by `keras.Model.save`
_CHUNK = 2**20  # bytes
_LAYERS = keras.layers
# Layers that keep the range of pixels, and those that compute with them at once.
_UNSCALED = (
    _LAYERS.InputLayer,
    _LAYERS.ZeroPadding2D,
    _LAYERS.Permute,
    _LAYERS.Resizing,
    _LAYERS.CenterCrop,
    _LAYERS.Identity,
    _LAYERS.Flatten,
    _LAYERS.Reshape,
)
_WEIGHTED = (
    _LAYERS.Conv2D,
    _LAYERS.DepthwiseConv2D,
    _LAYERS.SeparableConv2D,
    _LAYERS.Dense,
)


def digest(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 digest of a file.

    Raises:
      UserError: the file cannot be read.
    """
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    return found.hexdigest()


def keep(source: str | os.PathLike, path: Path) -> None:
    """Copies a model file byte for byte, atomically."""
    with workdir.atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)


def check(path: str | os.PathLike, modules: Iterable[str] = ()) -> None:
    """Checks that a file is an intact .keras file without unknown code.

    Args:
      path: of the file.
      modules: names of modules given for this file earlier, for the message; none is
        imported.

    Raises:
      UserError: the file is missing, damaged or of another kind, contains a lambda, or
        uses classes that no module of `config.model.modules` defines.
    """
    path = Path(path)
    expected = "expected a .keras file, which `model.save('net.keras')` writes"
    if path.is_dir():
        raise UserError(f"{path}: a folder, such as of a SavedModel; {expected}.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; {expected}.")
    # HDF5 may begin at 512, 1024, ... bytes: so can the weights within a .keras file.
    if not zipfile.is_zipfile(path) and h5py.is_hdf5(path):
        raise UserError(
            f"{path}: an HDF5 file (.h5), which is not read; {expected}. Convert a "
            "model with keras.models.load_model('net.h5').save('net.keras') in "
            "Python; for weights alone, build the network and load them first."
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: damaged, or no .keras file; {expected}.")
    try:
        with zipfile.ZipFile(path) as file:
            missing = set(_MEMBERS) - set(file.namelist())
            broken = None if missing else file.testzip()
    except files.BROKEN as error:
        raise UserError(f"{path}: damaged ({error}); {expected}.") from error
    if missing:
        raise UserError(
            f"{path}: a zip file without {', '.join(sorted(missing))}; {expected}."
        )
    if broken is not None:
        raise UserError(f"{path}: damaged (checksum of {broken}); {expected}.")
    unknown = [one for one in files.needs(path) if not user_code.is_known(one)]
    if unknown:
        raise UserError(f"{path}: {user_code.advice(unknown, modules)}.")


def read(path: str | os.PathLike, modules: Iterable[str] = ()) -> keras.Model:
    """Checks and reads a .keras file of any program in Keras' safe mode.

    Args and errors as `check`; also raises UserError if Keras cannot build the model.
    """
    check(path, modules)
    return files.read_keras(path)


def modules_of(path: str | os.PathLike) -> list[str]:
    """Modules of the classes in a file that are not part of Keras, for messages."""
    return list(dict.fromkeys(one.module for one in files.needs(path) if one.module))


def image_size(model: keras.Model, default: int) -> int:
    """Side in pixels of a network's input images.

    Args:
      model: with one input of RGB images, channels first or last.
      default: returned if the network takes any size or declares no input.

    Raises:
      UserError: the network has several inputs, or its input is not a square RGB image.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs:  # a subclassed network
        return default
    shapes = [tuple(one.shape[1:]) for one in inputs]
    if len(shapes) > 1:
        listed = ", ".join(map(str, shapes))
        raise UserError(
            f"the network has {len(shapes)} inputs ({listed}), expected one: RGB "
            "images. Make a network of the image alone (keras.Model with the other "
            "inputs held fixed), or explain it in Python with other_inputs=."
        )
    (shape,) = shapes
    if len(shape) != 3 or 3 not in (shape[0], shape[2]):
        raise UserError(
            f"the network takes arrays of shape {shape}, expected RGB images: (height, "
            "width, 3), or (3, height, width). Put what makes them of RGB images in "
            "front of it, as part of the network."
        )
    height, width = shape[:2] if shape[2] == 3 else shape[1:]
    height, width = height or width, width or height
    if height != width:
        raise UserError(
            f"the network takes images of {height} x {width} pixels, expected square "
            "ones. Put keras.layers.Resizing in front of it, as part of the network."
        )
    return height or default


def takes_pixels_as_they_come(model: keras.Model) -> bool:
    """Whether the first that a network computes of an image is a convolution or a
    matrix product, so that nothing in it scales pixels of 0 .. 255.

    False where that is not known: in a subclassed network.
    """
    for operation in getattr(model, "operations", None) or getattr(model, "layers", ()):
        if isinstance(operation, keras.Model):
            return takes_pixels_as_they_come(operation)
        if not isinstance(operation, _UNSCALED):
            return isinstance(operation, _WEIGHTED)
    return False


def prepared(model: keras.Model, kind: str, size: int) -> keras.Model:
    """Wraps a network as a model of RGB images (B, size, size, 3) in 0..255.

    Args:
      model: with one input of RGB images, channels first or last.
      kind: preprocessing, a key of `preprocessing.KINDS`.
      size: side of the images in pixels, as `image_size` returns it.

    Returns:
      A model with the outputs of `model` and shared weights.

    Raises:
      UserError: the network cannot be called on such images, or
        `preprocessing.in_front` rejects it.
    """
    inputs = getattr(model, "inputs", None)
    known = inputs and None not in inputs[0].shape[1:]
    if not known or keras.tree.is_nested(_structure(model)):
        model = _functional(model, size)
    return preprocessing.in_front(model, kind, size)


def _structure(model: keras.Model) -> Any:
    """The input structure of the model's call: a tensor, or a list or dict with it."""
    sequential = isinstance(model, keras.Sequential)
    return model.inputs[0] if sequential else model.input


def _functional(model: keras.Model, size: int) -> keras.Model:
    """Wraps the model as a layer of a Functional model with one input of known size."""
    inputs = getattr(model, "inputs", None)
    first = bool(inputs) and inputs[0].shape[1] == 3 and inputs[0].shape[3] != 3
    shape = (3, size, size) if first else (size, size, 3)
    dtype = inputs[0].dtype if inputs else "float32"
    image = keras.Input(shape, dtype=dtype, name="image")
    given = image
    if inputs:
        given = keras.tree.pack_sequence_as(_structure(model), [image])
    try:
        return keras.Model(image, model(given), name=f"{model.name}_of_{size}_px")
    except Exception as error:  # user code in the network can raise anything
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"the network cannot be run on images of {size} x {size}: {first_line}. "
            "Choose another size with --config.data.image_size."
        ) from error
