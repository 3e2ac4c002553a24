"""Crops of detected animals: records of pictures become records of their animals.

The convention of a crop: a square around the middle of the box, with the longer side of
the box and a margin on each side, a share of that side. It is moved into the picture
where it goes beyond the edge, and cut where the picture is smaller. Corners are whole
pixels. With the default margin of 0.1 the whole box is in the middle of the crop that a
network sees (224 / 256 of it).
"""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hiercam_keras import wording
from hiercam_keras.data import geometry
from hiercam_keras.data.records import Box, Record
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import detections
from hiercam_keras.exchange.detections import Detection, DetectionFile

_SHOWN = 3  # names in a message
_MAX_MARGIN = 5.0
FLAG = "--detections"


class Options(NamedTuple):
    """How crops are made.

    Attributes:
      threshold: least confidence of a detection, 0..1.
      margin: around the box on each side, a share of its longer side.
    """

    threshold: float = 0.2
    margin: float = 0.1

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "Options":
        """The options of the config's `detections`.

        Raises:
          UserError: a field is out of its range.
        """
        options = cls(float(section["threshold"]), float(section["margin"]))
        for name, most in (("threshold", 1.0), ("margin", _MAX_MARGIN)):
            value = getattr(options, name)
            if not 0 <= value <= most:
                raise UserError(
                    f"detections.{name} is {value:g}, expected 0 .. {most:g}."
                )
        return options

    @property
    def convention(self) -> str:
        """What a crop is, for files that hold crops."""
        return (
            f"square, {1 + 2 * self.margin:g} times the longer side of the box, "
            "centered on it, moved into the picture and cut where the picture is "
            "smaller; corners in whole pixels"
        )


class Crops(NamedTuple):
    """Records of animals, and what was left out.

    Attributes:
      records: one for each animal, in the order of the pictures.
      pictures: number of pictures with an animal.
      blank: example_ids of pictures without a box of one.
      boxes_left_out: number of boxes by kind ("human"), by "faint" for animals below
        the threshold, and by "mixed" for those of pictures with a label whose boxes are
        of several taxa, as their own label is not known.
      failed: reasons by example_id of pictures that the detector could not read.
      unlisted: example_ids of pictures that the file does not list.
    """

    records: tuple[Record, ...]
    pictures: int
    blank: tuple[str, ...]
    boxes_left_out: Mapping[str, int]
    failed: Mapping[str, str]
    unlisted: tuple[str, ...]

    def in_words(self, threshold: float) -> str:
        """One line on what was cropped, how much is cut, and what was left out."""
        said = (
            f"{wording.count(len(self.records), 'crop')} of animals in "
            f"{wording.count(self.pictures, 'picture')}"
        )
        cut = sum(box_seen(record) < _WHOLE for record in self.records)
        if cut:
            said += (
                f", {cut} of them cut by the edge of the picture (a network sees less "
                "than the whole box)"
            )
        left_out = [
            f"{wording.count(count, 'box')} of kind {kind}"
            for kind, count in sorted(self.boxes_left_out.items())
            if kind not in (_FAINT, _MIXED)
        ]
        if mixed := self.boxes_left_out.get(_MIXED):
            left_out.append(
                f"{wording.count(mixed, 'box')} in pictures of several taxa"
            )
        if faint := self.boxes_left_out.get(_FAINT):
            left_out.append(
                f"{wording.count(faint, 'box')} of animals below the threshold "
                f"{threshold:g}"
            )
        for names, why in (
            (self.blank, "without a box of an animal"),
            (tuple(self.failed), "that the detector could not read"),
            (self.unlisted, "that the file does not list"),
        ):
            if names:
                count = wording.count(len(names), "picture")
                left_out.append(f"{count} {why} ({_listed(names)})")
        return f"{said}; left out: {', '.join(left_out)}" if left_out else said


_FAINT, _MIXED = "faint", "mixed"
_WHOLE = 0.99  # of a box: less is not rounding


def box_seen(record: Record) -> float:
    """The share, 0 .. 1, of the area of an animal's box that a network sees.

    At the edge of a picture the box is not in the middle of its crop, or the crop is no
    square, and a network sees the middle square of it.

    Args:
      record: of a crop.
    """
    x0, y0, x1, y1 = record.detection.box_in(record.width, record.height)
    left, top, right, bottom = record.crop
    seen = geometry.seen_part(right - left, bottom - top)
    across = min(x1, left + seen[2]) - max(x0, left + seen[0])
    down = min(y1, top + seen[3]) - max(y0, top + seen[1])
    area = (x1 - x0) * (y1 - y0)
    return min(1.0, max(0.0, across) * max(0.0, down) / area)


def crop_of(box: Box, width: int, height: int, margin: float) -> Box:
    """The crop of a box in a picture, by the convention of this module.

    Args:
      box: x0, y0, x1, y1 in pixels.
      width, height: of the picture, in pixels.
      margin: see `Options`.

    Returns:
      x0, y0, x1, y1 in whole pixels.
    """
    x0, y0, x1, y1 = box
    side = math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin))
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return left, top, right, bottom


def crop(
    records: Sequence[Record], found: DetectionFile, options: Options, root: Path
) -> Crops:
    """Records of the animals that a detector found in pictures.

    The example_id of an animal is that of its picture, #, and the position of its box
    in the file's list of the picture, from 1, so that ids do not depend on the
    threshold. Animals of a picture are in one group: that of the record, else of the
    file, else the picture.

    Args:
      records: of whole pictures.
      found: the detections.
      options: threshold and margin.
      root: folder of the pictures, which example_ids are relative to.

    Raises:
      UserError: the file lists none of the pictures, or a name that may be one of
        several pictures, or no picture has an animal.
    """
    photos = match(records, found, root)
    boxes: dict[str, list[Detection]] = defaultdict(list)
    for one in found.detections:
        boxes[one.file].append(one)
    animals: list[Record] = []
    pictures, blank, failed, unlisted = 0, [], {}, []
    left_out: Counter[str] = Counter()
    for record in records:
        photo = photos.get(record.example_id)
        if photo is None:
            unlisted.append(record.example_id)
            continue
        if photo in found.failures:
            failed[record.example_id] = found.failures[photo]
            continue
        kept = []
        for one in boxes[photo]:
            if one.kind != detections.ANIMAL:
                left_out[one.kind] += 1
            elif one.confidence is not None and one.confidence < options.threshold:
                left_out[_FAINT] += 1
            else:
                kept.append(one)
        if not kept:
            blank.append(record.example_id)
        elif record.lineage is not None and len({one.label for one in kept}) > 1:
            left_out[_MIXED] += len(kept)
        else:
            group = found.groups.get(photo)
            animals += [_animal(record, one, options.margin, group) for one in kept]
            pictures += 1
    made = Crops(
        tuple(animals),
        pictures,
        tuple(blank),
        dict(left_out),
        failed,
        tuple(unlisted),
    )
    if not animals:
        what = (
            f"Is it of other pictures, or of another detector? {FLAG} names the file."
        )
        if left_out[_FAINT]:
            what = "A lower threshold is set with --config.detections.threshold."
        raise UserError(
            f"{found.path} has no animal in any picture of {root}: "
            f"{made.in_words(options.threshold)}. {what}"
        )
    return made


def match(
    records: Sequence[Record], found: DetectionFile, root: Path
) -> dict[str, str]:
    """The file's name of each picture that it lists, by example_id.

    A name may be relative to `root` or to a folder above it, absolute, or of the same
    folders in another place.

    Raises:
      UserError: the file lists none of the pictures, or a name may be one of several.
    """
    by_name: dict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for photo in found.photos:
        parts = _parts(photo)
        if parts:
            by_name[parts[-1]].append((parts, photo))
    photos: dict[str, str] = {}
    owner: dict[str, str] = {}
    base = _parts(Path(root).expanduser().resolve().as_posix())
    for record in records:
        parts = _parts(record.example_id)
        listed = by_name.get(parts[-1], ())
        named = [one for one in listed if _ends(base + parts, one[0])]
        if named:  # the name with most folders is the surest
            photo = max(named, key=lambda one: len(one[0]))[1]
        else:
            moved = [one for one in listed if _ends(one[0], parts)]
            if len(moved) > 1:
                raise UserError(
                    f"{found.path} lists several pictures that may be "
                    f"{record.example_id}: {_listed([one[1] for one in moved])}. Name "
                    "the folder above with --data_dir or --image, so that their paths "
                    "differ."
                )
            if not moved:
                continue
            photo = moved[0][1]
        if photo in owner:
            raise UserError(
                f"{found.path} lists {photo!r}, which may be {owner[photo]} or "
                f"{record.example_id}. Paths in the file need the folders that make "
                "them unique."
            )
        owner[photo] = record.example_id
        photos[record.example_id] = photo
    if records and not photos:
        raise UserError(
            f"{found.path} ({found.format}) lists none of "
            f"{wording.count(len(records), 'picture')} of {root}: it has "
            f"{_listed(found.photos) or 'no picture'}, and these are "
            f"{_listed([record.example_id for record in records])}. Is it of other "
            f"pictures? {FLAG} names the file."
        )
    return photos


def _animal(record: Record, one: Detection, margin: float, group: str | None) -> Record:
    """The record of one animal; truth boxes are those that reach into its crop."""
    box = one.box_in(record.width, record.height)
    part = crop_of(box, record.width, record.height, margin)
    boxes = tuple(other for other in record.boxes if _overlap(other, part))
    if not record.boxes and one.confidence is None:
        boxes = (box,)  # drawn by a person
    return dataclasses.replace(
        record,
        example_id=f"{record.example_id}#{one.index}",
        crop=part,
        detection=one,
        boxes=boxes,
        group=record.group or group or record.example_id,
    )


def _span(middle: float, side: int, length: int) -> tuple[int, int]:
    side = min(side, length)
    low = min(max(0, round(middle - side / 2)), length - side)
    return low, low + side


def _overlap(box: Box, other: Box) -> bool:
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    return across > 0 and down > 0


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePosixPath(path).parts if part != "/")


def _ends(path: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return path[len(path) - len(end) :] == end if len(end) <= len(path) else False


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
