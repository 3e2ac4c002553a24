"""Objects and body parts of a picture, in cells of the model's input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import Evidence, label_cells
from hiercam_keras.maps import SIDE
from hiercam_keras.metrics.maps import box_coverage

MASK, BOX, UNKNOWN = "mask", "box", ""


@dataclass(frozen=True)
class Regions:
    """What is known of N pictures.

    Attributes:
      objects: float64 (N, SIDE, SIDE), share of each cell that the object covers,
        0 .. 1; NaN where neither a mask nor a box is known.
      kinds: (N,) text, where `objects` comes from: "mask", "box" or "".
      parts: int (N, SIDE, SIDE), labels of the parts, 0 is the background; None where
        a picture has no part image.
    """

    objects: np.ndarray
    kinds: np.ndarray
    parts: np.ndarray | None

    def object_area(self) -> np.ndarray:
        """Share of each picture that is object: (N,), NaN where it is unknown."""
        return self.objects.mean((1, 2))


def part_labels(evidence: Evidence | None, records: Sequence[Record]) -> dict[str, int]:
    """ "part_<rank>" -> the label of the part that carries the rank.

    Args:
      evidence: rank -> (part, label), of the data; None if unknown.
      records: of the pictures; {} unless each has a part image.
    """
    if not evidence or not all(record.parts_path for record in records):
        return {}
    return {f"part_{rank}": label for rank, (_, label) in evidence.items()}


def of_pictures(
    records: Sequence[Record], rows: Sequence[np.ndarray], parts: bool = False
) -> Regions:
    """Reads masks, boxes and part images of N pictures.

    Args:
      records: of the pictures.
      rows: the geometry of each, (7,), as map stores and batches hold it.
      parts: whether part images are read.
    """
    return Regions(
        *object_cells(records, rows, SIDE), part_cells(records, rows) if parts else None
    )


def object_cells(
    records: Sequence[Record], rows: Sequence[np.ndarray], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """`Regions.objects` and `Regions.kinds` at `side` x `side` cells."""
    found = np.full((len(records), side, side), np.nan)
    kinds = np.full(len(records), UNKNOWN, "<U4")
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        window = geometry.Geometry.from_row(row)
        if record.mask_path is not None:
            found[number] = label_cells(record.mask_path, window, side) > 0
            kinds[number] = MASK
        elif record.boxes:
            boxes = window.to_input(np.array(record.boxes)) * (side / window.size)
            # Boxes may overlap: a cell is object as far as one of them covers it.
            found[number] = box_coverage(boxes, (side, side)).max(axis=0)
            kinds[number] = BOX
    return found, kinds


def part_cells(
    records: Sequence[Record], rows: Sequence[np.ndarray]
) -> np.ndarray | None:
    """`Regions.parts`: None if one of the pictures has no part image."""
    paths = [record.parts_path for record in records]
    if None in paths or not paths:
        return None
    windows = map(geometry.Geometry.from_row, rows)
    pairs = zip(paths, windows, strict=True)
    return np.stack([label_cells(path, window, SIDE) for path, window in pairs])
