"""One training per run folder: a lock that dies with the process that holds it."""

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
def hold(folder: Path) -> Iterator[None]:
    """Holds the lock of a run folder, run.lock, while the block runs.

    The kernel gives the lock back when the process ends, however it ends, also over NFS
    when the client goes; so the file of a killed run keeps nobody out. It names the
    process and the host, for the message.

    Raises:
      UserError: another process holds it, or the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows, where no lock is held
        yield
        return
    path = folder / NAME
    try:
        # Not `with`: closing any descriptor of the file would give the lock back.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. Choose another folder with "
            "--workdir."
        ) from error
    try:
        before = os.read(file, 4096)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is in use: a training runs in it, {_words(before)}. Wait "
                "for its end, stop it, or choose another folder with --workdir."
            ) from None
        except OSError as error:
            logging.warning("%s: no locks on this file system (%s)", path, error)
        if before:
            logging.info("%s is of a run that was killed, %s", path, _words(before))
        os.ftruncate(file, 0)
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        os.pwrite(file, json.dumps(owner).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _words(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "process unknown"
