"""Reads and writes model.keras files with metadata.

The file is the zip archive of `keras.saving.save_model` with stock layers only, plus
the member hiercam.json, which Keras ignores. `keras.saving.load_model` therefore loads
it where this package is not installed.
"""

import contextlib
import functools
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import keras
from keras.src.saving import saving_lib

from hiercam_keras import lazy_tensorflow
from hiercam_keras.errors import UserError
from hiercam_keras.models import user_code
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.xla_layers import accelerate as accelerate_layers

SCHEMA_VERSION = 1
METADATA_MEMBER = "hiercam.json"
# Errors of zipfile; NotImplementedError and RecursionError are RuntimeErrors.
BROKEN = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error)


def save_model(path: str | os.PathLike, model: keras.Model, metadata: dict) -> None:
    """Writes a Functional model and its metadata to a .keras file, atomically.

    The compile state (loss, optimizer) is not saved; checkpoints hold it. The file is
    written under a hidden name in the same folder and then renamed.

    Args:
      path: ends in .keras; missing folders are created.
      model: Functional.
      metadata: JSON values such as taxonomy, ranks, image_size, backbone, cam_layer and
        versions. `schema_version` is added.

    Raises:
      UserError: the path has another suffix or cannot be written.
      TypeError, ValueError: the metadata cannot be written as JSON.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise UserError(f"{path}: expected a file name that ends in .keras.")
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, **metadata}, indent=1, allow_nan=False
    )
    # A model of the same layers without compile state: a loss of this package in the
    # file would prevent loading without the package.
    bare = keras.Model(model.input, model.output, name=model.name)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lazy_tensorflow.not_asked_for():
            bare.save(temporary)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(METADATA_MEMBER, text)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}). Free some space, or choose another "
            "folder with --workdir."
        ) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def read_metadata(path: str | os.PathLike) -> dict:
    """Reads the metadata of a model file without building the model.

    Raises UserError if the file is missing, damaged, written by another program, or has
    another schema version.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such model file. Train one first.")
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
            names = file.namelist()
            text = file.read(METADATA_MEMBER) if METADATA_MEMBER in names else None
    except BROKEN as error:
        raise UserError(
            f"{path}: damaged, or not a .keras file ({error}). Train again, or give "
            "another file."
        ) from error
    if damaged is not None:
        raise UserError(f"{path}: damaged (checksum of {damaged}). Train again.")
    if text is None:
        raise UserError(
            f"{path}: a model that another program wrote: it has no {METADATA_MEMBER}, "
            "so its ranks and taxonomy are not known. Expected one that --mode=train "
            "wrote."
        )
    try:
        metadata = json.loads(text)
        version = metadata["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: {METADATA_MEMBER} cannot be read ({error})."
        ) from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version {version!r}, expected {SCHEMA_VERSION}. Use the "
            "version of the program that wrote it, or train again."
        )
    return metadata


def load_model(
    path: str | os.PathLike, accelerate: str | tuple[str, ...] = "auto"
) -> tuple[keras.Model, dict]:
    """Reads a model file; returns the uncompiled model and its metadata.

    No code from the file is executed (Keras' safe mode). User classes and functions are
    looked up in the modules registered by `user_code.use_modules`.

    Args:
      path: of a file that `save_model` wrote.
      accelerate: the layers to replace by fast ones, as `xla_layers.accelerate` takes
        it.

    Raises:
      UserError: as `read_metadata`, and if Keras cannot build the model.
    """
    metadata = read_metadata(path)
    model = read_keras(path, metadata)
    return accelerate_layers(model, accelerate), metadata


def read_keras(
    path: str | os.PathLike, metadata: Mapping[str, Any] | None = None
) -> keras.Model:
    """Reads a .keras file of any program in Keras' safe mode, uncompiled.

    Args:
      path: of the file.
      metadata: of `read_metadata`, for the error message only.

    Raises:
      UserError: Keras cannot build the model. The message names the first layer that
        needs unregistered user code, if there is one.
    """
    metadata = metadata or {}
    if not zipfile.is_zipfile(path):
        found = "no .keras file" if os.path.exists(path) else "there is no such file"
        raise UserError(
            f"{path}: {found}. Expected one that `model.save('net.keras')` of Keras 3 "
            "wrote; a network in another format is loaded and saved so first."
        )
    try:
        with numpy_initializers(drawn=False), _remembered_attributes():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # constructors of user layers can raise anything
        unknown = [one for one in needs(path) if not user_code.is_known(one)]
        why = user_code.advice(unknown, metadata.get("modules", ()))
        package = user_code.not_installed(_config(path))
        if not why and package:
            why = f"it has layers of {package}, which is not installed"
            if package == "keras_hub":
                why += "; install it with `make install-keras-hub` (docs/INSTALL.md)"
        elif not why:
            why = f"{_first_line(error)}"
            if "versions" in metadata:
                why += f"; it was written with {metadata['versions']}"
        raise UserError(
            f"{path}: Keras {keras.__version__} cannot load it: {why}."
        ) from error
    _take_names(model, _config(path))
    return model


@contextlib.contextmanager
def _remembered_attributes() -> Iterator[None]:
    """Lets Keras find once which attributes of a class have no weights.

    It means to remember them, but under a name that it does not look for, and makes
    another layer to find them for each layer of a model (keras 3.15.1).
    """
    found = getattr(saving_lib, "get_attr_skipset", None)
    if found is None:
        yield
        return
    with mock.patch.object(saving_lib, "get_attr_skipset", functools.cache(found)):
        yield


def needs(path: str | os.PathLike) -> list[user_code.Foreign]:
    """Lists the classes and functions in a .keras file that are not part of Keras.

    Losses, optimizers and metrics are ignored, as the model is not compiled. Returns an
    empty list if the config cannot be read.
    """
    config = _config(path)
    if isinstance(config, dict):
        config = {name: v for name, v in config.items() if name != "compile_config"}
    try:
        return user_code.foreign(config)
    except RecursionError:
        return []


def _config(path: str | os.PathLike) -> Any:
    try:
        with zipfile.ZipFile(path) as file:
            return json.loads(file.read("config.json"))
    except (KeyError, *BROKEN):
        return None


def _take_names(model: keras.Model, config: Any) -> None:
    """Restores the layer names of a Functional model from its file.

    The config of a user layer often lacks the layer's name. Keras then assigns the next
    free number in the process, so a second model loaded by the same process would have
    other names and its CAM layer would not be found.
    """
    operations = getattr(model, "operations", None)
    try:
        saved = [(one["class_name"], one["name"]) for one in config["config"]["layers"]]
    except (KeyError, TypeError):
        return
    classes = [type(one).__name__ for one in operations or ()]
    if classes == [name for name, _ in saved]:
        for operation, (_, name) in zip(operations, saved, strict=True):
            operation.name = name


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
