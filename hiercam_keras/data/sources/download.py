"""Downloads a file, with resume and a checksum.

A partial download is kept as `<name>.part`, and the next call resumes it. The file gets
its name only after its SHA-256 was verified.
"""

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import logging

from hiercam_keras import locks, workdir
from hiercam_keras.data.sources import checksums
from hiercam_keras.errors import UserError
from hiercam_keras.progress import progress

_BLOCK = 1 << 20
_TIMEOUT = 60.0  # s without new data
_BROKEN = (OSError, http.client.HTTPException)


def fetch(
    url: str,
    path: Path,
    size: int,
    sha256: str,
    retries: int = 5,
    cache: Path | None = None,
) -> Path:
    """Downloads a file if it is missing, resuming a partial download.

    An existing file is read once and compared with the checksum (`checksums`).

    Args:
      url: http or https.
      path: of the file on disk.
      size: of the file, bytes.
      sha256: of the file, hexadecimal.
      retries: further attempts after connections that brought no new data.
      cache: remembers verified checksums, see `checksums`.

    Raises:
      UserError: the disk is too small, the server cannot be reached or sends another
        file, or another process is downloading it.
    """
    if path.is_file() and path.stat().st_size == size:
        return checksums.check(path, sha256, cache)
    workdir.make_dir(path.parent)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "a+b") as file:
            if not locks.try_lock(file.fileno(), part):
                raise UserError(
                    f"another process is downloading {part}. Wait for it, or stop it."
                )
            _check_space(file, path, size)
            digest = _continue(url, file, size, retries)
            if digest != sha256:
                file.truncate(0)
                raise UserError(
                    f"{url} gave a file with another SHA-256 ({digest}) than expected "
                    f"({sha256}): it is damaged or was changed. Try again, or place "
                    f"the right file at {path}."
                )
            os.replace(part, path)
    except OSError as error:
        raise UserError(f"cannot write {part}: {error.strerror or error}.") from error
    checksums.remember(path, sha256, cache)
    return path


def in_words(size: float) -> str:
    """A number of bytes as text: 1.15 GB."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB" if size < 1000 else f"{size:,.0f} GB"


def check_room(folder: Path, need: float, what: str) -> float:
    """Checks and returns the free space on the disk of `folder`, in bytes.

    Args:
      folder: may be missing.
      need: bytes.
      what: name of the data, for the message.

    Raises:
      UserError: there is less than `need`.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < need:
        raise UserError(
            f"{what} needs {in_words(need)} more in {folder}, which has "
            f"{in_words(free)} free. Make room, or choose another place with "
            "--data_dir or --config.data.cache_dir."
        )
    return free


def _check_space(file: BinaryIO, path: Path, size: int) -> None:
    have = os.fstat(file.fileno()).st_size
    free = check_room(path.parent, size - have, path.name)
    logging.info(
        "Downloading %s to %s: %s, of which %s exist; %s are free",
        path.name,
        path.parent,
        in_words(size),
        in_words(have),
        in_words(free),
    )


def _continue(url: str, file: BinaryIO, size: int, retries: int) -> str:
    """Downloads the rest of the file; returns the SHA-256 of all of it."""
    file.seek(0)
    digest, have = hashlib.sha256(), 0
    while block := file.read(_BLOCK):
        digest.update(block)
        have += len(block)
    if have > size:
        digest, have = _start_anew(file)
    blocks = _blocks(url, file, size, retries, have)
    for start, block in progress(
        blocks,
        round((size - have) / 1e6),
        "download",
        "MB",
        lambda item: len(item[1]) / 1e6,
    ):
        if start == 0 and have:
            digest, have = _start_anew(file)
        file.write(block)
        digest.update(block)
        have += len(block)
    return digest.hexdigest()


def _start_anew(file):
    file.truncate(0)
    file.seek(0)
    return hashlib.sha256(), 0


def _blocks(
    url: str, file: BinaryIO, size: int, retries: int, have: int
) -> Iterator[tuple[int, bytes]]:
    """(offset, block) to the end; offset 0 again if a server restarts the file."""
    failed, first = 0, have
    while have < size:
        before = have
        try:
            for start, block in _request(url, have, size):
                have = start + len(block)
                yield start, block
            if have >= size:
                return
            reason: Exception | str = "the connection ended early"
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise UserError(
                    f"cannot download {url}: HTTP {error.code} {error.reason}."
                ) from error
            reason = error
        except _BROKEN as error:
            reason = getattr(error, "reason", None) or error
            reason = getattr(reason, "strerror", None) or reason
        failed = 0 if have > before else failed + 1
        # Without any data there is no network, and waiting does not help.
        if failed > (retries if have > first else min(2, retries)):
            raise UserError(
                f"cannot download {url}: {reason}. {in_words(have)} of "
                f"{in_words(size)} were downloaded; the next call resumes there."
            )
        if failed:
            time.sleep(min(30.0, 0.5 * 2**failed))
        logging.info("The download was interrupted (%s), resuming", reason)


def _request(url: str, have: int, size: int) -> Iterator[tuple[int, bytes]]:
    headers = {"Range": f"bytes={have}-"} if have else {}
    asked = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(asked, timeout=_TIMEOUT) as response:
        # Status 200 for a range request: the server sends the whole file.
        start = have if response.status == 206 else 0
        if start == 0:
            length = response.headers.get("Content-Length")
            if length and int(length) != size:
                raise UserError(
                    f"{url} is {in_words(int(length))} long, expected "
                    f"{in_words(size)}: it is another file than the one wanted."
                )
        while block := response.read(_BLOCK):
            yield start, block
            start += len(block)
            if start > size:
                raise UserError(f"{url} sends more than the {size} bytes expected.")
