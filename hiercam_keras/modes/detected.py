"""Crops of the animals that a file of detections has, in place of whole pictures."""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras.cache_folder import cache_folder
from hiercam_keras.data import (
    crops,
    detection_files,
    grouping,
    splits,
)
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.detections import DetectionFile
from hiercam_keras.modes.settings import DETECTIONS, Settings

HEADER = (
    *("x0", "y0", "x1", "y1", "detection_confidence"),
    *("crop_x0", "crop_y0", "crop_x1", "crop_y1"),
    "box_seen",  # share of the box that the network sees, see `crops.box_seen`
)


def read(config: Any) -> DetectionFile | None:
    """The detections of `config.detections`; None if it names no file."""
    section = config.get("detections") or {}
    if not section.get("file", ""):
        return None
    share = config.data.get("max_unread_share", detection_files.MAX_UNREAD)
    cache = cache_folder(config.data.get("cache_dir"))
    return detection_files.read(Path(section["file"]), cache, share)


def of_source(source: Any, config: Any, found: DetectionFile | None) -> Any:
    """A `data.sources.Source` of records of crops; unchanged without detections.

    Args:
      source: of whole pictures.
      config: of the run.
      found: result of `read`.

    Raises:
      UserError: see `data.crops.crop`.
    """
    if found is None:
        return source
    records, said = _cropped(source.records, found, config, source.root)
    credits = {
        record.example_id: source.stated[picture]
        for record in records
        if (picture := picture_of(record)) in source.stated
    }
    return dataclasses.replace(
        source,
        records=tuple(records),
        stated=credits,
        cropped=said,
        detections=found.digest,
    )


def warn_of_changes(source: Any, config: Any, record: Mapping[str, Any]) -> None:
    """Logs where the file of detections is that of the training, with other boxes.

    Args:
      source: of crops.
      config: of the run, with what the command line changes.
      record: of the run.
    """
    before = record.get("detections_sha256")
    trained = (record["config"].get("detections") or {}).get("file", "")
    if not before or not source.detections or config.detections.file != trained:
        return
    if source.detections != before:
        logging.warning(
            "%s has other photographs or boxes than at the training, so crops may be "
            "other ones. Results are of the file as it is now",
            trained,
        )


def load_photos(settings: Settings, config: Any) -> list[Record]:
    """Records of --image, or of the animals in them where --detections is given.

    Raises:
      UserError: see `data.sources.photos.load_photos` and `data.crops.crop`.
    """
    records = photos.load_photos(settings.image, config.data.get("cache_dir"))
    if settings.overrides.get(DETECTIONS):
        root = photos.folder_of(settings.image)
        return _cropped(records, read(config), config, root)[0]
    if (config.get("detections") or {}).get("file", ""):
        logging.warning(
            "the network was trained on crops of animals, and the photographs of "
            "--image are taken whole: give the boxes of theirs with --detections"
        )
    return records


def split_of(split: splits.Split, records: Sequence[Record]) -> splits.Split:
    """A split of whole pictures as one of the animals in them.

    It is unchanged where the records are whole pictures, or the split has crops.
    """
    animals: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.detection is not None:
            animals[picture_of(record)].append(record.example_id)
    known = {*split.train, *split.val, *split.test, *split.calibration}
    if not animals or any(record.example_id in known for record in records):
        return split
    parts = {
        name: tuple(one for id in getattr(split, name) for one in animals.get(id, ()))
        for name in (*splits.NAMES, splits.CALIBRATION)
    }
    return dataclasses.replace(split, **parts)


def picture_of(record: Record) -> str:
    """The example_id of the whole picture."""
    if record.detection is None:
        return record.example_id
    return record.example_id.rpartition("#")[0]


def with_boxes(
    header: Sequence[str], rows: Sequence[Sequence[Any]], records: Sequence[Record]
) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    """Header and rows with the boxes of crops; unchanged if there are no crops.

    Args:
      header: of the rows.
      rows: the first cell is the example_id.
      records: of the images.
    """
    if all(record.detection is None for record in records):
        return tuple(header), list(rows)
    boxes = {record.example_id: _cells(record) for record in records}
    return (*header, *HEADER), [[*row, *boxes[row[0]]] for row in rows]


def _cells(record: Record) -> list[float | None]:
    """Values of `HEADER`, None where it is no crop; places are pixels of the whole
    picture."""
    if record.detection is None:
        return [None] * len(HEADER)
    box = record.detection.box_in(record.width, record.height)
    confidence = record.detection.confidence
    seen = round(crops.box_seen(record), 3)
    return [*(round(value, 2) for value in box), confidence, *record.crop, seen]


def check_whole(config: Any) -> None:
    """A UserError where the images are crops: they show where an animal is."""
    if file := (config.get("detections") or {}).get("file", ""):
        raise UserError(
            "--mode=localize finds objects in whole pictures, and the network was "
            f"trained on crops of the animals of {file}. Train a run without "
            "--detections; --mode=cam shows maps of this one in the whole pictures."
        )


def identity(records: Sequence[Record]) -> dict[str, str]:
    """What the pixels of crops depend on besides their ids; empty without crops."""
    if all(record.crop is None for record in records):
        return {}
    places = json.dumps([record.crop for record in records])
    return {"animals": hashlib.sha256(places.encode()).hexdigest()}


def about(config: Any, records: Sequence[Record]) -> dict[str, Any]:
    """What crops are, for files that hold results of them; empty without crops."""
    if all(record.crop is None for record in records):
        return {}
    options = crops.Options.of(config.detections)
    return {
        "detections": config.detections.file,
        "detection_threshold": options.threshold,
        "margin": options.margin,
        "crop": options.convention,
    }


def arrays(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """box and crop, float32 (N, 4) in pixels of the pictures; empty without crops."""
    if all(record.crop is None for record in records):
        return {}
    boxes = [record.detection.box_in(record.width, record.height) for record in records]
    return {
        "box": np.array(boxes, np.float32),
        "crop": np.array([record.crop for record in records], np.float32),
    }


def _cropped(
    records: Sequence[Record], found: DetectionFile, config: Any, root: Path
) -> tuple[list[Record], str]:
    options = crops.Options.of(config.detections)
    if not grouping.Choice.of(config.data).of_source:
        found = dataclasses.replace(found, groups={})
    made = crops.crop(records, found, options, root)
    said = made.in_words(options.threshold)
    logging.info("%s: %s", found.path, said)
    return sorted(made.records, key=_by_id), said


def _by_id(record: Record) -> tuple[str, int]:
    """By picture, then by the number of the animal: #10 comes after #9."""
    return picture_of(record), record.detection.index
