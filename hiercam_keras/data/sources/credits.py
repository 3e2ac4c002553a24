"""Data room: who made a photograph, from an attribution.csv beside the images.

    file,licence,attribution
    03337_.../alke.jpg,CC-BY,"Photo by A. Name"

The file's name may be in any letter case. The picture is named by `file`, `example_id`,
`image` or `path`; what is told of it is any of `attribution`, `credit`, `author`,
`creator`, `photographer`, and `licence` or `license`.
"""

import csv
from pathlib import Path

from absl import logging

_NAMES = ("file", "example_id", "image", "path")
_WHO = ("attribution", "credit", "author", "creator", "photographer")
_TERMS = ("licence", "license", "rights")


def read_credits(root: Path) -> dict[str, str]:
    """Credit by example_id; empty where there is no such file.

    A file that cannot be read is told of and left out: nothing else rests on it.

    Args:
      root: of the data; the file lies in it, or beside its `images` folder.
    """
    path = _find(Path(root))
    if path is None:
        return {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                {str(key).strip().lower(): value for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        logging.warning("cannot read the credits in %s: %s", path, error)
        return {}
    credits = {}
    for row in rows:
        name, who, terms = (_first(row, names) for names in (_NAMES, _WHO, _TERMS))
        if name and (who or terms):
            told = f"{who} ({terms})" if who and terms else who or terms
            credits[name.replace("\\", "/").removeprefix("images/")] = told
    return credits


def _find(root: Path) -> Path | None:
    for folder in (root, root.parent) if root.name == "images" else (root,):
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError:
            continue
        for name in names:
            if name.lower() == "attribution.csv":
                return folder / name
    return None


def _first(row: dict, names: tuple[str, ...]) -> str:
    return next((str(row[name]).strip() for name in names if row.get(name)), "")
