"""A lock with which one process writes a cache while others, on any host, wait."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from hiercam_keras import workdir
from hiercam_keras.errors import UserError

_TIMEOUT_S = 6 * 3600  # of waiting for another process
_POLL_S = 1.0  # between two attempts


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Holds the lock of a cache's folder, which may not exist yet.

    The operating system frees the lock when its holder ends or is killed.

    Raises:
      UserError: another process holds it for six hours, or the folder cannot be
        written.
    """
    workdir.make_dir(place.parent, workdir.DECODED_FLAG)
    with _open(place.with_name(f".{place.name}.lock")) as file:
        start = logged = time.monotonic()
        while not _try_lock(file):
            now = time.monotonic()
            if now - start > _TIMEOUT_S:
                raise UserError(
                    f"another process has been writing the cache {place} for "
                    f"{_TIMEOUT_S / 3600:.0f} hours. Is it still running? Stop it, or "
                    f"choose another folder with {workdir.DECODED_FLAG}."
                )
            if logged == start or now - logged > 60:
                logging.warning("Another process writes %s, waiting for it", place)
                logged = now
            time.sleep(_POLL_S)
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
    except OSError as error:  # some network file systems have no locks
        logging.warning("%s cannot be locked: %s", file.name, error.strerror or error)
    return True
