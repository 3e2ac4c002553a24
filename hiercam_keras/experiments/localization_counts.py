"""Localization counts of a model's maps, by species.

Images are whole, resized without a crop, and the ground truth is that of
--mode=localize: boxes, masks, or lists of metadata in the format of Choe et al. Only
counts are kept: hits by threshold for MaxBoxAccV2 and pixel histograms for PxAP, for
each species, so that species can be resampled.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam import profiles
from hiercam_keras.data import loader
from hiercam_keras.metrics.localization import (
    IOU_THRESHOLDS,
    BoxCounts,
    PixelCounts,
    localize,
)
from hiercam_keras.metrics.localization_accumulator import pxap_of
from hiercam_keras.modes.load import RunData, with_fields
from hiercam_keras.modes.localize import marked_by_run
from hiercam_keras.modes.localize_truth import in_map
from hiercam_keras.progress import progress


@dataclass(frozen=True)
class Found:
    """Counts of G species; T thresholds, 3 IoUs.

    Attributes:
      best: int64 (G, 3, T), images whose best box is right.
      images: int64 (G,), images with a box.
      inside, outside: int64 (G, bins) pixel histograms of the images with a mask.
      masked: int64 (G,), images with a mask.
    """

    best: np.ndarray
    images: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    masked: np.ndarray


def count(
    explain: Any,
    ask: Callable[[loader.Batch], Any],
    data: RunData,
    split: str,
    method: str,
    rank: str,
) -> Found:
    """Localizes every image of a split that has a box or a mask.

    Args:
      explain: an Explainer.
      ask: maps a batch, which has labels at `rank`, to its CAM targets.
      data: the images.
      split: train, val or test.
      method: CAM method.
      rank: of the model.

    Raises:
      UserError: no image has a box or a mask.
    """
    options = data.config.localize
    marked = marked_by_run(data, split, options)
    records = [one for one in data.records(split) if one.example_id in marked]
    finest = data.taxonomy.ranks[-1]
    lineages = [record.lineage for record in records]
    labels = {
        one: np.asarray(data.taxonomy.labels(lineages, one), np.int32)
        for one in {finest, rank}
    }
    num_groups = data.taxonomy.num_labels(finest)
    counts = BoxCounts(num_groups=num_groups)
    pixels = [PixelCounts() for _ in range(num_groups)]
    masked = np.zeros(num_groups, np.int64)
    fed = loader.make_loader(
        records,
        labels,
        with_fields(
            data.config.data, batch_size=data.config.cam.batch_size, cache_mb=0
        ),
        seed=data.config.seed,
        layout="localization",
    )
    with fed:
        for batch in progress(
            fed.epoch(0), len(records), "boxes", count=lambda b: b.mask.sum()
        ):
            cams = explain(batch.images, ask(batch), method).cams[:, 0]
            scores = profiles.postprocess(cams, options.size, options.profile)
            for row in np.flatnonzero(batch.mask):
                truth = in_map(marked[batch.example_ids[row]], options.size)
                group = batch.labels[finest][row]
                if len(truth.boxes):
                    counts.add_localized(localize(scores[row], truth.boxes), group)
                if truth.mask is not None:
                    pixels[group].add(scores[row], truth.mask)
                    masked[group] += 1
    sides = [np.array([getattr(p, side) for p in pixels]) for side in _SIDES]
    return Found(counts.best.astype(np.int64), counts.images, *sides, masked)


def columns(found: Found, what: str) -> np.ndarray:
    """The (G, D) summands of `max_box_acc_v2` or `pxap`."""
    if what == "boxes":
        return np.concatenate(
            [found.images[:, None], found.best.reshape(len(found.images), -1)], axis=1
        )
    return np.concatenate([found.inside, found.outside], axis=1)


def max_box_acc_v2(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 1 + 3 T) of `columns` -> (R,): mean over the IoUs of the best share of
    images with a right best box (Choe et al. 2020, arXiv:2001.07437). The thresholds
    are oracles on these very images."""
    shares = sums[:, 1:] / sums[:, :1]
    curves = shares.reshape(len(sums), len(IOU_THRESHOLDS), -1)
    return curves.max(axis=2).mean(axis=1)


def at_thresholds(thresholds: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """`max_box_acc_v2` at given thresholds: their indices, one for each IoU."""

    def figure(sums: np.ndarray) -> np.ndarray:
        shares = sums[:, 1:] / sums[:, :1]
        curves = shares.reshape(len(sums), len(IOU_THRESHOLDS), -1)
        return curves[:, np.arange(len(thresholds)), thresholds].mean(axis=1)

    return figure


def pxap(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 2 bins) of `columns` -> (R,) areas under the pixels' precision-recall
    curve (Choe et al. 2020)."""
    return pxap_of(*np.split(sums, 2, axis=1))


def prevalence(found: Found) -> float:
    """Share of the object's pixels: PxAP of a constant map."""
    inside, outside = found.inside.sum(), found.outside.sum()
    return float(inside / (inside + outside)) if inside + outside else float("nan")


def whole_image_box(data: RunData, split: str) -> float:
    """MaxBoxAccV2 of a box around the whole image, the baseline without a map; NaN
    where there are no boxes."""
    hits, total = np.zeros(len(IOU_THRESHOLDS)), 0
    for one in marked_by_run(data, split, data.config.localize).values():
        if one.boxes:
            area = one.width * one.height
            best = max((x1 - x0) * (y1 - y0) / area for x0, y0, x1, y1 in one.boxes)
            hits += best >= np.asarray(IOU_THRESHOLDS)
            total += 1
    return float(hits.mean() / total) if total else float("nan")


def save(path: Path, found: Found) -> None:
    """Writes arrays that `numpy.load` reads without pickle, atomically."""
    with workdir.atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, **{field.name: getattr(found, field.name) for field in _FIELDS}
        )


def load(path: Path) -> Found:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Found(**{field.name: file[field.name] for field in _FIELDS})


_FIELDS = fields(Found)
_SIDES = ("inside", "outside")
