"""experiments: how well the maps of a model find the object, counted by species.

Images are looked at whole, resized without a crop, as in the literature on weakly
supervised localization. Only counts stay: hits by threshold for MaxBoxAccV2 and pixel
histograms for PxAP, for each species, so that species can be resampled.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam import heatmaps
from hiercam_keras.data import geometry, loader
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import read_labels
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.localization import (
    IOU_THRESHOLDS,
    BoxCounts,
    PixelCounts,
    localize,
)
from hiercam_keras.modes.load import RunData, with_fields
from hiercam_keras.progress import progress

MAP_SIDE = 224  # of the maps that boxes are cut out of, as the reference evaluator's


@dataclass(frozen=True)
class Found:
    """Counts of G species; T thresholds, 3 IoUs.

    Attributes:
      best: int64 (G, 3, T), images whose best box is right.
      images: int64 (G,), with a box.
      inside, outside: int64 (G, bins) pixel histograms; empty (G, 0) without masks.
    """

    best: np.ndarray
    images: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def count(explain: Any, targets: Any, data: RunData, split: str, method: str) -> Found:
    """Localizes every image of a split that has a box.

    Raises:
      UserError: no image has one.
    """
    records = [record for record in data.records(split) if record.boxes]
    if not records:
        raise UserError(
            f"no {split} image in {data.source.root} has a box, so localization cannot "
            "be measured. See docs/USAGE.md for boxes.csv."
        )
    by_id = {record.example_id: record for record in records}
    finest = data.taxonomy.ranks[-1]
    species = np.asarray(
        data.taxonomy.labels([record.lineage for record in records], finest), np.int32
    )
    num_groups = data.taxonomy.num_labels(finest)
    boxes = BoxCounts(num_groups=num_groups)
    masked = all(record.mask_path is not None for record in records)
    pixels = [PixelCounts() for _ in range(num_groups if masked else 0)]
    fed = loader.make_loader(
        records,
        {finest: species},
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
            cams = explain(batch.images, targets, method).cams[:, 0]
            heat = heatmaps.heatmap(cams, MAP_SIDE)
            for row in np.flatnonzero(batch.mask):
                record, group = by_id[batch.example_ids[row]], batch.labels[finest][row]
                found = localize(heat[row], _boxes(record, batch.geometry[row]))
                boxes.add_localized(found, group)
                if masked:
                    mask = _mask(record, batch.geometry[row])
                    pixels[group].add(heat[row], mask)
    sides = [
        np.array([getattr(one, name) for one in pixels]).reshape(num_groups, -1)
        for name in ("inside", "outside")
    ]
    return Found(boxes.best.astype(np.int64), boxes.images, *sides)


def _boxes(record: Record, row: np.ndarray) -> np.ndarray:
    """True boxes in pixels of the map, cut to integers as the reference does."""
    seen = geometry.Geometry.from_row(row)
    scale = MAP_SIDE / seen.size
    return (seen.to_input(np.asarray(record.boxes)) * scale).astype(np.int64)


def _mask(record: Record, row: np.ndarray) -> np.ndarray:
    image = read_labels(record.mask_path) > 0
    g = geometry.Geometry.from_row(row)
    larger = geometry.of(g.width, g.height, MAP_SIDE, "localization")
    return geometry.resize_mask(image.astype(np.uint8), larger)


def columns(found: Found, what: str) -> np.ndarray:
    """(G, D) counts that `max_box_acc_v2` or `pxap` takes sums of."""
    if what == "boxes":
        return np.concatenate(
            [found.images[:, None], found.best.reshape(len(found.images), -1)], axis=1
        )
    return np.concatenate([found.inside, found.outside], axis=1)


def max_box_acc_v2(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 1 + 3 T) of `columns` -> (R,): mean over the IoUs of the best share of
    images whose best box is right (Choe et al. 2020, arXiv:2001.07437). The thresholds
    are oracles on these very images."""
    shares = sums[:, 1:] / sums[:, :1]
    curves = shares.reshape(len(sums), len(IOU_THRESHOLDS), -1)
    return curves.max(axis=2).mean(axis=1)


def at_thresholds(thresholds: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """As `max_box_acc_v2` with a threshold's place for each IoU, from elsewhere."""

    def figure(sums: np.ndarray) -> np.ndarray:
        shares = sums[:, 1:] / sums[:, :1]
        curves = shares.reshape(len(sums), len(IOU_THRESHOLDS), -1)
        return curves[:, np.arange(len(thresholds)), thresholds].mean(axis=1)

    return figure


def best_thresholds(found: Found) -> np.ndarray:
    """The place of the best threshold for each IoU: (3,)."""
    return found.best.sum(axis=0).argmax(axis=1)


def pxap(sums: np.ndarray) -> np.ndarray:
    """Sums (R, 2 bins) of `columns` -> (R,) areas under the pixels' curve."""
    areas = []
    for inside, outside in zip(*np.split(sums, 2, axis=1), strict=True):
        counts = PixelCounts()
        counts.inside, counts.outside = inside, outside
        areas.append(counts.pxap())
    return np.array(areas)


def prevalence(found: Found) -> float:
    """Share of the object's pixels: PxAP of a map that knows nothing."""
    inside, outside = found.inside.sum(), found.outside.sum()
    return float(inside / (inside + outside)) if inside + outside else float("nan")


def whole_image_box(data: RunData, split: str) -> float:
    """MaxBoxAccV2 of a box around the whole image: what no map at all scores."""
    hits, total = np.zeros(len(IOU_THRESHOLDS)), 0
    for record in data.records(split):
        if record.boxes:
            area = record.width * record.height
            best = max((x1 - x0) * (y1 - y0) / area for x0, y0, x1, y1 in record.boxes)
            hits += best >= np.asarray(IOU_THRESHOLDS)
            total += 1
    return float(hits.mean() / total)


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
