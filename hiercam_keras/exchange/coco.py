"""COCO JSON, and COCO Camera Traps: boxes in pixels, as x, y, width, height.

The format is described at https://cocodataset.org/#format-data, and its variant for
camera traps, with `seq_id` and `location` of images and with annotations that have no
box, at https://lila.science/coco-camera-traps.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hiercam_keras.errors import UserError
from hiercam_keras.exchange import detections
from hiercam_keras.exchange.detections import Detection, DetectionFile, Fault
from hiercam_keras.exchange.rows import RowLog, Unread
from hiercam_keras.taxonomy.common_names import CommonName, Taxon

FORMAT = "COCO JSON"
GROUPS = ("seq_id", "location")  # the first that an image has


class Box(NamedTuple):
    """A box to write.

    Attributes:
      file: the photograph.
      width, height: of the photograph in pixels.
      box: x0, y0, x1, y1 in its pixels.
      category: name of what it shows.
      score: 0..1; None for a box without one.
      more: further fields of the annotation.
    """

    file: str
    width: int
    height: int
    box: tuple[float, float, float, float]
    category: str
    score: float | None = None
    more: Mapping[str, Any] = {}


def is_document(document: object) -> bool:
    """Whether a parsed JSON file looks like COCO."""
    fields = {"images", "annotations", "categories"}
    return isinstance(document, dict) and fields <= set(document)


def read(document: Mapping[str, Any], path: Path) -> DetectionFile:
    """Boxes of a parsed file; annotations without one label a photograph only.

    The position of a detection counts the annotations of its photograph, in the order
    of the file.

    Args:
      document: of the file.
      path: of the file, for messages.

    Raises:
      UserError: a required field has another type.
    """
    for name in ("images", "annotations", "categories"):
        if not isinstance(document[name], list):
            raise UserError(f"{path}: {name} is no list, as {FORMAT} has it.")
    names = _category_names(document)
    log = RowLog()
    images = {row["id"]: row for row in log.good(_images(document, path), path.name)}
    groups = {}
    for name in reversed(GROUPS):
        groups |= _by_file(images.values(), name)
    rows = _annotations(document, path, images, names)
    found = [one for one in log.good(rows, path.name) if one is not None]
    photos = tuple(_name(row) for row in images.values())
    return DetectionFile(path, FORMAT, photos, tuple(found), {}, log, groups)


def groups(document: Mapping[str, Any], field: str) -> dict[str, str]:
    """One of GROUPS by photograph, of those that have it."""
    return _by_file(_readable(document), field)


def common_names(document: Mapping[str, Any]) -> dict[Taxon, tuple[CommonName, ...]]:
    """Field `common_name` of the categories, as in the files of iNat2021."""
    found = {}
    for row in document["categories"]:
        common = row.get("common_name") if isinstance(row, dict) else None
        if isinstance(common, str) and isinstance(row.get("name"), str):
            found[Taxon(row["name"].replace("_", " "))] = (CommonName(common),)
    return found


def labels(document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of the categories of a photograph's annotations, with and without a box."""
    names = _category_names(document)
    files = {row["id"]: _name(row) for row in _readable(document)}
    found: dict[str, dict[str, None]] = {}
    for row in document["annotations"]:
        if isinstance(row, dict) and row.get("image_id") in files:
            name = names.get(row.get("category_id"))
            if name is not None:
                found.setdefault(files[row["image_id"]], {})[name] = None
    return {photo: tuple(several) for photo, several in found.items()}


def licences(document: Mapping[str, Any]) -> dict[str, str]:
    """Rights holder and licence by photograph, as far as they are stated."""
    known = {
        row["id"]: " ".join(str(row[name]) for name in ("name", "url") if row.get(name))
        for row in document.get("licenses") or ()
        if isinstance(row, dict) and "id" in row
    }
    found = {}
    for row in _readable(document):
        parts = (row.get("rights_holder"), known.get(row.get("license")))
        if text := ", ".join(str(part) for part in parts if part):
            found[_name(row)] = text
    return found


def add_boxes(
    boxes: Iterable[Box],
    document: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A copy of a document with further boxes; everything else is kept.

    Images and categories are found by name, and added where they are missing. New ids
    continue those of the document, from 1 on: 0 is no match for COCO's own evaluation.

    Args:
      boxes: in pixels.
      document: parsed; None for a new one.
      info: fields of the document's `info`.
    """
    made: dict[str, Any] = copy.deepcopy(dict(document or {}))
    for name in ("images", "annotations", "categories"):
        made.setdefault(name, [])
    if info:
        made["info"] = {**(made.get("info") or {}), **info}
    images, categories, annotations = (
        _Ids(made[table]) for table in ("images", "categories", "annotations")
    )
    by_file = {
        detections.slashed(str(row["file_name"])): row["id"]
        for row in made["images"]
        if isinstance(row, dict) and {"id", "file_name"} <= set(row)
    }
    by_name = {
        row["name"]: row["id"]
        for row in made["categories"]
        if isinstance(row, dict) and {"id", "name"} <= set(row)
    }
    for one in boxes:
        if one.file not in by_file:
            by_file[one.file] = images.next()
            size = {"width": one.width, "height": one.height}
            made["images"].append(
                {"id": by_file[one.file], "file_name": one.file, **size}
            )
        if one.category not in by_name:
            by_name[one.category] = categories.next()
            made["categories"].append(
                {"id": by_name[one.category], "name": one.category}
            )
        x0, y0, x1, y1 = one.box
        made["annotations"].append(
            {
                "id": annotations.next(),
                "image_id": by_file[one.file],
                "category_id": by_name[one.category],
                "bbox": [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)],
                "area": round((x1 - x0) * (y1 - y0), 3),
                "iscrowd": 0,
                **({} if one.score is None else {"score": one.score}),
                **one.more,
            }
        )
    return made


class _Ids:
    """New ids of a table: whole numbers, or text where the table has text."""

    def __init__(self, rows: list):
        known = [row["id"] for row in rows if isinstance(row, dict) and "id" in row]
        self._text = any(isinstance(one, str) for one in known)
        numbers = [int(one) for one in known if str(one).isdigit()]
        self._last = max(numbers, default=0)

    def next(self) -> int | str:
        self._last += 1
        return str(self._last) if self._text else self._last


def _category_names(document) -> dict[Any, str]:
    return {
        row["id"]: str(row["name"])
        for row in document["categories"]
        if isinstance(row, dict) and {"id", "name"} <= set(row)
    }


def _readable(document) -> list[dict]:
    rows = _images(document, Path())
    return [row for row in rows if not isinstance(row, Unread)]


def _by_file(images: Iterable[Mapping[str, Any]], field: str) -> dict[str, str]:
    return {
        _name(row): str(row[field])
        for row in images
        if row.get(field) not in (None, "")
    }


def _name(image: Mapping[str, Any]) -> str:
    return detections.slashed(image["file_name"])


def _images(document, path) -> Iterator[dict | Unread]:
    """Rows of images that can be read."""
    seen = set()
    for number, row in enumerate(document["images"], 1):
        try:
            if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
                raise Fault("the image has no file_name")
            if not isinstance(row.get("id"), int | str):
                raise Fault("the image has no id", row["file_name"])
            if row["id"] in seen:
                raise Fault("the image's id occurs before", row["id"])
        except Fault as fault:
            place = f"image {number}: {fault.found}"
            yield Unread(number, fault.reason, path.name, place)
        else:
            seen.add(row["id"])
            yield row


def _annotations(document, path, images, names) -> Iterator[Detection | None | Unread]:
    """Detections; None for an annotation without a box."""
    seen: Counter[str] = Counter()
    for number, row in enumerate(document["annotations"], 1):
        try:
            image = _image_of(row, images)
            photo = _name(image)
            seen[photo] += 1
            boxed = row.get("bbox") is not None
            yield _detection(row, image, names, seen[photo]) if boxed else None
        except Fault as fault:
            place = f"annotation {number}: {fault.found}"
            yield Unread(number, fault.reason, path.name, place)


def _image_of(row, images) -> Mapping[str, Any]:
    key = row.get("image_id") if isinstance(row, dict) else None
    if not isinstance(key, int | str) or key not in images:
        raise Fault("the annotation's image_id is not among the images", key)
    return images[key]


def _detection(row, image, names, index) -> Detection:
    photo, width, height = _name(image), image.get("width"), image.get("height")
    if not all(isinstance(side, int | float) and side > 0 for side in (width, height)):
        raise Fault("the image of the box has no width and height", photo)
    category = row.get("category_id")
    if not isinstance(category, int | str) or category not in names:
        raise Fault("the annotation's category_id is not among the categories", photo)
    box = row["bbox"]
    if not isinstance(box, list) or len(box) != 4:
        raise Fault("a box has 4 numbers", box)
    if not all(isinstance(value, int | float) for value in box):
        raise Fault("a number is expected", box)
    sides = (width, height, width, height)
    relative = [value / side for value, side in zip(box, sides, strict=True)]
    score = row.get("score", row.get("conf"))
    return Detection(
        photo,
        detections.box_from_corner(relative),
        names[category],
        None if score is None else detections.confidence_of(score),
        index,
    )
