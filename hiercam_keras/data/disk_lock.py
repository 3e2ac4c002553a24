"""One process writes a cache, and others on any host wait for it."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from hiercam_keras import workdir
from hiercam_keras.errors import UserError

_PATIENCE = 6 * 3600  # s that a process waits for another one
_LOOK = 1.0  # s between two looks


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Holds the lock of a cache's folder, which need not exist.

    The system frees the lock when its holder ends or dies.

    Raises:
      UserError: another process holds it for hours, or the folder cannot be written.
    """
    workdir.make_dir(place.parent, workdir.DECODED_FLAG)
    with _open(place.with_name(f".{place.name}.lock")) as file:
        start = told = time.monotonic()
        while not _try_lock(file):
            now = time.monotonic()
            if now - start > _PATIENCE:
                raise UserError(
                    f"another process has been writing the cache {place} for "
                    f"{_PATIENCE / 3600:.0f} hours. Is it still at work? Stop it, or "
                    f"choose another folder with {workdir.DECODED_FLAG}."
                )
            if told == start or now - told > 60:
                logging.warning("Another process writes %s, waiting for it", place)
                told = now
            time.sleep(_LOOK)
        yield


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "ab")
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Choose another folder "
            f"with {workdir.DECODED_FLAG}."
        ) from error


def _try_lock(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # not every file system of several hosts has locks
        logging.warning("%s cannot be locked: %s", file.name, error.strerror or error)
    return True
