"""model.keras on disk, with stock layers and our metadata.

The file is what `keras.saving.save_model` writes, plus one more member in the zip,
hiercam.json, which Keras does not look at. So it loads with `keras.saving.load_model`
where this package is not installed.
"""

import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import keras

from hiercam_keras.errors import UserError
from hiercam_keras.models import user_code
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.xla_layers import accelerate as accelerate_layers

SCHEMA_VERSION = 1
METADATA_MEMBER = "hiercam.json"
# What zipfile raises: NotImplementedError and RecursionError are RuntimeErrors.
BROKEN = (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error)


def save_model(path: str | os.PathLike, model: keras.Model, metadata: dict) -> None:
    """Write a Functional model and its metadata to `path`, which ends in .keras.

    `metadata` is what JSON can hold: taxonomy, ranks, image_size, backbone, cam_layer,
    versions; `schema_version` is added. The compile state (loss, optimizer) is left
    out: checkpoints hold that. Atomic: the file is written beside its place under a
    hidden name and renamed.

    Raises UserError if the path has another suffix or cannot be written, ValueError if
    the metadata are not JSON.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise UserError(f"{path}: expected a file name that ends in .keras.")
    text = json.dumps(
        {"schema_version": SCHEMA_VERSION, **metadata}, indent=1, allow_nan=False
    )
    # The same layers in a model that was never compiled: a loss of this package in the
    # file would keep others from loading it.
    bare = keras.Model(model.input, model.output, name=model.name)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    """Read a model file's metadata without building the model.

    Raises UserError if the file is missing, damaged, of another program, or of a newer
    version of this one.
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
            f"{path}: schema_version {version}, expected {SCHEMA_VERSION}. Use the "
            "version of the program that wrote it, or train again."
        )
    return metadata


def load_model(
    path: str | os.PathLike, accelerate: str | tuple[str, ...] = "auto"
) -> tuple[keras.Model, dict]:
    """Read a model file: the model, with fast layers as asked for, and its metadata.

    `accelerate` is what `xla_layers.accelerate` takes. The model is not compiled.
    Nothing in the file is executed (Keras' safe mode); classes and functions of the
    user come from the modules that `user_code.use_modules` was given.

    Raises UserError as `read_metadata` does, and if Keras cannot build the model.
    """
    metadata = read_metadata(path)
    model = read_keras(path, metadata)
    return accelerate_layers(model, accelerate), metadata


def read_keras(
    path: str | os.PathLike, metadata: Mapping[str, Any] | None = None
) -> keras.Model:
    """Read a .keras file of any program, in Keras' safe mode; it is not compiled.

    `metadata` are those of a file of ours, for the message.

    Raises UserError if Keras cannot build the model; it names the layer that is in the
    way where that is one of the user's.
    """
    metadata = metadata or {}
    if not zipfile.is_zipfile(path):
        found = "no .keras file" if os.path.exists(path) else "there is no such file"
        raise UserError(
            f"{path}: {found}. Expected one that `model.save('net.keras')` of Keras 3 "
            "wrote; a network in another format is loaded and saved so first."
        )
    try:
        with numpy_initializers():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # layers of any package are made here
        unknown = [one for one in needs(path) if not user_code.is_known(one)]
        why = user_code.advice(unknown, metadata.get("modules", ()))
        if not why:
            why = f"{_first_line(error)}"
            if "versions" in metadata:
                why += f"; it was written with {metadata['versions']}"
        raise UserError(
            f"{path}: Keras {keras.__version__} cannot load it: {why}."
        ) from error
    _take_names(model, _config(path))
    return model


def needs(path: str | os.PathLike) -> list[user_code.Foreign]:
    """The classes and functions in a .keras file that are none of Keras'.

    Those of a loss, an optimizer or metrics are left out: nothing is compiled.
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
    """Gives the layers of a Functional model the names that they have in its file.

    A layer whose own config lacks its name, as that of a user's class often does, gets
    the next free number from Keras: the layer of a CAM would not be found in the second
    model that a process loads.
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
