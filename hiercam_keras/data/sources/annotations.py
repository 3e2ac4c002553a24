"""Annotations next to `images/`: boxes, masks, parts and the evidence table.

    masks/<class dir>/x.png    above 0 on the object
    parts/<class dir>/x.png    a label image of disjoint parts
    boxes.csv                  example_id,x0,y0,x1,y1; one row a box (`boxes`)
    evidence.csv               rank,part,label: which part carries which rank
    groups.csv                 example_id,group: images that stay in one split

Labels and boxes refer to the stored pixels, and are rotated with a photo that has an
EXIF orientation.
"""

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image

from hiercam_keras import csv_files, wording, workdir
from hiercam_keras.data import decode, geometry, grouping
from hiercam_keras.data.index import Entry
from hiercam_keras.data.records import Box
from hiercam_keras.data.sources import boxes as boxes_lib
from hiercam_keras.data.sources import unread_labels
from hiercam_keras.data.sources.label_files import LabelFiles
from hiercam_keras.errors import UserError

# rank -> (name of the part, its label in the part images)
Evidence = dict[str, tuple[str, int]]

_ID_FIELDS = ("example_id", "image", "path", "file")
_LABEL_FIELDS = ("label", "part_label", "value")


class Annotations:
    """Looks up the annotations of each image of a data folder.

    Args:
      root: folder that holds the annotations.
      cache: folder for rotated label images.
      entries: index entries of the readable images by example_id.
      options: convention and units of boxes.csv.

    Raises:
      UserError: boxes.csv cannot be read, or a box is not inside its image.
    """

    def __init__(
        self,
        root: Path,
        cache: Path,
        entries: Mapping[str, Entry],
        options: boxes_lib.Options = boxes_lib.AUTO,
    ):
        self._root = Path(root)
        self._cache = Path(cache)
        self._entries = entries
        stored = {name: _stored(entry) for name, entry in entries.items()}
        self._boxes = read_boxes(self._root / "boxes.csv", stored, options)
        self._kinds = {
            kind: LabelFiles(self._root, kind, entries)
            for kind in ("masks", "parts")
            if (self._root / kind).is_dir()
        }
        for kind, files in self._kinds.items():
            unread_labels.warn(self._root / kind, entries, files.find)

    def of(self, example_id: str) -> dict:
        """boxes, mask_path and parts_path of a `Record`, as displayed."""
        entry = self._entries[example_id]
        stored = _stored(entry)
        boxes = [
            decode.turn_box(box, *stored, entry.orientation)
            for box in self._boxes.get(example_id, ())
        ]
        about = {"boxes": tuple(boxes)}
        for kind, files in self._kinds.items():
            path = files.find(example_id)
            if path is not None and entry.orientation != 1:
                path = turned(path, stored, entry.orientation, self._cache)
            about["mask_path" if kind == "masks" else "parts_path"] = path
        return about


def turned(path: Path, stored: tuple[int, int], orientation: int, cache: Path) -> Path:
    """A copy that is rotated like its photo; the file itself if it already fits.

    Args:
      path: of a label image.
      stored: width and height of the photo before the rotation.
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
    with workdir.atomic_path(copy, flag=workdir.CACHE_FLAG) as temporary:
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
    """Checks the aspect ratio of a label image by its header alone.

    Args:
      path: of the label image.
      size: width and height of the image as displayed; other scales are allowed.

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
    """The values of a label image at the cell centers of the model's input.

    Args:
      path: of the label image.
      window: geometry of the picture's model input.
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


def read_boxes(
    path: Path, stored: Mapping[str, tuple[int, int]], options: boxes_lib.Options
) -> Mapping[str, list[Box]]:
    """Boxes in pixels by example_id; empty without the file.

    Args:
      path: of the CSV file; ids may begin with "images/".
      stored: (width, height) of each image before the rotation.
      options: convention and units of the numbers.

    Raises:
      UserError: a column is missing, a cell is not a number, or a box is not inside its
        image.
    """
    if not path.is_file():
        return {}
    table = csv_files.read(path)
    columns = boxes_lib.find_columns(table)
    ids = table.find(_ID_FIELDS)
    if columns is None or not ids:
        raise UserError(
            f"{path}, line 1: expected the columns example_id,x0,y0,x1,y1, found "
            f"{','.join(table.columns)}."
        )
    rows = []
    # macOS writes file names in NFD; most tables are in NFC.
    ids_of = {unicodedata.normalize("NFC", name): name for name in stored}
    for line, cells in table.rows():
        try:
            numbers = columns.numbers(table, cells)
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
        if not cells[ids[0]] or numbers is None:
            raise UserError(f"{path}, line {line}: the id or the box is empty.")
        name = cells[ids[0]].removeprefix("./").removeprefix("images/")
        name = ids_of.get(unicodedata.normalize("NFC", name), name)
        rows.append(boxes_lib.Row(line, name, numbers))
    _warn_unknown(path, rows, stored)
    in_pixels = boxes_lib.in_pixels(
        rows, stored, options, columns.convention, str(path)
    )
    boxes = defaultdict(list)
    for row, box in zip(rows, in_pixels, strict=True):
        if box is not None:
            boxes[row.example_id].append(box)
    return boxes


def _warn_unknown(path, rows, stored):
    """Logs rows without an image, and counts those in folders that are not read."""
    folders = {os.path.dirname(name) for name in stored}
    lost = [row for row in rows if row.example_id not in stored]
    own = [row for row in lost if os.path.dirname(row.example_id) in folders]
    if lost and not own and len(lost) < len(rows):
        logging.info(
            "%s: %d of %d boxes are in folders that are not read, such as %r",
            path,
            len(lost),
            len(rows),
            os.path.dirname(lost[0].example_id),
        )
    elif lost:
        row = (own or lost)[0]
        stem = os.path.basename(os.path.splitext(row.example_id)[0])
        like = (name for name in stored if f"/{stem}." in f"/{name}")
        logging.warning(
            "%s: %d of %d boxes name no image that was read; compared %r (line %d) "
            "with ids such as %r: expected <class folder>/<file with its suffix>",
            path,
            len(own or lost),
            len(rows),
            row.example_id,
            row.line,
            next(like, next(iter(stored), "")),
        )


def read_groups(
    root: Path, ids: Iterable[str], choice: grouping.Choice
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Groups by example_id of groups.csv, and the columns that may hold them.

    Args:
      root: folder of the annotations.
      ids: example_ids of the images; those of the table may begin with "images/".
      choice: of the config; by default the column `group`.

    Raises:
      UserError: there is no column of ids, or none of the groups.
    """
    path = Path(root) / "groups.csv"
    if not path.is_file():
        return {}, ()
    table = csv_files.read(path)
    id_column = next(iter(table.find(_ID_FIELDS)), None)
    offered = tuple(name for name in table.columns if name != id_column)
    if id_column is None or not offered:
        raise UserError(
            f"{path}, line 1: expected the columns example_id,{grouping.COLUMN}, found "
            f"{','.join(table.columns)}."
        )
    column = choice.column_of(offered, (grouping.COLUMN, offered[0]), str(path))
    if column is None:
        return {}, offered
    ids_of = {unicodedata.normalize("NFC", name): name for name in ids}
    found, lost = {}, []
    for line, cells in table.rows():
        name = cells[id_column].removeprefix("./").removeprefix("images/")
        known = ids_of.get(unicodedata.normalize("NFC", name))
        if known is None:
            lost.append(line)
        elif cells[column] and found.setdefault(known, cells[column]) != cells[column]:
            raise UserError(
                f"{path}, line {line}: {name} is in another group in an earlier line. "
                "One row an image."
            )
    if lost:
        logging.warning(
            "%s: %s name no image that was read, the first is line %d",
            path,
            wording.count(len(lost), "row"),
            lost[0],
        )
    return found, offered


def read_evidence(root: Path) -> Evidence | None:
    """The part that carries each rank; None without an evidence.csv.

    Args:
      root: folder of the annotations.

    Returns:
      rank -> (name of the part, its label in the part images, 0 .. 255).

    Raises:
      UserError: a column is missing, or a row is invalid.
    """
    path = Path(root) / "evidence.csv"
    if not path.is_file():
        return None
    table = csv_files.read(path)
    wanted = (("rank",), ("part",), _LABEL_FIELDS)
    columns = [next(iter(table.find(names)), None) for names in wanted]
    if None in columns:
        raise UserError(
            f"{path}, line 1: expected the columns rank,part,label, found "
            f"{','.join(table.columns)}."
        )
    evidence = {}
    for line, cells in table.rows():
        rank, part, label = (cells[name] for name in columns)
        if not (rank and part and label.isdigit() and int(label) < 256):
            raise UserError(
                f"{path}, line {line}: expected a rank, a part and a label of 0 to "
                f"255, found {rank!r}, {part!r} and {label!r}."
            )
        evidence[rank] = (part, int(label))
    return evidence or None


def _stored(entry: Entry) -> tuple[int, int]:
    return decode.displayed_size(entry.width, entry.height, entry.orientation)
