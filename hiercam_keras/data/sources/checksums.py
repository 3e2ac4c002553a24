"""Verifies large files against their published checksums, once for each file."""

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
    """Verifies the SHA-256 of a file; the cache remembers a success.

    Args:
      path: of the file.
      sha256: expected, hexadecimal.
      cache: see `cache_folder`.

    Raises:
      UserError: the file has another SHA-256.
    """
    note = _note(path, cache)
    with contextlib.suppress(UserError):  # nothing is remembered
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
            f"file ({sha256}): it is damaged or another one. Remove it to have it "
            "downloaded, or replace it with the published one."
        )
    remember(path, sha256, cache)
    return path


def remember(path: Path, sha256: str, cache: Path | None = None) -> None:
    """Remembers that a file has this SHA-256, until its size or time changes."""
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
