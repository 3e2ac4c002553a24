"""Detections: boxes of animals, people and vehicles in photographs, of any format.

The readers of this folder give `Detection`s. Boxes are relative to the sides of the
photograph as displayed, so that no reader opens a photograph.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hiercam_keras.exchange.rows import RowLog, Unread

RelativeBox = tuple[float, float, float, float]

# What a detection shows, as far as it decides about cropping.
ANIMAL, BLANK, HUMAN, VEHICLE, UNKNOWN = KINDS = (
    "animal",
    "blank",
    "human",
    "vehicle",
    "unknown",
)
_WORDS = {
    BLANK: {"blank", "empty", "nothing", "none", "no animal", "misfire"},
    HUMAN: {"human", "person", "people", "homo sapiens", "man", "pedestrian"},
    VEHICLE: {
        *("vehicle", "car", "truck", "bus", "motorcycle", "bicycle", "train"),
        *("boat", "airplane", "atv", "bike", "motorbike"),
    },
    UNKNOWN: {"unknown", "unclassified", "unidentified"},
}
# A box may exceed the photograph by this share of a side: numbers are rounded.
EDGE_SLACK = 0.01


class Fault(Exception):
    """A row that cannot be read: the reason, and the value at fault, see `Unread`."""

    def __init__(self, reason: str, found: object = ""):
        super().__init__(f"{reason} ({found})" if found != "" else reason)
        self.reason = reason
        self.found = str(found)


@dataclass(frozen=True, slots=True)
class Detection:
    """One box in a photograph.

    Attributes:
      file: the photograph, as the source names it, separated by slashes.
      box: x0, y0, x1, y1 as shares 0..1 of the sides of the photograph as displayed.
      category: what it shows, in the words of the source: "animal", "person", "deer".
      confidence: of the detector, 0..1; None for a box without one (a person's).
      index: position in the source's list of the photograph's detections, from 1.
      classifications: (taxon, probability), in the order of the source, which need not
        be that of the probabilities.
    """

    file: str
    box: RelativeBox
    category: str
    confidence: float | None
    index: int
    classifications: tuple[tuple[str, float], ...] = ()

    @property
    def kind(self) -> str:
        """One of KINDS; a category that is no other kind is an animal."""
        return kind_of(self.category)

    @property
    def label(self) -> str:
        """What people say that it is; of a detector's box its category."""
        if self.confidence is None and self.classifications:
            return max(self.classifications, key=lambda one: one[1])[0]
        return self.category

    def box_in(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The box in pixels of a photograph: x0, y0, x1, y1."""
        x0, y0, x1, y1 = self.box
        return x0 * width, y0 * height, x1 * width, y1 * height


@dataclass(frozen=True)
class DetectionFile:
    """The detections of one file.

    Attributes:
      path: of the file.
      format: name of its format, for messages.
      photos: all photographs that it lists, with and without detections.
      detections: that can be read, in the order of the file.
      failures: reason by photograph that the detector could not read.
      rows: of the file, those with a fault and the number of the others.
      groups: sequence, event or location by photograph, where the file has them.
    """

    path: Path
    format: str
    photos: tuple[str, ...]
    detections: tuple[Detection, ...]
    failures: Mapping[str, str]
    rows: RowLog
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def unread(self) -> list[Unread]:
        """Rows with a fault."""
        return self.rows.unread


def slashed(name: str) -> str:
    """A file name separated by slashes, without ./ at its start."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def kind_of(category: str) -> str:
    """One of KINDS for a category in the words of a source."""
    word = " ".join(category.replace("_", " ").casefold().split())
    return next((kind for kind, words in _WORDS.items() if word in words), ANIMAL)


def words_of(kind: str) -> frozenset[str]:
    """Categories of a kind, in lower case; none of ANIMAL, which all others are."""
    return frozenset(_WORDS.get(kind, ()))


def box_from_corner(numbers: Sequence[object]) -> RelativeBox:
    """x0, y0, x1, y1 of relative x, y, width, height, cut at the photograph's edge.

    Raises:
      Fault: the numbers are no box, or it exceeds the photograph by more than
        `EDGE_SLACK`.
    """
    if len(numbers) != 4:
        raise Fault("a box has 4 numbers", len(numbers))
    x, y, width, height = (_number(value) for value in numbers)
    shown = ", ".join(f"{value:g}" for value in (x, y, width, height))
    if width <= 0 or height <= 0:
        raise Fault("the box has no area", shown)
    corners = x, y, x + width, y + height
    if min(corners) < -EDGE_SLACK or max(corners) > 1 + EDGE_SLACK:
        raise Fault(
            "the box, relative to the photograph's sides, goes beyond its edge", shown
        )
    x0, y0, x1, y1 = (min(1.0, max(0.0, value)) for value in corners)
    if x1 <= x0 or y1 <= y0:
        raise Fault("the box has no area inside of the photograph", shown)
    return x0, y0, x1, y1


def confidence_of(value: object) -> float:
    """A confidence or probability 0..1; a little above 1 is rounding.

    Raises:
      Fault: it is no such number.
    """
    number = _number(value)
    if not -1e-3 <= number <= 1 + 1e-3:
        raise Fault("the score is not in 0..1", f"{number:g}")
    return min(1.0, max(0.0, number))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault("a number is expected", repr(value))
    if not math.isfinite(value):
        raise Fault("a finite number is expected", value)
    return float(value)
