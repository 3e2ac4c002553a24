"""The text files of a metadata folder in the format of Choe et al. 2020.

    image_ids.txt            path
    class_labels.txt         path,label
    class_labels_family.txt  path,label     and so on, where ranks are known
    image_sizes.txt          path,width,height   (or height,width)
    localization.txt         path,x0,y0,x1,y1    one row a box, or
                             path,mask,ignore    one row a mask

Paths are relative and may hold commas. A final newline may be missing. The format is
that of the reference evaluator of arXiv:2001.07437.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hiercam_keras.errors import UserError

IDS = "image_ids.txt"
LABELS = "class_labels.txt"
SIZES = "image_sizes.txt"
BOXES = "localization.txt"

Row = tuple[str, tuple[float, ...]]


class Masks(NamedTuple):
    """Label images of one picture, relative to the folder of masks.

    Attributes:
      objects: images above 0 on the object; their union counts.
      ignored: image above 0 on pixels that are not counted unless they are object; or
        None.
    """

    objects: tuple[str, ...]
    ignored: str | None


def is_metadata(folder: Path) -> bool:
    """Whether a folder holds a list of images."""
    return (folder / IDS).is_file() or (folder / LABELS).is_file()


def read_ids(folder: Path) -> list[str]:
    """The image paths of a list, in its order.

    Raises:
      UserError: there is no list, it is empty, names an image twice, or a path leads
        out of the folder of images.
    """
    path = folder / IDS
    if path.is_file():
        ids = [line for _, line in _lines(path)]
    elif (folder / LABELS).is_file():
        path = folder / LABELS
        ids = list(read_labels(path))
    else:
        raise UserError(
            f"{folder} holds no {IDS}: expected a folder of metadata in the format of "
            f"Choe et al. ({IDS}, {LABELS}, {SIZES}, {BOXES}), or one with such "
            "folders train, val, test."
        )
    if not ids:
        raise UserError(f"{path} is empty: expected one image path a line.")
    seen: set[str] = set()
    for number, name in enumerate(ids, 1):
        check_relative(name, f"{path}, line {number}")
        if name in seen:
            raise UserError(f"{path} lists {name!r} twice: expected each image once.")
        seen.add(name)
    return ids


def read_labels(path: Path) -> dict[str, str]:
    """Label of each image, as text.

    Raises:
      UserError: a line has no label, or an image has two.
    """
    labels: dict[str, str] = {}
    for number, line in _lines(path):
        name, _, label = line.rpartition(",")
        if not name or not label.strip():
            raise UserError(
                f"{path}, line {number}: expected path,label, found {line!r}."
            )
        label = label.strip()
        if labels.setdefault(name, label) != label:
            raise UserError(
                f"{path}, line {number}: {name!r} has the labels {labels[name]} and "
                f"{label}, expected one."
            )
    return labels


def read_numbers(path: Path, count: int, expected: str) -> list[Row]:
    """Rows of an image's path and `count` numbers.

    Args:
      path: of the file.
      count: numbers in a row.
      expected: description of a row, for the message.

    Raises:
      UserError: a row has another form.
    """
    rows = []
    for number, line in _lines(path):
        row = _numbers(line, count)
        if row is None:
            raise UserError(
                f"{path}, line {number}: expected {expected}, found {line!r}."
            )
        rows.append(row)
    return rows


def read_localization(path: Path) -> tuple[list[Row], dict[str, Masks]]:
    """Rows of four box numbers, in the file's order of columns, and masks.

    A file holds one kind; the other result is empty.

    Raises:
      UserError: a row has another form, or a mask path leads out of its folder.
    """
    lines = list(_lines(path))
    if not lines or _numbers(lines[0][1], 4) is not None:
        return read_numbers(path, 4, "path and four numbers of a box"), {}
    objects: dict[str, list[str]] = {}
    ignored: dict[str, str] = {}
    for number, line in lines:
        parts = [part.strip() for part in line.rsplit(",", 2)]
        where = f"{path}, line {number}"
        if len(parts) != 3 or not parts[1]:
            raise UserError(
                f"{where}: expected path,x0,y0,x1,y1 or path,mask,ignore, found "
                f"{line!r}."
            )
        name, mask, ignore = parts
        for one in filter(None, (mask, ignore)):
            check_relative(one, where)
        objects.setdefault(name, []).append(mask)
        if ignore:
            ignored.setdefault(name, ignore)  # the first row's counts
    masks = {
        name: Masks(tuple(paths), ignored.get(name)) for name, paths in objects.items()
    }
    return [], masks


def read_names(path: Path) -> dict[str, str]:
    """Name by label of a class_names file: one name a line, or label and name.

    Empty without the file.
    """
    if not path.is_file():
        return {}
    lines = [line.strip() for _, line in _lines(path)]
    names = {}
    for place, line in enumerate(lines):
        first, _, second = (part.strip() for part in line.partition(","))
        if second and first.isdigit():
            names[first] = second
        elif second.isdigit():
            names[second] = first
        else:
            names[str(place)] = line
    return names


def check_relative(name: str, where: str) -> None:
    """Raises UserError unless a path is relative, plain and below its folder."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith(("/", "~"))
        or "\\" in name
        or ".." in parts
        or any(ord(char) < 32 for char in name)
        or (len(name) > 1 and name[1] == ":")
        or str(PurePosixPath(name)) != name
    ):
        raise UserError(
            f"{where}: the path {name!r} is not a plain relative path below the folder "
            "of images (without ../, a drive or a leading /)."
        )


class SafeFolder:
    """Joins relative paths to a folder, and checks that links do not lead out of it.

    A name that differs from that of a file only in its Unicode normalization (macOS
    writes NFD, most lists are NFC) finds the file.
    """

    def __init__(self, root: Path):
        self._root = Path(root)
        self._real = os.path.realpath(root)
        self._inside: dict[str, bool] = {}
        self._names: dict[Path, dict[str, str]] = {}  # folder -> NFC name -> its own

    def join(self, name: str) -> Path:
        """The path of a file, which may be missing.

        Raises:
          UserError: a link in the path leads out of the folder.
        """
        path = self._root / name
        if not name.isascii() and not os.path.lexists(path):
            path = self._equivalent(name)
        parent = str(path.parent)
        if parent not in self._inside:
            self._inside[parent] = self._holds(parent)
        if not self._inside[parent] or (path.is_symlink() and not self._holds(path)):
            raise UserError(
                f"{path} is a link that leads out of {self._root}: copy the file, or "
                "point at the folder that holds it."
            )
        return path

    def _equivalent(self, name: str) -> Path:
        """The path of `name`, with the Unicode normalization of existing files."""
        path = self._root
        for part in PurePosixPath(name).parts:
            if not os.path.lexists(path / part):
                key = unicodedata.normalize("NFC", part)
                part = self._names_in(path).get(key, part)
            path = path / part
        return path

    def _names_in(self, folder: Path) -> dict[str, str]:
        """Names in a folder by their NFC form; {} for a folder that cannot be read."""
        if folder not in self._names:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            forms = {unicodedata.normalize("NFC", name): name for name in names}
            self._names[folder] = forms
        return self._names[folder]

    def _holds(self, path: str | Path) -> bool:
        real = os.path.realpath(path)
        return os.path.commonpath([real, self._real]) == self._real


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as UTF-8 text: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip():
            yield number, line


def _numbers(line: str, count: int) -> Row | None:
    name, *cells = line.rsplit(",", count)
    values = _floats(cells)
    return (name, values) if name and len(cells) == count and values else None


def _floats(cells: Sequence[str]) -> tuple[float, ...] | None:
    try:
        values = tuple(float(cell) for cell in cells)
    except ValueError:
        return None
    finite = all(abs(value) < 1e9 for value in values)  # False for NaN, too
    return values if finite else None
