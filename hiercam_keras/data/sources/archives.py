"""Iterates over the image files in a zip or tar archive, or in a folder.

Nothing is written, so a name in an archive cannot become a path by itself. Names that
lead out of the archive are still refused, because they are malicious or mistakes.
"""

import contextlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from hiercam_keras.data import suffixes
from hiercam_keras.data.sources import safe_paths
from hiercam_keras.errors import UserError

KINDS = (".zip", ".tar", ".tar.gz", ".tgz")
_LARGEST = 256 << 20  # bytes; larger members are refused as decompression bombs
_BROKEN = (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def images(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, encoded bytes) of the image files, in the order of the archive.

    Args:
      path: a zip or tar archive, or a folder; archives may be in a bucket (an
        `etils.epath` path).

    Raises:
      UserError: the archive is damaged, or a member's name leads out of it, is a link
        or is larger than any photograph.
    """
    for name, size, read in _members(path):
        if not _wanted(path, name):
            continue
        if size > _LARGEST:
            raise UserError(
                f"{path}: {safe_paths.shown(name)} has {size / 1e6:.0f} MB, too much "
                "for an image. Use the archive as it was published."
            )
        with _as_user_error(path):
            data = read()
        yield safe_paths.relative(name), data


def names(path: Path) -> Iterator[str]:
    """Names of the image files, without reading them; see `images`."""
    for name, _, _ in _members(path):
        if _wanted(path, name):
            yield safe_paths.relative(name)


def _wanted(path, name):
    """Whether a member is an image with a valid name; raises if it leads out."""
    try:
        safe_paths.relative(name)
    except UserError as error:
        if "UTF-8" not in str(error):
            raise UserError(f"{path} is not to be trusted: {error}") from None
        logging.warning("Left out %s of %s: its name is not UTF-8", ascii(name), path)
        return False
    last = name.rsplit("/", 1)[-1]
    return last.lower().endswith(suffixes.IMAGES) and not last.startswith(".")


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """(name, bytes, function that reads) of every file."""
    if path.is_dir():
        yield from _folder(path)
        return
    with _as_user_error(path):
        yield from _zip(path) if path.name.lower().endswith(".zip") else _tar(path)


@contextlib.contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    """Turns the errors of damaged archives into a UserError."""
    try:
        yield
    except _BROKEN as error:
        raise UserError(
            f"cannot read {path}: {error}. It is damaged or incomplete: download it "
            "again."
        ) from error
    except RuntimeError as error:  # raised by zipfile for a password
        raise UserError(f"cannot read {path}: {error}.") from error


def _folder(path):
    if "://" in str(path):
        raise UserError(f"{path} is a folder in a bucket: put the archive there.")
    # Links to folders are not followed: they may form a cycle.
    for place, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(place) / name
            if file.is_file():
                yield (
                    file.relative_to(path).as_posix(),
                    file.stat().st_size,
                    file.read_bytes,
                )


def _zip(path):
    # A bucket's path has its own open(); zipfile and tarfile need file objects.
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise UserError(_linked(path, member.filename))
            yield (
                member.filename,
                member.file_size,
                lambda member=member: archive.read(member),
            )


def _tar(path):
    # As a stream: a compressed archive has no random access.
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            if member.islnk() or member.issym():
                raise UserError(_linked(path, member.name))
            if member.isfile():
                yield (
                    member.name,
                    member.size,
                    lambda member=member: archive.extractfile(member).read(),
                )


def _linked(path, name):
    return (
        f"{path} is not to be trusted: {safe_paths.shown(name)} is a link. Use the "
        "archive as it was published."
    )
