"""The cache folder, for indexes, converted images, downloads and compiled programs."""

import functools
import shutil
import tempfile
from pathlib import Path

import platformdirs
from absl import logging

from hiercam_keras import signals
from hiercam_keras.errors import UserError

_NAME = "hiercam_keras"


def cache_folder(named: str | Path | None = None) -> Path:
    """Returns the folder for files that can be recreated, and creates it.

    Args:
      named: `config.data.cache_dir`; empty for the user's cache.

    Returns:
      `named`, else the user's cache (`user_cache`), else, with a warning, a temporary
      folder that is removed when the process ends.

    Raises:
      UserError: `named` cannot be created.
    """
    if not named:
        return user_cache() or _temporary()
    folder = expanded(named)
    if problem := _cannot_make(folder):
        raise UserError(
            f"config.data.cache_dir is {named}, which cannot be made: {problem}. "
            "Choose a folder that can be written with --config.data.cache_dir."
        )
    return folder


def user_cache() -> Path | None:
    """The user's cache folder, created if missing; None if it cannot be written.

    On Linux it is $XDG_CACHE_HOME/hiercam_keras or ~/.cache/hiercam_keras. It can be
    missing in a container, with a user without an entry in passwd or with HOME=/.
    """
    try:
        folder = Path(platformdirs.user_cache_dir(_NAME)).absolute()
    except RuntimeError:  # there is no home
        return None
    if home() is None and "~" in folder.parts:  # older platformdirs keep the "~"
        return None
    return None if _cannot_make(folder) or not _writable(str(folder)) else folder


def expanded(path: str | Path) -> Path:
    """Replaces a leading ~ of a path by the home folder.

    Raises:
      UserError: the path starts with ~ and there is no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path}: there is no home folder that ~ could mean. Set HOME, or give the "
            "whole path."
        ) from error


def home() -> Path | None:
    """The home folder; None if there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _cannot_make(folder: Path) -> str:
    """Creates a folder; returns the reason if this fails, else ""."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


@functools.cache
def _writable(folder: str) -> bool:
    """Whether files can be written; permissions do not show a read-only file system."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"{_NAME}-"))
    signals.at_exit(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    logging.warning(
        "There is no cache folder that can be written (no home, or a read-only one): "
        "indexes and converted images are kept in %s until this program ends. Set "
        "XDG_CACHE_HOME or --config.data.cache_dir to a folder that can be written.",
        folder,
    )
    return folder
