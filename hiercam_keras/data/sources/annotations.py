"""Data room: what lies beside `images/`: boxes, masks, parts and the evidence table.

    masks/<class dir>/x.png    above 0 where the animal is
    parts/<class dir>/x.png    a label image of disjoint parts
    boxes.csv                  example_id,x0,y0,x1,y1; one row a box
    evidence.csv               rank,part,label: which part carries which rank

They are drawn on the stored pixels; where a photo's EXIF data turns it, they turn too.
"""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from hiercam_keras import workdir
from hiercam_keras.data import decode, geometry
from hiercam_keras.data.index import Entry
from hiercam_keras.data.records import Box
from hiercam_keras.errors import UserError

# rank -> (name of the part, its label in the part images)
Evidence = dict[str, tuple[str, int]]

_BOX_FIELDS = ("x0", "y0", "x1", "y1")
_ID_FIELDS = ("example_id", "image", "path", "file")
_LABEL_FIELDS = ("label", "part_label", "value")


class Annotations:
    """Looks up what is drawn on each image of one data folder.

    Args:
      root: folder beside whose `images` the annotations lie.
      cache: folder for label images that had to be turned.
    """

    def __init__(self, root: Path, cache: Path):
        self._root = Path(root)
        self._cache = Path(cache)
        self._boxes = read_boxes(self._root / "boxes.csv")
        self._kinds = [
            kind for kind in ("masks", "parts") if (self._root / kind).is_dir()
        ]
        self._folders: dict[str, set[str]] = {}

    def of(self, example_id: str, entry: Entry) -> dict:
        """boxes, mask_path and parts_path of a `Record`, as displayed."""
        stored = decode.displayed_size(entry.width, entry.height, entry.orientation)
        boxes = [
            decode.turn_box(box, *stored, entry.orientation)
            for box in self._boxes.get(example_id, ())
        ]
        about = {"boxes": tuple(boxes)}
        for kind in self._kinds:
            path = self._find(kind, example_id)
            if path is not None and entry.orientation != 1:
                path = turned(path, stored, entry.orientation, self._cache)
            about["mask_path" if kind == "masks" else "parts_path"] = path
        return about

    def _find(self, kind, example_id):
        stem = os.path.splitext(example_id)[0] + ".png"
        folder, name = os.path.split(f"{kind}/{stem}")
        if folder not in self._folders:
            # One listing a folder instead of one look a file.
            try:
                self._folders[folder] = set(os.listdir(self._root / folder))
            except OSError:
                self._folders[folder] = set()
        return self._root / folder / name if name in self._folders[folder] else None


def turned(path: Path, stored: tuple[int, int], orientation: int, cache: Path) -> Path:
    """A copy turned as the photo is; one that fits as displayed is left alone.

    Args:
      path: of a label image.
      stored: width and height of the photo before it is turned.
      orientation: EXIF orientation of the photo, 2 to 8.
      cache: folder for the copy.
    """
    stat = path.stat()
    key = hashlib.sha1(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    copy = cache / "turned" / f"{key.hexdigest()[:20]}.png"
    if copy.is_file():
        return copy
    labels = read_labels(path)
    displayed = decode.displayed_size(*stored, orientation)
    size = labels.shape[::-1]
    if size == displayed and size != stored:
        return path
    upright = decode.transpose_like(Image.fromarray(labels), orientation)
    with workdir.atomic_path(copy) as temporary:
        upright.save(temporary)
    return copy


def read_labels(path: Path) -> np.ndarray:
    """A mask or part image as uint8 (H, W).

    Raises:
      UserError: it cannot be read, is too large or has color channels.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > decode.MAX_PIXELS:
                raise UserError(
                    f"label image {path} has {image.width} x {image.height} pixels, "
                    f"more than the {decode.MAX_PIXELS / 1e6:.0f} million that are "
                    "read. Make it as large as its image."
                )
            image.load()
            if image.mode in ("1", "L", "P"):
                return np.asarray(image).astype(np.uint8)
            mode = image.mode
    except OSError as error:
        raise UserError(f"cannot read the label image {path}: {error}") from error
    raise UserError(
        f"label image {path} has {mode} pixels: expected one 8-bit channel of labels."
    )


def check_mask_size(path: Path, size: tuple[int, int]) -> None:
    """Sees that a label image has the shape of its image, by its header alone.

    Args:
      path: of the label image.
      size: width and height of the image as displayed; others of its shape fit too.

    Raises:
      UserError: it has another shape, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            found = image.size
    except OSError as error:
        raise UserError(f"cannot read the label image {path}: {error}") from error
    _check_shape(path, found, size)


def label_cells(path: Path, window: geometry.Geometry, side: int) -> np.ndarray:
    """A label image at the middle of each cell of what the model saw.

    Args:
      path: of the label image.
      window: of the model on the picture that it belongs to.
      side: cells along each axis.

    Returns:
      uint8 (side, side); 0 outside the picture.

    Raises:
      UserError: it cannot be read, or has another shape than its picture.
    """
    labels = read_labels(path)
    _check_shape(path, labels.shape[::-1], (window.width, window.height))
    seen = geometry.resize_mask(labels, window)
    at = ((np.arange(side) + 0.5) * len(seen) / side).astype(int)
    return seen[np.ix_(at, at)]


def _check_shape(path, found, size):
    """Sizes are (width, height)."""
    if not geometry.same_shape(found, size):
        raise UserError(
            f"the label image {path} has {found[0]} x {found[1]} pixels, its image "
            f"{size[0]} x {size[1]}: expected the same shape. Is it another image's?"
        )


def read_boxes(path: Path) -> Mapping[str, list[Box]]:
    """Boxes by example_id; none where there is no such file."""
    boxes = defaultdict(list)
    for line, row in _rows(path):
        name = _field(row, _ID_FIELDS, path)
        try:
            box = tuple(float(row[field]) for field in _BOX_FIELDS)
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path}, line {line}: expected the columns "
                f"{', '.join((_ID_FIELDS[0], *_BOX_FIELDS))} with numbers, found {row}."
            ) from None
        if not (box[0] <= box[2] and box[1] <= box[3]):
            raise UserError(
                f"{path}, line {line}: the box {box} has x1 < x0 or y1 < y0."
            )
        boxes[name.removeprefix("images/")].append(box)
    return boxes


def read_evidence(root: Path) -> Evidence | None:
    """Which part carries which rank; None where there is no evidence.csv."""
    path = Path(root) / "evidence.csv"
    evidence = {}
    for line, row in _rows(path):
        rank, part = _field(row, ("rank",), path), _field(row, ("part",), path)
        label = _field(row, _LABEL_FIELDS, path)
        if not label.isdigit():
            raise UserError(
                f"{path}, line {line}: expected a label of 0 to 255, found {label!r}."
            )
        evidence[rank] = (part, int(label))
    return evidence or None


def _rows(path):
    """(line number, row) of a CSV file; nothing where it is missing."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _field(row, names, path):
    for name in names:
        if row.get(name):
            return row[name].strip()
    raise UserError(
        f"{path} has a row without {names[0]!r}: found the columns "
        f"{', '.join(str(key) for key in row)}."
    )
