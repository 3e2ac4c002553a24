"""Localization counts of a model's maps, by species.

Images are whole, resized without a crop, and the ground truth is that of
--mode=localize: boxes, masks, or lists of metadata in the format of Choe et al. Only
counts are kept: hits by threshold for MaxBoxAccV2 and pixel histograms for PxAP, for
each species, so that species can be resampled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam import seeds
from hiercam_keras.evaluation import ground_truth
from hiercam_keras.evaluation.ground_truth import Marked
from hiercam_keras.evaluation.localization import look
from hiercam_keras.evaluation.question import Question
from hiercam_keras.metrics.localization import IOU_THRESHOLDS, box_columns
from hiercam_keras.metrics.localization_accumulator import Tally
from hiercam_keras.modes.load import RunData


@dataclass(frozen=True)
class Found:
    """Counts of G species; T thresholds, 3 IoUs.

    Attributes:
      best: int64 (G, 3, T), images with a correct best box.
      images: int64 (G,), images with a box.
      inside, outside: int64 (G, bins) pixel histograms of the images with a mask.
      masked: int64 (G,), images with a mask.
      sets: int64 (G,), the species that are resampled together, as they share a group
        of images: the smallest label of each set.
    """

    best: np.ndarray
    images: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    masked: np.ndarray
    sets: np.ndarray


def count(explain: Any, question: Question, data: RunData, split: str) -> Found:
    """Localizes every image of a split that has a box or a mask.

    Args:
      explain: an Explainer.
      question: that the scored maps answer.
      data: the images.
      split: train, val or test.

    Raises:
      UserError: no image has a box or a mask.
    """
    options = data.config.localize
    marked = ground_truth.of_run(data, split)
    records = [one for one in data.records(split) if one.example_id in marked]
    finest = data.taxonomy.ranks[-1]
    tally = Tally(data.taxonomy.num_labels(finest))
    batch_size = data.config.cam.batch_size
    for batch, rows in data.batches(records, "boxes", batch_size, "localization"):
        asked = question.asks(batch.labels)
        drawn = seeds.of_ids(batch.example_ids)
        cams = explain(batch.images, asked, question.method, seeds=drawn).cams[:, 0]
        for row in rows:
            truth = ground_truth.in_map(marked[batch.example_ids[row]], options.size)
            looked = look(tally, cams[row], options)
            tally.add(looked, truth, int(batch.labels[finest][row]))
    pixels = tally.pixels["mask"]
    groups = tally.column("group")[np.isfinite(tally.column("mask_area"))]
    return Found(
        tally.boxes.best.astype(np.int64),
        tally.boxes.images,
        pixels.inside,
        pixels.outside,
        np.bincount(groups.astype(int), minlength=len(pixels.inside)),
        sets_of(data, marked),
    )


def sets_of(data: RunData, marked: Mapping[str, Marked]) -> np.ndarray:
    """`Found.sets` of images with ground truth."""
    finest = data.taxonomy.ranks[-1]
    labels = [data.taxonomy.label(one.lineage, finest) for one in marked.values()]
    count = data.taxonomy.num_labels(finest)
    return ground_truth.resampled(list(marked.values()), labels, count)[1]


def columns(found: Found, what: str) -> np.ndarray:
    """The (G, D) summands of `box_accuracy` for "boxes", of `pxap_of` for "pixels"."""
    if what == "boxes":
        return box_columns(found.images, found.best)
    return np.concatenate([found.inside, found.outside], axis=1)


def prevalence(found: Found) -> float:
    """Share of the object's pixels: PxAP of a constant map."""
    inside, outside = found.inside.sum(), found.outside.sum()
    return float(inside / (inside + outside)) if inside + outside else float("nan")


def whole_image_box(data: RunData, split: str) -> float:
    """MaxBoxAccV2 of a box around the whole image, the baseline without a map; NaN
    where there are no boxes."""
    hits, total = np.zeros(len(IOU_THRESHOLDS)), 0
    for one in ground_truth.of_run(data, split).values():
        if one.boxes:
            area = one.width * one.height
            best = max((x1 - x0) * (y1 - y0) / area for x0, y0, x1, y1 in one.boxes)
            hits += best >= np.asarray(IOU_THRESHOLDS)
            total += 1
    return float(hits.mean() / total) if total else float("nan")


def save(path: Path, found: Found) -> None:
    """Writes the counts as arrays that `numpy.load` reads without pickle, atomically.

    The sets depend on the groups of today, and are not written.
    """
    with workdir.atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, **{field.name: getattr(found, field.name) for field in _FIELDS}
        )


def load(path: Path, sets: np.ndarray) -> Found:
    """Reads what `save` wrote; `sets` are those of `sets_of`."""
    with np.load(path, allow_pickle=False) as file:
        counts = {field.name: file[field.name] for field in _FIELDS}
    return Found(**counts, sets=sets)


_FIELDS = [field for field in fields(Found) if field.name != "sets"]
