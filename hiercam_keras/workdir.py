"""Writes that a killed run cannot leave half done.

Everything that a later run reads goes through `atomic_path`: the content is written
beside its place under a temporary name, and renamed when it is whole and on the disk.
"""

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hiercam_keras.errors import UserError

_TEMPORARY_STEM = 64  # bytes that a temporary name has of the name that it is for
_MAX_SUFFIX = 16  # bytes; anything longer chooses no format
RUN_FLAGS = "--workdir or --out"  # say where results go
CACHE_FLAG = "--config.data.cache_dir"
DECODED_FLAG = "--config.data.disk_cache"
_writes = True


def write_nothing() -> None:
    """From now on what is written goes nowhere: another process writes the same."""
    global _writes
    _writes = False


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike, own: bool = False, flag: str = RUN_FLAGS
) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it to `path` on success.

    The temporary name keeps the suffix of `path`, since many writers choose their
    format by it. Parent folders are made. On an error the temporary file is removed.

    Args:
      path: what is written.
      own: only this process writes it, so it counts after `write_nothing` too.
      flag: that chooses another folder, for messages.

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    if not (_writes or own):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
        return
    make_dir(path.parent, flag)
    temporary = path.with_name(_temporary_name(path))
    try:
        yield temporary
        # A rename may reach the disk before the content does: after a power failure
        # there would be an empty file.
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        advice = f"Free some space, or choose another folder with {flag}."
        if error.errno == errno.ENAMETOOLONG:
            advice = f"Its path is too long: choose a shorter one with {flag}."
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. {advice}"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it must not hide the error above
            temporary.unlink()


def _temporary_name(path: Path) -> str:
    """A hidden name that no other call has; short where the name of `path` is long,
    since a file system that takes the one has to take the other."""
    stem = os.fsencode(path.stem)[:_TEMPORARY_STEM].decode(errors="ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX else ""
    return f".{stem}.{uuid.uuid4().hex[:8]}.tmp{suffix}"


def sync(path: str | os.PathLike) -> None:
    """Returns when a file's content, or a folder's names, are on the disk."""
    if os.name == "nt":  # Windows opens no folders, and syncs no file that is read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # a file system that cannot do so
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_dir(path: str | os.PathLike, flag: str = RUN_FLAGS) -> Path:
    """Makes a folder and its parents.

    Args:
      path: of the folder.
      flag: that chooses another one, for messages.

    Raises:
      UserError: it cannot be made; the message names what is in the way.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {path}: {error.strerror or error}. Choose another "
            f"place with {flag}."
        ) from error
    return path


@contextlib.contextmanager
def made_dir(path: str | os.PathLike) -> Iterator[Path]:
    """Makes a folder for the block, and takes it away if an error leaves it empty.

    Parents that were made with it go too. Raises as `make_dir`.
    """
    path = Path(path)
    new = [place for place in (path, *path.parents) if not place.exists()]
    make_dir(path)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # the first that is not empty
            for place in new:
                place.rmdir()
        raise


def write_bytes(path: str | os.PathLike, data: bytes, flag: str = RUN_FLAGS) -> None:
    """Writes `data` atomically; `flag` as in `atomic_path`."""
    with atomic_path(path, flag=flag) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str, flag: str = RUN_FLAGS) -> None:
    """Writes UTF-8 text atomically, with newlines as they are."""
    write_bytes(path, text.encode("utf-8"), flag)


def write_json(path: str | os.PathLike, value: Any, flag: str = RUN_FLAGS) -> None:
    """Writes JSON atomically, indented and with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", flag)


def read_json(path: str | os.PathLike) -> Any:
    """Reads JSON; a UserError names a file that is missing or damaged."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: is {path.parent} a run folder?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}") from error
