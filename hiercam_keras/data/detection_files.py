"""Opens a file of detections in any format, which its content decides."""

import json
from pathlib import Path
from typing import Any

from hiercam_keras import file_names
from hiercam_keras.data.sources import camtrap_package
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import camtrap_dp, coco, megadetector
from hiercam_keras.exchange.detections import Detection, DetectionFile

_KINDS = "MegaDetector JSON, COCO JSON, or a Camtrap DP package"
_SHOWN = 3  # names in a message
MAX_UNREAD = 0.05  # share of rows, for configs without data.max_unread_share


def read(path: Path, cache: Path, max_unread: float = MAX_UNREAD) -> DetectionFile:
    """The detections of a file or package.

    Args:
      path: of a JSON file, or of a package's folder, archive or datapackage.json.
      cache: where the images of an archive are unpacked.
      max_unread: share of rows that may be unread.

    Raises:
      UserError: the file is missing, of no known format, or too many of its rows
        cannot be read.
    """
    path = Path(path)
    if camtrap_dp.is_package(path):
        found = _of_package(path, cache)
    else:
        document = document_of(path)
        module = megadetector if megadetector.is_document(document) else coco
        found = module.read(document, path)
    found.rows.check(max_unread, file_names.in_full(path))
    return found


def document_of(path: Path) -> dict[str, Any]:
    """The parsed content of a MegaDetector or COCO file.

    Raises:
      UserError: the file is missing or of no known format.
    """
    shown = file_names.in_full(path)
    if not path.exists():
        raise UserError(f"{shown} does not exist: expected {_KINDS}.")
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if one.suffix == ".json")
        named = (
            f" Name one of its files: {', '.join(inside[:_SHOWN])}." if inside else ""
        )
        raise UserError(
            f"{shown} is a folder without {camtrap_dp.DESCRIPTOR}, so no Camtrap DP "
            f"package: expected {_KINDS}.{named}"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise UserError(
            f"{shown} holds no detections: expected {_KINDS}, found what is no JSON "
            f"file ({why})."
        ) from error
    if megadetector.is_document(document) or coco.is_document(document):
        return document
    fields = "a list (another detector's format than MegaDetector's batch format 1.x)"
    if isinstance(document, dict):
        fields = f"the fields {', '.join(list(document)[:6])}"
    raise UserError(
        f"{shown} holds no detections: expected {_KINDS}, found JSON with {fields}. "
        "MegaDetector's format has images and detection_categories; COCO has images, "
        "annotations and categories."
    )


def _of_package(path: Path, cache: Path) -> DetectionFile:
    """Boxes of the observations of level media, with their taxa."""
    place = path.parent if path.name == camtrap_dp.DESCRIPTOR else path
    opened = camtrap_package.open_package(str(place), cache)
    names = opened.tables.files(opened.root)
    found: list[Detection] = []
    groups: dict[str, str] = {}
    for medium in opened.tables.media:
        file = names[medium.id]
        boxed = camtrap_package.boxed(opened.tables.of(medium)[0])
        for index, seen in enumerate(boxed, 1):
            taxa = ((seen.name, 1.0),) if seen.name else ()
            found.append(Detection(file, seen.box, seen.kind, None, index, taxa))
        if event := opened.tables.event(medium):
            groups[file] = event
    return DetectionFile(
        path, "Camtrap DP", tuple(names.values()), tuple(found), {}, opened.log, groups
    )
