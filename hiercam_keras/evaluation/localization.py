"""Scores the maps of a store with boxes and masks, shard by shard."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import wording
from hiercam_keras.cam import heatmaps, profiles, store
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.ground_truth import Marked, check_sizes, in_map
from hiercam_keras.metrics.localization_accumulator import Looked, Tally
from hiercam_keras.progress import progress
from hiercam_keras.taxonomy.lineage import Lineage, unnamed_below
from hiercam_keras.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Scored:
    """The result of one pass over a store.

    Attributes:
      tally: scores of the maps.
      control: scores of a centered Gaussian that does not depend on the image.
      example_ids: of the scored images, in the order of rows of `tally` and `control`.
      boxes: float64 (N, 4), predicted at the threshold, in pixels of the original
      image.
      without_map, without_truth: numbers of images with ground truth but no map, and of
        maps without ground truth.
      degenerate: number of degenerate maps, which are included in the scores.
    """

    tally: Tally
    control: Tally
    example_ids: list[str]
    boxes: np.ndarray
    without_map: int
    without_truth: int
    degenerate: int


def score_store(
    folder: Path,
    marked: Mapping[str, Marked],
    taxonomy: Taxonomy,
    options: Any,
    threshold: float = 0.0,
    name: str = "localize",
) -> Scored:
    """Scores every map of an image with a box or a mask, in constant memory.

    Args:
      folder: of a map store; its first target is scored.
      marked: ground truth by example id.
      taxonomy: its finest rank defines the groups.
      options: the config's `localize`.
      threshold: of predicted boxes, 0..1.
      name: of the task, for progress.

    Raises:
      UserError: no image has both a map and a box or mask, or their sizes differ.
    """
    maps = store.open(folder)
    ids = [one for one in maps.example_ids if one in marked]
    if not ids:
        example = next(iter(maps.example_ids), "none")
        raise UserError(
            f"none of {wording.count(len(maps), 'map')} in {folder} is of one of the "
            f"{len(marked)} "
            f"images with a box or a mask: the store has {example!r}, the truth "
            f"{next(iter(marked))!r}. Are the image ids those of this data set?"
        )
    at = {one: row for row, one in enumerate(maps.example_ids)}
    rows = maps.column("geometry")
    check_sizes(marked, {one: rows[at[one]] for one in ids})
    count = taxonomy.num_labels(taxonomy.finest)
    tally, control = (Tally(count, tolerance=options.tolerance) for _ in range(2))
    middle: dict[tuple[int, ...], Looked] = {}
    boxes = np.full((len(ids), 4), np.nan)
    degenerate = 0
    for number, one in enumerate(progress(ids, len(ids), name, unit="map")):
        entry, about = maps.get(one), marked[one]
        truth = in_map(about, options.size)
        group = taxonomy.label(whole(about.lineage), taxonomy.finest)
        looked = look(tally, entry.cam[0], options)
        tally.add(looked, truth, group, threshold)
        shape = entry.cam[0].shape
        if shape not in middle:
            middle[shape] = look(control, center_gaussian(shape), options)
        control.add(middle[shape], truth, group, threshold)
        size = _size(about, rows[at[one]], options.size)
        boxes[number] = predicted_box(tally, looked, threshold) * np.tile(size, 2)
        degenerate += bool(entry.degenerate[0])
    return Scored(
        tally,
        control,
        ids,
        boxes,
        len(marked) - len(ids),
        len(maps) - len(ids),
        degenerate,
    )


def whole(lineage: Lineage) -> Lineage:
    """A lineage down to the finest rank: "Ardea sp." where no species is known."""
    if not lineage.is_partial:
        return lineage
    known = lineage.prefix(lineage.finest)
    below = (unnamed_below(known[-1]),) * (len(lineage.ranks) - len(known))
    return dataclasses.replace(lineage, taxa=(*known, *below))


def predicted_box(tally: Tally, looked: Looked, threshold: float) -> np.ndarray:
    """Box x0, y0, x1, y1 of the largest region, in pixels of the map."""
    level = looked.boxes.level[tally.boxes.nearest(threshold)]
    return looked.boxes.boxes[looked.boxes.largest[level]]


def center_gaussian(shape: tuple[int, int]) -> np.ndarray:
    """The control cam (h, w): a Gaussian, standard deviation 1/4 of each side."""
    offsets = [(np.arange(n) + 0.5) / n - 0.5 for n in shape]
    down, across = (np.exp(-0.5 * (offset / 0.25) ** 2) for offset in offsets)
    return np.outer(down, across)


def look(tally: Tally, cam: np.ndarray, options: Any) -> Looked:
    """What `Tally.look` finds of a cam (h, w), at the size of `options`."""
    size = int(options.size)
    score = profiles.postprocess(cam[None], size, options.profile)[0]
    return tally.look(score, heatmaps.energy(cam[None], size)[0])


def _size(about: Marked, row: np.ndarray, side: int) -> np.ndarray:
    """Original pixels per pixel of the map, across and down; NaN if not known."""
    width, height = about.width, about.height
    if not width:
        width, height = row[:2]
    return np.array([width, height], np.float64) / side
