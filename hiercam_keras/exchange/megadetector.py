"""MegaDetector's JSON format, version 1.x: detections with classifications.

The format is described at https://lila.science/megadetector-output-format. Category ids
are text, boxes are x, y, width, height relative to the photograph as displayed, a
photograph without detections has an empty list, and one that could not be read has
`failure` and null detections. Classifications are in descending order of their scores,
which the format's validator does not check: they are written so, and readers should not
rely on it.

Timelapse and camtraptools read taxa from `classification_category_descriptions`, in
SpeciesNet's seven parts: uuid;class;order;family;genus;species;name. Every category
has a description, or none has.
"""

import copy
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hiercam_keras.errors import UserError
from hiercam_keras.exchange import detections
from hiercam_keras.exchange.detections import Detection, DetectionFile, Fault
from hiercam_keras.exchange.rows import RowLog, Unread

FORMAT = "MegaDetector JSON"
_RANKS = ("class", "order", "family", "genus", "species")
_NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")  # X.500, RFC 4122
# Categories of MegaDetector itself, for documents that are made here.
_CATEGORIES = {detections.ANIMAL: "1", detections.HUMAN: "2", detections.VEHICLE: "3"}
_CATEGORY_NAMES = {"1": "animal", "2": "person", "3": "vehicle"}


class Taxon(NamedTuple):
    """A taxon as a classification names it.

    Attributes:
      name: shown to people.
      taxa: name by rank, as far as it has one; a species is its epithet or binomial.
      common_name: shown in the description in place of the name; "" for none.
    """

    name: str
    taxa: Mapping[str, str]
    common_name: str = ""

    @property
    def description(self) -> str:
        """Seven parts, the first of them derived from the others."""
        taxa = dict(self.taxa)
        first, _, rest = taxa.get("species", "").partition(" ")
        if rest:  # a binomial
            taxa |= {"genus": taxa.get("genus", first), "species": rest}
        parts = [taxa.get(rank, "").lower() for rank in _RANKS]
        path = "/".join(f"{rank}:{name}" for rank, name in self.taxa.items())
        identity = uuid.uuid5(_NAMESPACE, path.lower())
        last = self.common_name or self.name
        # A semicolon would divide a part.
        return ";".join([str(identity), *(_part(one) for one in (*parts, last))])


def is_document(document: object) -> bool:
    """Whether a parsed JSON file looks like MegaDetector's format."""
    return isinstance(document, dict) and {"images", "detection_categories"} <= set(
        document
    )


def read(document: Mapping[str, Any], path: Path) -> DetectionFile:
    """Detections of a parsed file.

    Args:
      document: of the file.
      path: of the file, for messages.

    Raises:
      UserError: a required field is missing or has another type.
    """
    categories, names = _categories(document, path)
    photos, failures = [], {}

    def rows() -> Iterator[Detection | str | Unread]:
        for number, image in enumerate(document["images"], 1):
            try:
                photo = _file_of(image)
                found = _detections_of(image)
                if photo in listed:
                    raise Fault("the photograph is listed before", photo)
            except Fault as fault:
                yield Unread(number, fault.reason, path.name, fault.found)
                continue
            listed.add(photo)
            photos.append(photo)
            yield photo
            if found is None:
                failures[photo] = str(image.get("failure") or "no detections are given")
            for index, row in enumerate(found or (), 1):
                try:
                    yield _detection(photo, index, row, categories, names)
                except Fault as fault:
                    place = f"detection {index} of {photo}: {fault.found}"
                    yield Unread(number, fault.reason, path.name, place)

    listed: set[str] = set()
    log = RowLog()
    good = [one for one in log.good(rows(), path.name) if isinstance(one, Detection)]
    return DetectionFile(path, FORMAT, tuple(photos), tuple(good), failures, log)


def classify(
    document: Mapping[str, Any],
    answers: Mapping[tuple[str, int], Sequence[tuple[Taxon, float]]],
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """A copy of a document with classifications of some of its detections.

    Everything else is kept, unknown fields included. Classifications of another
    classifier are replaced where there are new ones.

    Args:
      document: parsed; not changed.
      answers: taxa with probabilities by photograph and by the detection's position
        from 1.
      info: fields added to the document's `info`, such as the name of the classifier.

    Raises:
      ValueError: a detection is not in the document.
    """
    made = copy.deepcopy(dict(document))
    made["info"] = {**(made.get("info") or {}), **info}
    ids = _CategoryIds(made)
    rows = {}
    for image in made["images"]:
        if isinstance(image, dict) and isinstance(image.get("file"), str):
            rows[detections.slashed(image["file"])] = image.get("detections") or []
    for (photo, index), taxa in answers.items():
        if not 1 <= index <= len(rows.get(photo, ())):
            raise ValueError(f"the document has no detection {index} of {photo!r}")
        best_first = sorted(taxa, key=lambda pair: -pair[1])
        rows[photo][index - 1]["classifications"] = [
            [ids.of(taxon), round(float(share), 5)] for taxon, share in best_first
        ]
    return made


def document_of(
    found: DetectionFile,
    answers: Mapping[tuple[str, int], Sequence[tuple[Taxon, float]]],
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """A new document with the detections of a file in another format.

    Photographs without a box are left out: no detector looked at them.

    Args:
      found: of the other file. Detections that are neither animal, human nor vehicle
        are left out.
      answers: as in `classify`, by positions in the other file.
      info: of the document.
    """
    boxed = {one.file for one in found.detections}
    images: dict[str, dict[str, Any]] = {
        photo: {"file": photo, "detections": []}
        for photo in found.photos
        if photo in boxed
    }
    for photo, reason in found.failures.items():
        images[photo] = {"file": photo, "detections": None, "failure": reason}
    moved = {}
    for one in found.detections:
        if one.kind not in _CATEGORIES:
            continue
        x0, y0, x1, y1 = one.box
        rows = images[one.file]["detections"]
        rows.append(
            {
                "category": _CATEGORIES[one.kind],
                "conf": 1.0 if one.confidence is None else one.confidence,
                "bbox": [round(value, 6) for value in (x0, y0, x1 - x0, y1 - y0)],
            }
        )
        moved[one.file, one.index] = one.file, len(rows)
    document = {
        "info": {"format_version": "1.4"},
        "detection_categories": dict(_CATEGORY_NAMES),
        "images": list(images.values()),
    }
    here = {moved[place]: taxa for place, taxa in answers.items()}
    return classify(document, here, info)


class _CategoryIds:
    """Ids of classification categories; new taxa get the next free ones."""

    def __init__(self, document: dict[str, Any]):
        self._names = document.setdefault("classification_categories", {})
        self._described = document.setdefault(
            "classification_category_descriptions", {}
        )
        self._ids: dict[str, str] = {
            text: key for key, text in self._described.items() if key in self._names
        }
        for key, name in self._names.items():
            self._described.setdefault(key, name)
        used = [int(key) for key in self._names if str(key).isdigit()]
        self._next = max(used, default=-1) + 1

    def of(self, taxon: Taxon) -> str:
        described = taxon.description
        if described not in self._ids:
            key = self._ids[described] = str(self._next)
            self._next += 1
            self._names[key] = taxon.name
            self._described[key] = described
        return self._ids[described]


def _categories(document, path) -> tuple[dict[str, str], dict[str, str]]:
    """Names by id, of detections and of classifications."""
    tables = []
    for field in ("detection_categories", "classification_categories"):
        table = document.get(field) or {}
        if not isinstance(table, dict):
            raise UserError(f"{path}: {field} is no table of names by id.")
        tables.append({str(key): str(name) for key, name in table.items()})
    if not isinstance(document["images"], list):
        raise UserError(f"{path}: images is no list, as {FORMAT} has it.")
    return tables[0], tables[1]


def _file_of(image) -> str:
    if not isinstance(image, dict) or not isinstance(image.get("file"), str):
        raise Fault("the photograph has no file name")
    return detections.slashed(image["file"])


def _detections_of(image) -> list | None:
    """Detections of a photograph; None if the detector failed."""
    rows = image.get("detections")
    if rows is not None and not isinstance(rows, list):
        raise Fault("detections are no list")
    return None if image.get("failure") else rows


def _detection(photo, index, row, categories, names) -> Detection:
    if not isinstance(row, dict):
        raise Fault("the detection is no object")
    category = categories.get(str(row.get("category")))
    if category is None:
        raise Fault("the category is not among detection_categories")
    box = row.get("bbox")
    if not isinstance(box, list):
        raise Fault("the detection has no bbox")
    return Detection(
        photo,
        detections.box_from_corner(box),
        category,
        detections.confidence_of(row.get("conf")),
        index,
        _classifications(row.get("classifications") or (), names),
    )


def _classifications(rows, names) -> tuple[tuple[str, float], ...]:
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise Fault("a classification is no pair of id and score")
        name = names.get(str(row[0]))
        if name is None:
            raise Fault("a classification is not among classification_categories")
        found.append((name, detections.confidence_of(row[1])))
    return tuple(found)


def _part(text: str) -> str:
    return text.replace(";", ",").strip()
