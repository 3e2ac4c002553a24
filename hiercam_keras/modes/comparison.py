"""The numbers of a comparison: one row for each picture and each model.

Everything is keyed by example_id and in the order of the split's list, so that pictures
pair across models.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras.cam import heatmaps, store
from hiercam_keras.data import geometry
from hiercam_keras.data.sources.annotations import read_labels
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import agreement, classification, concentration
from hiercam_keras.modes.load import RunData
from hiercam_keras.progress import progress
from hiercam_keras.report import tables

_SIDE = 64  # cells of the maps on which areas, energies and correlations are taken
_CHUNK = 256  # pictures at a time
HOT = 0.5  # a pixel of a min-max heatmap above this is hot


@dataclass(frozen=True)
class Column:
    """One question put to one model.

    Attributes:
      name: unique among the columns.
      rank: whose taxa are asked for.
      depth: sorts finer ranks first.
      asked_of: the rank that the model was trained at, where it is not `rank`.
      data: the run with its images.
      maps: folder of its map store.
    """

    name: str
    rank: str
    depth: int
    asked_of: str | None
    data: RunData
    maps: Path


@dataclass(frozen=True)
class ColumnNumbers:
    """Of one column, arrays over N pictures. Shares and probabilities are 0..1.

    Attributes:
      predicted, true: int32 labels at the column's rank.
      probability: of the prediction.
      degenerate: bool, no heatmap.
      heatmap_area: share of the picture above HOT.
      energy_on_bird: share of the energy on the mask, NaN without one.
      part_energy: part label -> share of the energy on it, where parts are known.
      accuracy, accuracy_interval (95 %), chance: over all pictures.
    """

    predicted: np.ndarray
    true: np.ndarray
    probability: np.ndarray
    degenerate: np.ndarray
    heatmap_area: np.ndarray
    energy_on_bird: np.ndarray
    part_energy: dict[int, np.ndarray]
    accuracy: float
    accuracy_interval: tuple[float, float]
    chance: float


@dataclass(frozen=True)
class Numbers:
    """Of all columns over the same N pictures.

    Attributes:
      example_ids: N.
      by_column: by the column's name.
      bird_area: share of the picture that is bird, NaN without a mask.
      part_area: part label -> share of the picture.
      agreement: mean Pearson correlation between the heatmaps of two models, each
        asked for its own rank.
    """

    example_ids: list[str]
    by_column: dict[str, ColumnNumbers]
    bird_area: np.ndarray
    part_area: dict[int, np.ndarray]
    agreement: np.ndarray


def measure(columns: list[Column], split: str) -> Numbers:
    """Reads the maps of all columns once, a few hundred pictures at a time."""
    readers = [store.open(column.maps) for column in columns]
    known = {record.example_id: record for record in columns[0].data.records(split)}
    ids = [one for one in known if all(one in reader for reader in readers)]
    if not ids:
        raise UserError(f"there is no picture of the {split} split with a map of each.")
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    parts = [
        _measure_chunk([known[one] for one in chunk], readers, columns)
        for chunk in progress(chunks, len(ids), "numbers", count=len)
    ]
    shared = _joined([shared for shared, _ in parts])
    by_column = {
        column.name: _column_numbers(
            column, [known[one] for one in ids], _joined([own[i] for _, own in parts])
        )
        for i, column in enumerate(columns)
    }
    return Numbers(
        example_ids=ids,
        by_column=by_column,
        bird_area=shared["bird_area"],
        part_area=_by_part(shared),
        agreement=shared["agreement"],
    )


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _by_part(arrays: dict[Any, np.ndarray]) -> dict[int, np.ndarray]:
    return {name: values for name, values in arrays.items() if isinstance(name, int)}


def _measure_chunk(records: list, readers: list, columns: list[Column]) -> tuple:
    """Arrays over one chunk: those that all columns share, and those of each."""
    rows = [readers[0].get(record.example_id).geometry for record in records]
    masks = _labels(records, rows, "mask_path")
    parts = _labels(records, rows, "parts_path")
    labels = sorted(_part_labels(columns[0].data)) if parts is not None else []
    nothing = np.full(len(records), np.nan)
    shared = {"bird_area": nothing if masks is None else (masks > 0).mean((1, 2))}
    shared |= {label: (parts == label).mean((1, 2)) for label in labels}
    own, heats = [], []
    for reader in readers:
        entries = [reader.get(record.example_id) for record in records]
        cams = np.stack([entry.cam[0] for entry in entries])
        heat, energy = heatmaps.heatmap(cams, _SIDE), heatmaps.energy(cams, _SIDE)
        heats.append(heat)
        arrays = {
            "predicted": np.array([entry.label[0] for entry in entries]),
            "probability": np.array([entry.probability[0] for entry in entries]),
            "degenerate": np.array([entry.degenerate[0] for entry in entries]),
            "heatmap_area": concentration.area_above(heat, HOT),
            "energy_on_bird": nothing
            if masks is None
            else concentration.energy_inside(energy, masks > 0),
        }
        arrays |= {
            label: concentration.energy_inside(energy, parts == label)
            for label in labels
        }
        own.append(arrays)
    shared["agreement"] = _mean_correlation(
        [heat for heat, c in zip(heats, columns, strict=True) if c.asked_of is None]
    )
    return shared, own


def _part_labels(data: RunData) -> dict[int, str]:
    """Part label -> name of the part, for the parts that carry a rank."""
    evidence = data.source.evidence or {}
    return {label: part for part, label in evidence.values()}


def _labels(records: list, rows: list, kind: str) -> np.ndarray | None:
    """Label images (N, side, side) in model-input geometry, None if one lacks."""
    paths = [getattr(record, kind) for record in records]
    if None in paths:
        return None
    images = []
    for path, row in zip(paths, rows, strict=True):
        image = geometry.resize_mask(read_labels(path), geometry.Geometry.from_row(row))
        # Nearest cell centers: the labels at the middle of each cell of the maps.
        at = ((np.arange(_SIDE) + 0.5) * len(image) / _SIDE).astype(int)
        images.append(image[np.ix_(at, at)])
    return np.stack(images)


def _mean_correlation(heats: list[np.ndarray]) -> np.ndarray:
    """Mean over pairs of models of the correlation of their maps, (N,)."""
    pairs = [
        agreement.pearson(first, second)
        for i, first in enumerate(heats)
        for second in heats[i + 1 :]
    ]
    return np.mean(pairs, axis=0) if pairs else np.full(len(heats[0]), np.nan)


def _column_numbers(
    column: Column, records: list, arrays: dict[Any, np.ndarray]
) -> ColumnNumbers:
    taxonomy, rank = column.data.taxonomy, column.rank
    true = taxonomy.labels([record.lineage for record in records], rank)
    right = int((arrays["predicted"] == true).sum())
    low, high = classification.wilson_interval(right, len(true))
    train = taxonomy.labels([r.lineage for r in column.data.records("train")], rank)
    fields = {name: values for name, values in arrays.items() if isinstance(name, str)}
    return ColumnNumbers(
        true=true,
        part_energy=_by_part(arrays),
        accuracy=right / len(true),
        accuracy_interval=(float(low), float(high)),
        chance=classification.majority_chance(train, true, taxonomy.num_labels(rank)),
        **fields,
    )


def mean_or_none(values: np.ndarray) -> float | None:
    """Mean of what is known, None if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def part_table(columns: list[Column], numbers: Numbers) -> tuple[tuple, list[tuple]]:
    """Lift of each column on each part: its share of the energy over that of the area.

    Returns:
      Header and rows; no rows where no evidence is known.
    """
    evidence = columns[0].data.source.evidence or {}
    chosen = {
        rank: pair for rank, pair in evidence.items() if pair[1] in numbers.part_area
    }
    header = (
        "model",
        *(f"{part} (tells the {rank})" for rank, (part, _) in chosen.items()),
    )
    rows = []
    for column in columns:
        energy = numbers.by_column[column.name].part_energy
        lifts = [
            float(energy[label].mean() / numbers.part_area[label].mean())
            for _, label in chosen.values()
        ]
        rows.append((column.name, *lifts))
    return header, rows if chosen else []


def write_numbers(path: Path, numbers: Numbers) -> None:
    """Writes one row for each picture and model."""
    header = (
        "example_id",
        "model",
        "true_label",
        "predicted_label",
        "probability",
        "correct",
        "degenerate",
        "heatmap_area",
        "energy_on_bird",
        "bird_area",
        "agreement",
    )
    rows = []
    for number, example_id in enumerate(numbers.example_ids):
        for name, one in numbers.by_column.items():
            rows.append(
                [
                    example_id,
                    name,
                    one.true[number],
                    one.predicted[number],
                    one.probability[number],
                    bool(one.true[number] == one.predicted[number]),
                    bool(one.degenerate[number]),
                    one.heatmap_area[number],
                    one.energy_on_bird[number],
                    numbers.bird_area[number],
                    numbers.agreement[number],
                ]
            )
    tables.write_csv(path, header, rows)
