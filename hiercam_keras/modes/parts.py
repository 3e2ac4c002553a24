"""Where on the bird a map lies: its energy on each body part, where parts are known."""

from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras.cam import heatmaps
from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import read_labels

SIDE = 64  # cells of the maps on which shares are taken


def label_maps(
    records: Sequence[Record], rows: Sequence[np.ndarray], kind: str
) -> np.ndarray | None:
    """Label images as the model saw them.

    Args:
      records: of the pictures.
      rows: the geometry of each, (7,), as map stores have them.
      kind: "parts_path" or "mask_path".

    Returns:
      (N, SIDE, SIDE) integers; None if one of the pictures has none.
    """
    paths = [getattr(record, kind) for record in records]
    if None in paths or not paths:
        return None
    images = []
    for path, row in zip(paths, rows, strict=True):
        image = geometry.resize_mask(read_labels(path), geometry.Geometry.from_row(row))
        # The labels at the middle of each cell.
        at = ((np.arange(SIDE) + 0.5) * len(image) / SIDE).astype(int)
        images.append(image[np.ix_(at, at)])
    return np.stack(images)


def shares(
    cams: np.ndarray, parts: np.ndarray, labels: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Share of each map's energy on each part.

    Args:
      cams: signed maps (..., N, h, w).
      parts: label images (N, SIDE, SIDE).
      labels: name of the part -> its label.

    Returns:
      name of the part -> (..., N), NaN for a map without energy.
    """
    energy = heatmaps.energy(cams, SIDE)
    nothing = energy.sum((-2, -1)) == 0
    return {
        name: np.where(nothing, np.nan, (energy * (parts == label)).sum((-2, -1)))
        for name, label in labels.items()
    }


def areas(parts: np.ndarray, labels: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Share of each picture that each part covers: name -> (N,)."""
    return {name: (parts == label).mean((1, 2)) for name, label in labels.items()}


def word(part: str) -> str:
    """A part's name as one says it."""
    return part.replace("_", " and ") if part == "bill_tail" else part.replace("_", " ")
