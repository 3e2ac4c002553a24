"""Traced programs in files, so that a later process need not trace them.

Tracing and lowering a train step of EfficientNetB0 takes 4 s of Python. `jit` writes
the lowered program (StableHLO, by `jax.export`) to a file in the folder of JAX's
compilation cache, and reads it in later processes. The key of a file is a digest of
everything that a trace depends on: the caller's key, shapes and types of the arguments,
the source of this package, versions, and settings of JAX and Keras. Where that is not
known, functions are traced: with code of others, and after a change of the source. A
file holds no Python code. One that is damaged is traced and written again.
"""

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import processor, workdir
from hiercam_keras.errors import UserError

_MAGIC = b"hiercam_keras traced program 1\n"
_HEAD = len(_MAGIC) + hashlib.sha256().digest_size
SUFFIX = ".program"  # of a file
_MOST = 64  # files that are kept, those that were used last
_OF_JSON = (type(None), bool, int, float, str)
_STARTED = time.time()


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

    def traced(*args):
        own = key()  # first: the folder depends on Keras, which not every caller has
        place = None if own is None or _is_source_newer() else folder()
        if place is None:
            return function(*args)
        leaves, tree = jax.tree.flatten(args)
        specs = [_spec(leaf) for leaf in leaves]
        place = place / f"{_key(own, specs, tree)}{SUFFIX}"
        program = _read(place) or _export(function, specs, tree, place)
        return function(*args) if program is None else program(*leaves)

    traced.__name__ = getattr(function, "__name__", "traced")
    return jax.jit(traced, donate_argnums=tuple(donate_argnums))


def digest(*parts: Any) -> str:
    """A digest of values: JSON values, tuples, mappings with their order, arrays.

    Raises:
      TypeError: there is something else among them.
    """
    text = json.dumps(_plain(parts))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON; objects of JSON say what JSON does not distinguish."""
    if type(value) in _OF_JSON:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype != object:
        content = hashlib.sha256(np.asarray(value).tobytes()).hexdigest()
        return {"array": [str(value.dtype), list(value.shape), content]}
    if isinstance(value, Mapping):
        return {"items": [[_plain(key), _plain(one)] for key, one in value.items()]}
    if hasattr(value, "to_dict"):  # a config
        return _plain(value.to_dict())
    raise TypeError(f"{type(value).__name__} has no digest")


def folder() -> Path | None:
    """Where programs are: in the folder of JAX's compiled programs. None where they are
    not kept.

    A program of several devices holds their number and sharding, and all processes
    would have to find the same files. JAX_ENABLE_COMPILATION_CACHE=false disables JAX's
    own cache and this one.
    """
    import jax
    import keras

    place = jax.config.jax_compilation_cache_dir
    if not place or "://" in place or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.device_count() > 1 or keras.distribution.distribution() is not None:
        return None
    return Path(place) / "traced" if Path(__file__).is_file() else None


def settings() -> str:
    """A digest of what a trace depends on besides function and arguments."""
    return digest(_surroundings())


def _spec(array: Any) -> Any:
    import jax

    aval = jax.typeof(array)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)


def _key(key: str, specs: Sequence[Any], tree: Any) -> str:
    shapes = [[list(one.shape), str(one.dtype), bool(one.weak_type)] for one in specs]
    return digest(key, shapes, str(tree), source(), _surroundings())


def _is_source_newer() -> bool:
    """Whether a file of this package was changed since the process started, which may
    run the code of before."""
    root = Path(__file__).parent
    return any(path.stat().st_mtime > _STARTED for path in root.rglob("*.py"))


@functools.cache
def source() -> str:
    """A digest of the source of this package."""
    found = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _surroundings() -> list[Any]:
    """Versions, the device, the processor, and settings of JAX and Keras."""
    import jax
    import jaxlib
    import keras
    import ml_dtypes

    # Not what is installed by now, but what runs.
    packages = (jax, jaxlib, keras, ml_dtypes, np)
    device = jax.devices()[0]
    # An attribute has the value of a context, as of `jax.default_matmul_precision`.
    settings = {
        name: repr(getattr(jax.config, name, value))
        for name, value in jax.config.values.items()
        if "cache" not in name
    }
    return [
        {one.__name__: one.__version__ for one in packages},
        [device.platform, device.device_kind, device.client.platform_version],
        # On these forms of layers and loops over images depend.
        [sorted(processor.features()), processor.num_cores()],
        settings,
        keras.config.floatx(),
        keras.config.epsilon(),
        keras.config.image_data_format(),
        keras.config.is_flash_attention_enabled(),
        json.dumps(keras.config.dtype_policy().get_config()),
    ]


class _Program:
    """A program of flat arrays, with the structure of its results.

    Attributes:
      exported: of `jax.export`.
      form: the results' structure as JSON, see `_encoded`.
    """

    def __init__(self, exported: Any, form: Any):
        self.exported, self.form = exported, form

    def __call__(self, *leaves: Any) -> Any:
        found = self.exported.call(*leaves)
        return _decoded(self.form, found)

    def to_bytes(self) -> bytes:
        """The content of a file, with a digest of it."""
        form = json.dumps(self.form).encode()
        content = form + b"\n" + bytes(self.exported.serialize())
        return _MAGIC + hashlib.sha256(content).digest() + content

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Program":
        """Raises ValueError for a file that is damaged or of another format."""
        from jax import export

        head, content = data[:_HEAD], data[_HEAD:]
        if head != _MAGIC + hashlib.sha256(content).digest():
            raise ValueError("damaged")
        form, _, program = content.partition(b"\n")
        return cls(export.deserialize(bytearray(program)), json.loads(form))


def _read(place: Path) -> _Program | None:
    """The program in a file; None if there is none, or none that can be used."""
    try:
        program = _Program.from_bytes(place.read_bytes())
        with contextlib.suppress(OSError):  # a folder that is for reading alone
            os.utime(place)
    except FileNotFoundError:
        return None
    except Exception as error:  # of a reader that does not know the format
        logging.warning("%s is traced again: %s", place, _first_line(error))
        return None
    return program


def _export(
    function: Callable, specs: Sequence[Any], tree: Any, place: Path
) -> _Program | None:
    """Traces a function and writes its program; None if that is not possible."""
    import jax

    trees = []

    def flat(*leaves):
        results = function(*jax.tree.unflatten(tree, leaves))
        found, form = jax.tree.flatten(results)
        trees.append(form)
        return found

    try:
        from jax import export

        exported = export.export(jax.jit(flat))(*specs)
        form = jax.tree.unflatten(trees[-1], range(trees[-1].num_leaves))
        program = _Program(exported, _encoded(form))
        data = program.to_bytes()
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:
        # No flatbuffers, or something without a stable form.
        logging.debug("a traced program is not kept: %s", _first_line(error))
        return None
    try:
        workdir.write_bytes(place, data)
        remove_old(place.parent, SUFFIX)
    except (OSError, UserError) as error:
        logging.debug("a traced program is not kept: %s", _first_line(error))
    return program


def _encoded(form: Any) -> Any:
    """JSON of numbers in dicts, lists and tuples; keys are texts or tuples of them.

    Raises:
      TypeError: there is something else.
    """
    if form is None or type(form) is int:
        return form
    if type(form) in (list, tuple):
        return [type(form).__name__, [_encoded(one) for one in form]]
    if type(form) is dict:
        for name in form:
            if not all(type(one) is str for one in _parts(name)):
                raise TypeError(f"the key {name!r} has no stable form")
        items = [[name, _encoded(value)] for name, value in form.items()]
        return ["dict", items]
    raise TypeError(f"{type(form).__name__} has no stable form")


def _parts(name: Any) -> tuple:
    return name if type(name) is tuple else (name,)


def _decoded(form: Any, leaves: Sequence[Any]) -> Any:
    """The structure of `_encoded`, with `leaves` in place of the numbers."""
    if form is None:
        return None
    if isinstance(form, int):
        return leaves[form]
    kind, content = form
    if kind == "dict":
        return {
            tuple(name) if isinstance(name, (list, tuple)) else name: _decoded(
                value, leaves
            )
            for name, value in content
        }
    found = [_decoded(one, leaves) for one in content]
    return found if kind == "list" else tuple(found)


def remove_old(place: Path, suffix: str) -> None:
    """Removes the files of a folder that were not used for the longest time."""
    files = sorted(place.glob(f"*{suffix}"), key=lambda path: -path.stat().st_mtime)
    for path in files[_MOST:]:
        path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
