"""Locks of folders and files: one that refuses, one that waits.

A lock is the kernel's (flock) on a file that names the process that holds it. The
kernel frees it when that process ends, however it ends, also over NFS when the client
goes, so what a killed process leaves keeps nobody out. The file is removed at an
orderly end.

Three things that the package filelock does not do are needed. The file goes at the end
without two processes holding locks of two files of one name; the name of the holder
survives an attempt of another process (versions before 4 empty the file); and where the
file system has no locks, work goes on with a warning, where filelock raises, waits in
vain, or leaves a file that keeps out processes on other hosts after a kill.
"""

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from hiercam_keras.errors import UserError

NAME = "run.lock"
_TIMEOUT_S = 6 * 3600  # of waiting for another process
_POLL_S = 1.0  # between two attempts


@contextlib.contextmanager
def hold(folder: Path, what: str = "a training runs in it") -> Iterator[None]:
    """Holds the lock of a folder, run.lock, while the block runs.

    Args:
      folder: that is written in.
      what: who else may be at work there, for the message.

    Raises:
      UserError: another process holds it, or the file cannot be written.
    """
    path = folder / NAME
    file, before = _take(path, "--workdir")
    if file is None:
        raise UserError(
            f"{folder} is in use: {what}, {_words(before)}. Wait for its end, "
            "stop it, or choose another folder with --workdir."
        )
    with _held(file, path, before, "--workdir"):
        yield


@contextlib.contextmanager
def wait(path: Path, what: str, flag: str) -> Iterator[None]:
    """Holds the lock `path` while the block runs, and waits until it can be had.

    Args:
      path: of the lock's file, in a folder that exists.
      what: the lock protects, for the messages.
      flag: that chooses the folder, for the messages.

    Raises:
      UserError: another process holds it for six hours, or the file cannot be written.
    """
    start = logged = time.monotonic()
    while True:
        file, before = _take(path, flag)
        if file is not None:
            break
        now = time.monotonic()
        if now - start > _TIMEOUT_S:
            raise UserError(
                f"another process has been writing {what} for "
                f"{_TIMEOUT_S / 3600:.0f} hours: {_words(before)}. Is it still "
                f"running? Stop it, or choose another folder with {flag}."
            )
        if logged == start or now - logged > 60:
            logging.warning("Waiting for %s to write %s", _words(before), what)
            logged = now
        time.sleep(_POLL_S)
    with _held(file, path, before, flag):
        yield


def try_lock(file: int, path: Path) -> bool:
    """Locks an open file until it is closed; False if another process has locked it.

    True also where the file system has no locks, which is logged, and on Windows.

    Args:
      file: descriptor, open for writing.
      path: of the file, for the message.
    """
    if os.name == "nt":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # some file systems: EACCES
            return False
        logging.warning("%s: no locks on this file system (%s)", path, error)
    return True


def _take(path: Path, flag: str) -> tuple[int | None, bytes]:
    """The descriptor of the file, locked, or None; and the file's previous content."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(path, error, flag) from error
        before = os.read(file, 4096)
        if not try_lock(file, path):
            os.close(file)
            return None, before
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file, before
        os.close(file)  # the process that held it removed it meanwhile


@contextlib.contextmanager
def _held(file: int, path: Path, before: bytes, flag: str) -> Iterator[None]:
    """Names this process in the locked file; removes and closes it at the end."""
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
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, json.dumps(owner).encode())
        except OSError as error:  # a disk that is full already
            raise _unwritable(path, error, flag) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(file)


def _unwritable(path: Path, error: OSError, flag: str) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror}. Free some space, or choose another "
        f"folder with {flag}."
    )


def _words(content: bytes) -> str:
    try:
        owner = json.loads(content)
        return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "process unknown"
