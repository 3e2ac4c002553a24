"""Large files that were compared with their published sums, once."""

import contextlib
import hashlib
import os
from pathlib import Path

from absl import logging

from hiercam_keras import workdir
from hiercam_keras.cache_folder import cache_folder
from hiercam_keras.errors import UserError
from hiercam_keras.progress import progress

_BLOCK = 1 << 20


def check(path: Path, sha256: str, cache: Path | None = None) -> Path:
    """Compares a file with its SHA-256; the cache remembers that it was right.

    Args:
      path: of the file.
      sha256: expected, hexadecimal.
      cache: as `cache_folder` takes it.

    Raises:
      UserError: it is another one.
    """
    note = _note(path, cache)
    with contextlib.suppress(UserError):  # there is none
        if workdir.read_json(note) == _state(path, sha256):
            return path
    size = path.stat().st_size
    logging.info("Checking %s (%.2f GB), once", path, size / 1e9)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        blocks = iter(lambda: file.read(_BLOCK), b"")
        for block in progress(
            blocks, round(size / 1e6), "check", "MB", lambda block: len(block) / 1e6
        ):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise UserError(
            f"{path} has another SHA-256 ({digest.hexdigest()}) than the published "
            f"file ({sha256}): it is damaged or another one. Remove it, and it is "
            "downloaded, or put the right one there."
        )
    remember(path, sha256, cache)
    return path


def remember(path: Path, sha256: str, cache: Path | None = None) -> None:
    """Notes that a file has this SHA-256; until its size or time changes."""
    try:
        note = _note(path, cache)
        workdir.write_json(note, _state(path, sha256), workdir.CACHE_FLAG)
    except UserError as error:
        logging.warning("%s; %s is checked again by the next run", error, path)


def _state(path: Path, sha256: str) -> dict:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}


def _note(path: Path, cache: Path | None) -> Path:
    name = hashlib.sha1(os.fsencode(path.absolute())).hexdigest()[:16]
    return cache_folder(cache) / "checked" / f"{name}.json"
