"""Atomic writes of files.

All files that a later run reads are written with `atomic_path`: the content is written
under a temporary name in the same folder, synced to disk, and then renamed. A killed
run therefore leaves no partial files.
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

_TEMPORARY_STEM = 64  # bytes of the final name that a temporary name contains
_MAX_SUFFIX = 16  # bytes; a longer suffix does not select a file format
RUN_FLAGS = "--workdir or --out"  # flags that select the folder of results
CACHE_FLAG = "--config.data.cache_dir"
DECODED_FLAG = "--config.data.disk_cache"
_writes = True


def write_nothing() -> None:
    """Discards all later writes of this process, which another process also makes."""
    global _writes
    _writes = False


@contextlib.contextmanager
def atomic_path(
    path: str | os.PathLike, own: bool = False, flag: str = RUN_FLAGS
) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; renames it to `path` on success.

    The temporary name keeps the suffix of `path`, as many writers derive the format
    from it. Parent folders are created. On an error the temporary file is removed.

    Args:
      path: of the final file.
      own: whether only this process writes the file; such files are written even after
        `write_nothing`.
      flag: flag that selects the folder, for messages.

    Raises:
      UserError: the folder cannot be created, or the file cannot be written.
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
        # Without the sync a power failure may leave an empty file, as the rename may
        # reach the disk before the content.
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
    """A unique hidden name.

    The stem is truncated, so that a file system that accepts the name of `path` accepts
    this one as well.
    """
    stem = os.fsencode(path.stem)[:_TEMPORARY_STEM].decode(errors="ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX else ""
    return f".{stem}.{uuid.uuid4().hex[:8]}.tmp{suffix}"


def sync(path: str | os.PathLike) -> None:
    """Flushes a file's content, or a folder's entries, to disk."""
    if os.name == "nt":  # Windows cannot open folders or sync read-only descriptors
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some file systems do not support fsync
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_dir(path: str | os.PathLike, flag: str = RUN_FLAGS) -> Path:
    """Creates a folder and its parents.

    Args:
      path: of the folder.
      flag: flag that selects it, for messages.

    Raises:
      UserError: the folder cannot be created; the message has the reason.
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
    """Creates a folder for the block; removes it if an error leaves it empty.

    Parents created with it are removed as well, if empty. Raises as `make_dir`.
    """
    path = Path(path)
    new = [place for place in (path, *path.parents) if not place.exists()]
    make_dir(path)
    try:
        yield path
    except BaseException:
        with contextlib.suppress(OSError):  # stops at the first that is not empty
            for place in new:
                place.rmdir()
        raise


def write_bytes(path: str | os.PathLike, data: bytes, flag: str = RUN_FLAGS) -> None:
    """Writes `data` atomically; `flag` as in `atomic_path`."""
    with atomic_path(path, flag=flag) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str, flag: str = RUN_FLAGS) -> None:
    """Writes UTF-8 text atomically, without converting newlines."""
    write_bytes(path, text.encode("utf-8"), flag)


def write_json(path: str | os.PathLike, value: Any, flag: str = RUN_FLAGS) -> None:
    """Writes JSON atomically, indented and with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", flag)


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file; raises UserError if it is missing or damaged."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: is {path.parent} a run folder?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path} as JSON: {error}") from error
