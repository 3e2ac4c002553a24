"""One process that writes in a folder: a lock that dies with it."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from hiercam_keras.errors import UserError

NAME = "run.lock"


@contextlib.contextmanager
def hold(folder: Path, what: str = "a training runs in it") -> Iterator[None]:
    """Holds the lock of a folder, run.lock, while the block runs.

    The kernel gives the lock back when the process ends, however it ends, also over NFS
    when the client goes; so the file of a killed run keeps nobody out. It names the
    process and the host, for the message, and goes when the block ends.

    Args:
      folder: that is written in.
      what: who else may be at work there, for the message.

    Raises:
      UserError: another process holds it, or the file cannot be written.
    """
    if os.name == "nt":  # no lock is held
        yield
        return
    path = folder / NAME
    file, before = _take(path, what)
    try:
        if before:
            logging.info("%s is of a run that was killed, %s", path, _words(before))
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(owner).encode(), 0)
        except OSError as error:  # a disk that is full already
            raise _unwritable(path, error) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(file)


def _take(path: Path, what: str) -> tuple[int, bytes]:
    """The descriptor of the file, locked, and the file's previous content."""
    import fcntl

    while True:
        try:
            # Not `with`: closing any descriptor of the file would give the lock back.
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
        before = os.read(file, 4096)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise UserError(
                f"{path.parent} is in use: {what}, {_words(before)}. Wait for its end, "
                "stop it, or choose another folder with --workdir."
            ) from None
        except OSError as error:
            logging.warning("%s: no locks on this file system (%s)", path, error)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file, before
        os.close(file)  # who held it removed it meanwhile


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror}. Free some space, or choose another "
        "folder with --workdir."
    )


def _words(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "process unknown"
