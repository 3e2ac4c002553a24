"""Authors and licences of photographs, from an attribution.csv next to the images.

    file,licence,attribution
    03337_.../alke.jpg,CC-BY,"Photo by A. Name"

The letter case of the file's name does not matter. The column of the picture is `file`,
`example_id`, `image` or `path`; its credit is any of `attribution`, `credit`, `author`,
`creator`, `photographer`, and `licence` or `license`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError

_NAMES = ("file", "example_id", "image", "path")
_WHO = ("attribution", "credit", "author", "creator", "photographer")
_TERMS = ("licence", "license", "rights")


def read_credits(root: Path) -> dict[str, str]:
    """Credits by example_id; empty without the file.

    A file that cannot be read is ignored with a warning, as no result depends on it.

    Args:
      root: folder of the data, which holds the file, or its folder `images`.
    """
    path = _find(Path(root))
    if path is None:
        return {}
    credits = {}
    try:
        table = csv_files.read(path)
        columns = [table.find(names) for names in (_NAMES, _WHO, _TERMS)]
        for _, row in table.rows():
            name, who, terms = (_first(row, names) for names in columns)
            if name and (who or terms):
                credit = f"{who} ({terms})" if who and terms else who or terms
                credits[name.replace("\\", "/").removeprefix("images/")] = credit
    except UserError as error:
        logging.warning("pages have no credits: %s", error)
        return {}
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


def _first(row: Mapping[str, str], columns: Sequence[str]) -> str:
    return next((row[name] for name in columns if row[name]), "")
