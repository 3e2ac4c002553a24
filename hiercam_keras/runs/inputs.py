"""Tables that a run refers to by path, and its copies of them.

A run folder has them in `inputs/`, in a folder for each field of the config. A table of
another taxonomy (`data.taxonomy`) says what the labels mean, so that later modes read
the copy; other tables are part of the images, and the copy counts where the table is
not there any more.
"""

import filecmp
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras import workdir
from hiercam_keras.data.sources import common_names
from hiercam_keras.taxonomy import name_table, source

FOLDER = "inputs"
TAXONOMY = "data.taxonomy"
_NAMES = "data.common_names"
_TABLES = ("data.lineages", "data.choe.lineages", _NAMES)
_MAX_MB = 64  # of a table that is copied


def keep(folder: Path, config: Any, places: Iterable[str | Path]) -> None:
    """Copies the tables of a config into a run folder; those that are there stay.

    Args:
      folder: of the run.
      config: of the run.
      places: folders that paths of tables may be relative to.
    """
    places = [Path(place) for place in places]
    for field in (TAXONOMY, *_TABLES):
        path = _file_of(config, field, places)
        if path is None or _copy_of(folder, field) is not None:
            continue
        size = path.stat().st_size / 2**20
        if size > _MAX_MB:
            logging.warning(
                "%s=%s has %.0f MB, and no copy is kept in the run folder (above %d): "
                "later modes need the file at its place",
                field,
                path,
                size,
                _MAX_MB,
            )
            continue
        about = source.about(path) if field == TAXONOMY else None
        for one in filter(None, (about, path)):  # the table last: it says there is one
            workdir.write_bytes(_place(folder, field) / one.name, one.read_bytes())


def restored(
    config: Any,
    folder: Path,
    overrides: Collection[str] = (),
    places: Iterable[str | Path] = (),
) -> Any:
    """A run's config with the copies in place of tables.

    Args:
      config: of the run; it is returned as it is where there is nothing to replace.
      folder: of the run.
      overrides: fields of the command line, which are not replaced.
      places: see `keep`.
    """
    places = [Path(place) for place in places]
    found = dict(_replaced(config, folder, overrides, places))
    if not found:
        return config
    changed = ConfigDict(config.to_dict())
    changed.update_from_flattened_dict(found)
    return FrozenConfigDict(changed)


def _replaced(
    config: Any, folder: Path, overrides: Collection[str], places: list[Path]
) -> Iterator[tuple[str, str]]:
    """The fields with a copy that is read, and its path."""
    for field in (TAXONOMY, *_TABLES):
        copy = _copy_of(folder, field)
        if copy is None or field in overrides or not _value(config, field):
            continue
        path = _file_of(config, field, places)
        if field != TAXONOMY and path is not None:
            continue
        if path is not None and not filecmp.cmp(path, copy, shallow=False):
            logging.warning(
                "%s was changed since the training of %s, which keeps its copy %s",
                path,
                folder,
                copy,
            )
        yield field, str(copy.resolve())


def _value(config: Any, field: str) -> str:
    """The path that a field has; "" for none."""
    value = config
    for name in field.split("."):
        value = {} if value is None else value.get(name)
    if field == _NAMES and common_names.Choice.of(config.data).path is None:
        return ""
    return str(value or "")


def _file_of(config: Any, field: str, places: list[Path]) -> Path | None:
    """The file of a field; None where there is none."""
    named = _value(config, field)
    if not named:
        return None
    if field == TAXONOMY:
        return name_table.path_of(named)
    path = Path(named).expanduser()
    found = (one for one in (path, *(place / path for place in places)))
    return next((one for one in found if one.is_file()), None)


def _place(folder: Path, field: str) -> Path:
    return folder / FOLDER / field.removeprefix("data.")


def _copy_of(folder: Path, field: str) -> Path | None:
    """The copy of a table; None where the run has none."""
    files = sorted(_place(folder, field).glob("*"))
    found = [one for one in files if not source.is_about(one)]
    return found[0] if found else None
