"""Traced programs in the user's cache, so that a later process need not trace them.

Tracing and lowering a train step of EfficientNetB0 takes 4 s of Python. `jit` writes the
lowered program (StableHLO, by `jax.export`) to a file below `cache_folder.user_cache` and
reads it in later processes; XLA's compiled program is in JAX's own cache. The key of a file
is a digest of everything that a trace depends on: the caller's key, the shapes and types of
the arguments, the source of this package, versions, and the settings of JAX and Keras.
A file holds no Python code. One that is damaged is traced and written again.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import cache_folder, workdir
from hiercam_keras.errors import UserError

_MAGIC = b"hiercam_keras traced program 1\n"
_DIGEST = hashlib.sha256().digest_size
_MOST = 64  # files that are kept, those that were used last
_PACKAGES = ("jax", "jaxlib", "keras", "ml_dtypes", "numpy")


def jit(
    function: Callable,
    key: Callable[[], str | None],
    donate_argnums: Sequence[int] = (),
) -> Callable:
    """`jax.jit(function)`, which reads the program from the cache if it can.

    The program is the same whether it was traced or read.

    Args:
      function: pure; must not depend on anything but its arguments, `key`, and what the
        module's docstring names.
      key: gives a digest of what the function depends on, when it is traced; None
        where this is not known, and the function is traced.
      donate_argnums: as of `jax.jit`.
    """
    import jax

    @functools.wraps(function)
    def traced(*args):
        folder = _folder()
        own = None if folder is None else key()
        if own is None:
            return function(*args)
        specs = jax.tree.map(_spec, args)
        place = folder / f"{_key(own, specs)}.program"
        program = _read(place) or _export(function, specs, place)
        return function(*args) if program is None else program.call(*args)

    return jax.jit(traced, donate_argnums=tuple(donate_argnums))


def digest(*parts: Any) -> str:
    """A digest of values: JSON values, tuples, mappings, arrays.

    Raises:
      TypeError: there is something else among them.
    """
    text = json.dumps(parts, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """What JSON lacks, in JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "to_dict"):  # a config
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no digest")


def _folder() -> Path | None:
    """Where programs are; None where they are not kept.

    A program of several devices holds their number and sharding, and all processes
    would have to find the same files.
    """
    import jax
    import keras

    if jax.device_count() > 1 or keras.distribution.distribution() is not None:
        return None
    cache = cache_folder.user_cache()
    if cache is None or not Path(__file__).is_file():
        return None
    return cache / "programs"


def _spec(array: Any) -> Any:
    import jax

    aval = jax.typeof(array)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _key(key: str, specs: Any) -> str:
    import jax

    leaves, tree = jax.tree.flatten(specs)
    shapes = [[list(one.shape), str(one.dtype), bool(one.weak_type)] for one in leaves]
    return digest(key, shapes, str(tree), _source(), _surroundings())


@functools.cache
def _source() -> str:
    """A digest of the source of this package."""
    found = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _surroundings() -> list[Any]:
    """Versions, the device, and settings of JAX and Keras."""
    import jax
    import keras

    device = jax.devices()[0]
    settings = {
        name: repr(value)
        for name, value in jax.config.values.items()
        if "cache" not in name
    }
    return [
        {name: metadata.version(name) for name in _PACKAGES},
        [device.platform, device.device_kind],
        settings,
        keras.config.floatx(),
        keras.config.epsilon(),
        keras.config.image_data_format(),
        json.dumps(keras.config.dtype_policy().get_config()),
    ]


def _read(place: Path) -> Any | None:
    """The program in a file; None if there is none, or none that can be used."""
    from jax import export

    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logging.warning("%s: cannot be read (%s)", place, error)
        return None
    head = len(_MAGIC) + _DIGEST
    content = data[head:]
    if data[:head] != _MAGIC + hashlib.sha256(content).digest():
        logging.warning("%s: damaged, the program is traced again", place)
        return None
    try:
        program = export.deserialize(bytearray(content))
        os.utime(place)
    except Exception as error:  # of a reader that does not know the format
        logging.warning("%s: cannot be used (%s)", place, _first_line(error))
        return None
    return program


def _export(function: Callable, specs: Any, place: Path) -> Any | None:
    """Traces a function and writes its program; None if that is not possible."""
    import jax

    try:
        from jax import export

        exported = export.export(jax.jit(function))(*specs)
        content = bytes(exported.serialize())
    except (ImportError, NotImplementedError, ValueError) as error:
        # No flatbuffers, or an operation without a stable form.
        logging.debug("a traced program is not kept: %s", _first_line(error))
        return None
    data = _MAGIC + hashlib.sha256(content).digest() + content
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        workdir.write_bytes(place, data)
        _remove_old(place.parent)
    except (OSError, UserError) as error:
        logging.debug("%s: a traced program is not kept: %s", place, error)
    return exported


def _remove_old(folder: Path) -> None:
    """Removes the programs that were not used for the longest time."""
    files = sorted(folder.glob("*.program"), key=lambda path: -path.stat().st_mtime)
    for path in files[_MOST:]:
        path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
