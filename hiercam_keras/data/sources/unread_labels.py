"""Warnings about masks and part images that match no image."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from absl import logging

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def warn(
    folder: Path, example_ids: Collection[str], find: Callable[[str], Path | None]
) -> None:
    """Logs label images with another suffix or name than expected.

    Args:
      folder: of label images, `masks` or `parts`.
      example_ids: of the images that are read.
      find: returns the label image of an example_id, None if there is none.
    """
    lost = [example_id for example_id in example_ids if find(example_id) is None]
    if not lost:
        return
    by_folder: dict[str, dict[str, str]] = {}  # stem -> file name, by class folder
    for place in {os.path.dirname(example_id) for example_id in lost}:
        by_folder[place] = {
            os.path.splitext(name)[0]: name
            for name in _names(folder / place)
            if name.lower().endswith(_IMAGES) and not name.endswith(".png")
        }
    twins = sorted(
        (f"{place}/{by_folder[place][stem]}", f"{place}/{stem}.png")
        for place, stem in map(_parts, lost)
        if stem in by_folder[place]
    )
    if twins:
        logging.warning(
            "%d files of %s are not read, the first is %s: expected %s. Labels must be "
            "PNG files, as JPEG is lossy",
            len(twins),
            folder,
            *twins[0],
        )
    elif len(lost) == len(example_ids) and (other := _first_file(folder)):
        place, stem = _parts(min(lost))
        logging.warning(
            "no file of %s is read: it holds %s, but %s was expected",
            folder,
            other,
            f"{place}/{stem}.png",
        )


def _parts(example_id: str) -> tuple[str, str]:
    place, name = os.path.split(example_id)
    return place, os.path.splitext(name)[0]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _first_file(folder: Path) -> str:
    """Relative path of a file, "" where there is none."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        if names:
            inside = os.path.relpath(place, folder)
            return os.path.normpath(f"{inside}/{min(names)}")
    return ""
