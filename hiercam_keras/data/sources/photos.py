"""A photograph, a folder of them or a glob, as `--image` gives them."""

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import file_names, wording
from hiercam_keras.cache_folder import cache_folder
from hiercam_keras.data import index as index_lib
from hiercam_keras.data import loader, suffixes
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import parse_class_name


def load_photos(
    pattern: str | Path, cache_dir: str | Path | None = None, workers: int = 0
) -> list[Record]:
    """Records of the photographs that a path or a glob names, sorted by example_id.

    A folder is searched with the folders below it. The lineage is known where the
    photograph is in a folder in iNat naming. Photographs that are turned, gray, CMYK
    or huge are converted as `index` does it.

    Args:
      pattern: a file, a folder or a glob ("photos/*.jpg", "photos/**/*.jpg"). What
        exists by its name is taken before what it would match as a pattern.
      cache_dir: folder of converted copies; default: see `cache_folder`.
      workers: threads; 0 for one per core.

    Raises:
      UserError: nothing matches, a file named by itself is no image, or none of several
        is.
    """
    pattern = str(pattern)
    base, files = _find(os.path.expanduser(pattern))
    if not files:
        raise UserError(
            f"--image={index_lib.printable(file_names.in_full(pattern))} matches no "
            "image file: give a file, a folder or a quoted glob."
        )
    cache = cache_folder(cache_dir) / "photos"
    found = index_lib.scan(base, cache, files, workers, partial=True)
    records = []
    for example_id, path in files.items():
        entry = found.entries[example_id]
        if entry.verdict == "unreadable":
            if len(files) == 1:
                raise UserError(f"{path} is no image that can be read: {entry.reason}.")
            logging.warning("Left out %s: %s", path, entry.reason)
            continue
        records.append(
            Record(
                example_id,
                found.pixels_path(example_id, path),
                _lineage(path),
                entry.width,
                entry.height,
            )
        )
    if not records:
        first = next(iter(files))
        raise UserError(
            f"none of {wording.count(len(files), 'file')} of --image={pattern} is an "
            f"image that can be read; the first is {first}: "
            f"{found.entries[first].reason}."
        )
    return records


def folder_of(pattern: str | Path) -> Path:
    """The folder that the example_ids of `load_photos` are relative to."""
    return _find(os.path.expanduser(str(pattern)))[0]


def load_images(
    paths: str | Path | Sequence[str | Path | Record], size: int, workers: int = 0
) -> np.ndarray:
    """Photographs as a network takes them: uint8 (B, size, size, 3), RGB.

    The short side is resized to size * 256 / 224 and the middle is cropped, as in
    training and evaluation. Photographs are turned upright as their EXIF data say.

    Args:
      paths: a file, a folder or a glob, the images sorted by name; or a sequence of
        files and records, in its order. Records may be of crops.
      size: side of the images, in pixels: that of the network's input.
      workers: threads; 0 for one per core.

    Raises:
      UserError: nothing matches, or a file is no image.
    """
    one = isinstance(paths, str | Path)
    records = [
        record
        for path in ([paths] if one else paths)
        for record in ([path] if isinstance(path, Record) else load_photos(path))
    ]
    config = ConfigDict(
        {
            "image_size": size,
            "batch_size": len(records),
            "pipeline": "arrays",
            "workers": workers,
            "cache_mb": 0,
            "max_bad_share": 0.0,
        }
    )
    # Files of several folders may share an example_id; a loader needs unique ones.
    records = [replace(r, example_id=f"{i}") for i, r in enumerate(records)]
    with loader.make_loader(records, {}, config) as batches:
        (batch,) = batches.epoch(0)
        if batches.skipped:
            number, reason = next(iter(batches.skipped.items()))
            raise UserError(f"{records[int(number)].path} cannot be read: {reason}.")
        return batch.images


def _find(pattern) -> tuple[Path, dict[str, Path]]:
    """The folder that ids are relative to, and the files by id."""
    path = Path(pattern)
    if path.is_file():
        return path.parent, {path.name: path}
    if path.is_dir():
        return path, _walk(path)
    matches = [Path(name) for name in _matches(pattern)]
    files = [match for match in matches if match.is_file()]
    if not files and len(matches) == 1 and matches[0].is_dir():
        return matches[0], _walk(matches[0])
    if not files:
        return path, {}
    base = Path(os.path.commonpath([match.parent for match in files]))
    return base, {_id(match, base): match for match in files if _writable(match)}


def _matches(pattern: str) -> list[str]:
    """Sorted paths that a glob matches.

    Folders at its start that exist by their names, as "my [birds]", are no patterns;
    where nothing matches, no bracket is one.
    """
    *folders, last = Path(pattern).parts
    start, rest = Path(), []
    for part in folders:
        if rest or not (start / part).is_dir():
            rest.append(part)
        else:
            start /= part
    literal = glob.escape(str(start))
    for tail in ("/".join([*rest, last]), "/".join([*rest, last]).replace("[", "[[]")):
        found = glob.glob(os.path.join(literal, tail), recursive=True)
        if found:
            return sorted(found)
    return []


def _walk(folder):
    # Links to folders are not followed: they may lead in a circle.
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(place) / name
            image = name.lower().endswith(suffixes.IMAGES) and not name.startswith(".")
            if image and path.is_file() and _writable(path):
                files[_id(path, folder)] = path
    return {name: files[name] for name in sorted(files)}


def _id(path, base):
    return path.relative_to(base).as_posix()


def _writable(path):
    shown = index_lib.printable(str(path))
    if shown == str(path) and "\n" not in shown:
        return True
    logging.warning("Left out %s: its name is not UTF-8 text of one line", shown)
    return False


def _lineage(path):
    try:
        return parse_class_name(path.resolve().parent.name)
    except UserError:
        return None
