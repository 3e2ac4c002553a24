"""Memory of a start, touched by a thread while the main thread starts.

The kernel clears a page when it is touched for the first time. Up to the end of a first
train step of EfficientNetB0 (224 px, batch 16) these are 1.5 GiB of malloc's heap: the
temporary arrays, the compiled program while it is read, weights and slots. `record`
writes how much of the heap was used to a file next to JAX's compiled programs. In a
later process with the same key `begin` reads it, and a thread touches as much while the
main thread imports, builds and traces.

The thread allocates nothing. MADV_POPULATE_WRITE (Linux 5.14) makes pages present and
keeps their content, so the step may start at any time, and malloc may use the pages for
anything.
"""

import contextlib
import json
import os
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import cache_folder, malloc, processor, trace_cache, workdir
from hiercam_keras.errors import UserError

_SUFFIX = ".json"
_FRESH = 256 * 2**20  # bytes of the heap that imports use at most
# With the plugins of devices that have arrays of their own.
_PACKAGES = (
    *("jax", "jaxlib", "keras"),
    *("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu"),
)
# Prefixes of variables that choose JAX's device and XLA's program.
_VARIABLES = ("CUDA_", "JAX_", "NPROC", "XLA_")


class _State:
    """What `begin` did in this process; a singleton.

    Attributes:
      begun: whether it was called.
      place: the file that `record` writes; None where it does not.
      programs: names of the kept programs when it was called.
    """

    begun: bool = False
    place: Path | None = None
    programs: frozenset[str] = frozenset()


_state = _State()


def begin(*about: Any) -> threading.Thread | None:
    """Starts to touch the memory that an earlier process with this key has recorded.

    Call it as early as the key is known. Later calls in the process do nothing, as its
    heap was used by then. Nothing is done either where `malloc` has its usual settings,
    and in a thread that does not use the heap.

    Args:
      about: what determines the program of the first step, see `trace_cache.digest`.

    Returns:
      The thread; None where nothing is done.
    """
    first, _state.begun, _state.place = not _state.begun, True, None
    if not first or not malloc.is_kept() or not malloc.uses_heap():
        return None
    thread = threading.Thread(target=_begin, args=about, daemon=True)
    thread.start()
    return thread


def _begin(*about: Any) -> None:
    folder = _folder()
    if folder is None:
        return
    place = folder / f"{_key(*about)}{_SUFFIX}"
    wanted = _read(place)
    if wanted:
        logging.debug("%s", malloc.touch(wanted))
    elif malloc.size_of(malloc.used()) < _FRESH:
        _state.programs, _state.place = _names(folder.parent), place


def record() -> None:
    """Writes how much of the heap the process has used.

    Call it after the first step. It does nothing without `begin`, in a process that has
    compiled or traced a program, which takes more memory than reading it, and where a
    device other than the only CPU has the arrays.
    """
    place, _state.place = _state.place, None
    if place is None:
        return
    import jax

    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return
    if _names(place.parent.parent) != _state.programs:
        return
    try:
        workdir.write_text(place, json.dumps(malloc.used()) + "\n")
        trace_cache.remove_old(place.parent, _SUFFIX)
    except (OSError, UserError) as error:
        logging.debug("the memory of a start is not recorded: %s", error)


def _read(place: Path) -> malloc.Parts:
    """What `record` wrote; nothing for a file that is missing or damaged."""
    try:
        found = json.loads(place.read_text())
        with contextlib.suppress(OSError):  # a folder that is for reading alone
            os.utime(place)
        return {
            int(size): [(int(first), int(last)) for first, last in parts]
            for size, parts in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _names(folder: Path) -> frozenset[str]:
    """Names of the compiled and the traced programs."""
    kinds = ("*-cache", f"traced/*{trace_cache.SUFFIX}")
    return frozenset(path.name for kind in kinds for path in folder.glob(kind))


def _folder() -> Path | None:
    """Next to the traced programs, found without JAX: see `trace_cache.folder`."""
    if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("0", "false"):
        return None
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if named:
        return None if "://" in named else Path(named) / "memory"
    cache = cache_folder.user_cache()
    return cache and cache / "xla" / "memory"


def _key(*about: Any) -> str:
    """A digest of what the memory depends on, as far as it is known at the start.

    Data decide the number of classes, which changes it by little.
    """
    versions = {name: _version(name) for name in _PACKAGES}
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES)
    }
    features = sorted(processor.features())
    return trace_cache.digest(
        about, trace_cache.source(), versions, variables, features
    )


def _version(name: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
