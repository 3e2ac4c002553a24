"""Room models: model.keras on disk, with stock layers and our metadata.

The file is what `keras.saving.save_model` writes, plus one more member in the zip,
hiercam.json, which Keras does not look at. So it loads with `keras.saving.load_model`
where this package is not installed.
"""

import json
import os
import pathlib
import zipfile
import zlib

import keras

from hiercam_keras.errors import UserError
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
    Nothing in the file is executed (Keras' safe mode).

    Raises UserError as `read_metadata` does, and if Keras cannot build the model.
    """
    metadata = read_metadata(path)
    try:
        with numpy_initializers():
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(
            f"{path}: Keras {keras.__version__} cannot load it "
            f"({str(error).splitlines()[0]}). It was written with "
            f"{metadata.get('versions', 'unknown versions')}."
        ) from error
    return accelerate_layers(model, accelerate), metadata
