"""Atomic writes of files, and of folders whose files belong together.

All files that a later run reads are written with `atomic_path`: the content is written
under a temporary name in the same folder, synced to disk, and then renamed. A killed
run therefore leaves no partial files. `atomic_dir` does the same with a whole folder.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from hiercam_keras import locks, signals
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


@contextlib.contextmanager
def atomic_dir(
    path: str | os.PathLike, names: Collection[str], flag: str = "--out"
) -> Iterator[Path]:
    """Yields a temporary folder next to `path`; renames it to `path` on success.

    A former folder of that name is replaced at the end; until then it stays whole. One
    process at a time writes a folder, others wait. What a killed process left under a
    temporary name is removed by the next one.

    Args:
      path: of the final folder.
      names: of all files that the folder may hold. A former folder with any other file
        is not replaced, as that file is not ours to delete.
      flag: flag that selects the folder, for messages.

    Raises:
      UserError: the folder holds another file, or cannot be written.
    """
    path = Path(path).resolve()
    _check_replaceable(path, names, flag)
    with (
        made_dir(path.parent),
        locks.wait(path.with_name(f".{_stem(path.name)}.lock"), f"{path}", flag),
    ):
        for left in path.parent.iterdir():
            if _is_staged(left.name, path):
                shutil.rmtree(left, ignore_errors=True)
        temporary = _staged(path)
        try:
            temporary.mkdir()
            yield temporary
            for file in sorted(temporary.rglob("*")):
                sync(file)
            sync(temporary)
            _check_replaceable(path, names, flag)
            with signals.postponed():  # between the two renames there is no folder
                _replace_dir(temporary, path)
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}. Free some space, or "
                f"choose another folder with {flag}."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(path: Path, names: Collection[str], flag: str) -> None:
    if not path.is_dir():
        if path.exists():
            raise UserError(
                f"{path} is a file, expected a folder or none. Choose another place "
                f"with {flag}."
            )
        return
    others = sorted({file.name for file in path.iterdir()} - {*names, "__pycache__"})
    if others:
        raise UserError(
            f"{path} holds {others[0]}, which would be deleted with the former "
            f"content of the folder. Move it, or choose another folder with {flag}."
        )


def _replace_dir(new: Path, path: Path) -> None:
    """Renames a folder over another one, which goes."""
    old = _staged(path)
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _staged(path: Path) -> Path:
    """A unique hidden folder next to `path`."""
    return path.with_name(f".{_stem(path.name)}.{uuid.uuid4().hex[:8]}.tmp")


def _is_staged(name: str, path: Path) -> bool:
    stem = re.escape(_stem(path.name))
    return re.fullmatch(rf"\.{stem}\.[0-9a-f]{{8}}\.tmp", name) is not None


def _temporary_name(path: Path) -> str:
    """A unique hidden name.

    The stem is truncated, so that a file system that accepts the name of `path` accepts
    this one as well.
    """
    stem = _stem(path.stem)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MAX_SUFFIX else ""
    return f".{stem}.{uuid.uuid4().hex[:8]}.tmp{suffix}"


def _stem(name: str) -> str:
    return os.fsencode(name)[:_TEMPORARY_STEM].decode(errors="ignore")


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
