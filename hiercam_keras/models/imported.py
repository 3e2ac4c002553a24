"""Networks that somebody else saved: .keras files as they are, and what they take.

Nothing in such a file chooses code. Before Keras sees it, its config is searched for
classes and functions that are none of Keras' own; one that the user's modules do not
have is refused.
"""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from hiercam_keras import workdir
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, preprocessing, user_code

_MEMBERS = ("config.json", "model.weights.h5")  # what `keras.Model.save` writes
_CHUNK = 2**20
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
    """SHA-256 of a file, hexadecimal.

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
    """Sees that a file is a whole .keras file that needs no code but the user's.

    Args:
      path: of the file.
      modules: that a user once gave for it, for the message; none is imported.

    Raises:
      UserError: it is missing, damaged or of another kind, has code in itself, or uses
        classes that no module of `config.model.modules` defines.
    """
    path = Path(path)
    expected = "expected a .keras file, which `model.save('net.keras')` writes"
    if path.is_dir():
        raise UserError(f"{path}: a folder, such as of a SavedModel; {expected}.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; {expected}.")
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
    """Reads a .keras file of any program in Keras' safe mode; arguments and errors are
    those of `check`."""
    check(path, modules)
    return files.read_keras(path)


def modules_of(path: str | os.PathLike) -> list[str]:
    """Modules of the classes in a file that are none of Keras', for messages."""
    return list(dict.fromkeys(one.module for one in files.needs(path) if one.module))


def image_size(model: keras.Model, default: int) -> int:
    """Side in pixels of the images that a network takes.

    Args:
      model: with one input of RGB images, channels first or last.
      default: of a network that takes any size, or does not say.

    Raises:
      UserError: several inputs, one that is no RGB image, or one that is not square.
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
    """A model of RGB images (B, size, size, 3) of 0 .. 255, with logits or whatever
    the network ends in.

    Args:
      model: as `image_size` takes it.
      kind: a key of `preprocessing.KINDS`.
      size: of `image_size`.
    """
    inputs = getattr(model, "inputs", None)
    known = inputs and None not in inputs[0].shape[1:]
    if not known or keras.tree.is_nested(_structure(model)):
        model = _functional(model, size)
    return preprocessing.in_front(model, kind, size)


def _structure(model: keras.Model) -> Any:
    """The inputs as the model's call takes them: a tensor, or a list or dict of it."""
    sequential = isinstance(model, keras.Sequential)
    return model.inputs[0] if sequential else model.input


def _functional(model: keras.Model, size: int) -> keras.Model:
    """The model as a layer of one that takes a single array of a known size."""
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
    except Exception as error:  # of the network's own code
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"the network cannot be run on images of {size} x {size}: {first_line}. "
            "Choose another size with --config.data.image_size."
        ) from error
