"""Memory of a first train step, touched by a thread while the process starts.

The kernel clears a page when it is touched for the first time, and the temporary arrays
of a first step are many pages: 1.03 GiB for EfficientNetB0 at 224 px, batch 16. After
that step `record` writes their size to a file in the folder of JAX's compiled programs.
In a later process with the same key `begin` reads it, and a thread touches as much of
malloc's heap while the main thread imports, builds and traces.

The thread allocates nothing. MADV_POPULATE_WRITE (Linux 5.14) makes pages present and
keeps their content, so the step may start at any time, and malloc may use the pages for
anything.
"""

import os
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import logging

from hiercam_keras import cache_folder, malloc, processor, trace_cache, workdir
from hiercam_keras.errors import UserError

_SUFFIX = ".bytes"
_LARGEST = 2**50  # bytes; a file with more is damaged
_PACKAGES = ("jax", "jaxlib", "keras")
# Prefixes of variables that choose JAX's device and XLA's program.
_VARIABLES = ("CUDA_", "JAX_", "NPROC", "XLA_")


class _State:
    """What `begin` did in this process; a singleton.

    Attributes:
      begun: whether it was called.
      place: the file that `record` writes; None where it does not.
    """

    begun: bool = False
    place: Path | None = None


_state = _State()


def begin(*about: Any) -> threading.Thread | None:
    """Starts to touch the memory that an earlier process with this key has recorded.

    Call it as early as the key is known. Later calls in the process do nothing, as its
    heap was used by then. Nothing is done either where `malloc` has its usual settings.

    Args:
      about: what determines the program of the first step, see `trace_cache.digest`.

    Returns:
      The thread; None where nothing is done.
    """
    first, _state.begun, _state.place = not _state.begun, True, None
    if not first or not malloc.is_kept() or not _is_reached():
        return None
    thread = threading.Thread(target=_begin, args=about, daemon=True)
    thread.start()
    return thread


def _is_reached() -> bool:
    """Whether the settings of malloc reach the thread that will compute."""
    main = threading.current_thread() is threading.main_thread()
    return main or malloc.reaches_threads()


def _begin(*about: Any) -> None:
    place = _folder()
    if place is None:
        return
    place = place / f"{_key(*about)}{_SUFFIX}"
    size = _read(place)
    if size:
        logging.debug("%s", malloc.touch(size))
    _state.place = place


def record() -> None:
    """Writes how much memory the temporary arrays of the largest program take.

    Call it after the first step. It does nothing without `begin`, and with several
    devices or other ones than a CPU, where arrays are elsewhere.
    """
    place, _state.place = _state.place, None
    if place is None:
        return
    import jax

    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return
    try:
        programs = jax.local_devices()[0].client.live_executables()
        found = [one.get_compiled_memory_stats() for one in programs]
        size = max((one.temp_size_in_bytes for one in found), default=0)
        if size != _read(place):
            workdir.write_text(place, f"{size}\n")
            trace_cache.remove_old(place.parent, _SUFFIX)
    except (AttributeError, RuntimeError, OSError, UserError) as error:
        logging.debug("the memory of a step is not recorded: %s", error)


def _read(place: Path) -> int:
    """The number in a file; 0 for a file that is missing or damaged."""
    try:
        size = int(place.read_text())
        os.utime(place)
    except (OSError, ValueError):
        return 0
    return size if 0 < size < _LARGEST else 0


def _folder() -> Path | None:
    """Next to the traced programs, found without JAX: `trace_cache.folder`."""
    if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "").lower() in ("0", "false"):
        return None
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if named:
        return None if "://" in named else Path(named) / "memory"
    cache = cache_folder.user_cache()
    return cache and cache / "xla" / "memory"


def _key(*about: Any) -> str:
    """A digest of what the size depends on, as far as it is known at the start.

    Data decide the number of classes, which changes the size by little.
    """
    versions = {name: metadata.version(name) for name in _PACKAGES}
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_VARIABLES)
    }
    features = sorted(processor.features())
    return trace_cache.digest(
        about, trace_cache.source(), versions, variables, features
    )
