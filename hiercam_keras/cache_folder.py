"""Where indexes, copies of images, downloads and compiled programs are kept."""

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
    """The folder of everything that can be made again.

    Args:
      named: `config.data.cache_dir`; empty for the user's cache.

    Returns:
      The folder that was named, else the user's (`user_cache`), else a temporary one,
      with a warning; it is removed when the process ends.

    Raises:
      UserError: the folder that was named cannot be made.
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
    """The user's cache: $XDG_CACHE_HOME/hiercam_keras, ~/.cache/hiercam_keras on Linux.

    None where there is no home, or the folder cannot be written: a container's user
    without an entry in passwd, HOME=/.
    """
    try:
        folder = Path(platformdirs.user_cache_dir(_NAME)).absolute()
    except RuntimeError:  # there is no home
        return None
    if home() is None and "~" in folder.parts:  # so do older versions of platformdirs
        return None
    return None if _cannot_make(folder) or not _writable(str(folder)) else folder


def expanded(path: str | Path) -> Path:
    """The path with ~ for the home folder.

    Raises:
      UserError: there is no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path}: there is no home folder that ~ could mean. Set HOME, or give the "
            "whole path."
        ) from error


def home() -> Path | None:
    """The home folder, None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _cannot_make(folder: Path) -> str:
    """Why a folder cannot be made, "" if it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""


@functools.cache
def _writable(folder: str) -> bool:
    """Found out by writing: permissions do not tell of a disk that is read-only."""
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
