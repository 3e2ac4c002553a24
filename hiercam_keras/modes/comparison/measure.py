"""comparison: reads the maps of all columns once, a few hundred pictures at a time."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.cam import heatmaps, store
from hiercam_keras.errors import UserError
from hiercam_keras.maps import HOT, SIDE
from hiercam_keras.metrics import (
    agreement,
    classification,
    coherence,
    concentration,
    planted,
    resampling,
)
from hiercam_keras.metrics.faithfulness.measure import NAMES as FAITHFULNESS
from hiercam_keras.modes import objects, parts
from hiercam_keras.modes.comparison.columns import Column, ColumnNumbers, Numbers
from hiercam_keras.modes.load import RunData
from hiercam_keras.progress import progress

_CHUNK = 256  # pictures at a time
# Columns of numbers.csv: what `shape_measures` calls them.
SHAPES = {
    "area_at_50": "area_at_energy",
    "entropy": "entropy",
    "gini": "gini",
    "num_blobs": "blobs",
    "centroid_x": "centroid_x",
    "centroid_y": "centroid_y",
}


def measure(
    columns: list[Column],
    split: str,
    thresholds: coherence.Thresholds | None = None,
) -> Numbers:
    """All numbers of all columns, over the pictures that each has a map of.

    Args:
      columns: what is compared.
      split: train, val or test.
      thresholds: of the rule that sorts maps.

    Raises:
      UserError: there is no such picture.
    """
    readers = [store.open(column.maps) for column in columns]
    known = {record.example_id: record for record in columns[0].data.records(split)}
    ids = [one for one in known if all(one in reader for reader in readers)]
    if not ids:
        raise UserError(f"there is no picture of the {split} split with a map of each.")
    chunks = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    pieces = [
        _measure_chunk([known[one] for one in chunk], readers, columns)
        for chunk in progress(chunks, len(ids), "numbers", count=len)
    ]
    shared = _joined([shared for shared, _ in pieces])
    records = [known[one] for one in ids]
    species = np.array(["/".join(record.lineage.taxa) for record in records])
    by_column = {
        column.name: _column_numbers(
            column,
            records,
            _joined([own[i] for _, own in pieces]),
            species,
            shared["bird_area"],
            thresholds,
        )
        for i, column in enumerate(columns)
    }
    pairs: dict = {}
    for name, values in shared.items():
        if isinstance(name, tuple):
            pairs.setdefault(name[:2], {})[name[2]] = values
    return Numbers(
        example_ids=ids,
        by_column=by_column,
        bird_area=shared["bird_area"],
        part_area=_by_part(shared),
        agreement=shared["agreement"],
        species=species,
        object_kind=shared["object_kind"],
        pairs=pairs,
    )


def _joined(parts: list[dict[Any, np.ndarray]]) -> dict[Any, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _by_part(arrays: Mapping[Any, np.ndarray]) -> dict[int, np.ndarray]:
    return {name: values for name, values in arrays.items() if isinstance(name, int)}


def _measure_chunk(records: list, readers: list, columns: list[Column]) -> tuple:
    """Arrays over one chunk: those that all columns share, and those of each."""
    rows = [readers[0].get(record.example_id).geometry for record in records]
    object_maps, kinds = objects.object_maps(records, rows, SIDE)
    part_maps, labels = _part_maps(records, rows, columns[0].data)
    shared: dict[Any, np.ndarray] = {"object_kind": kinds}
    own, energies = [], []
    for reader in readers:
        entries = [reader.get(record.example_id) for record in records]
        cams = np.stack([entry.cam[0] for entry in entries])
        degenerate = np.array([entry.degenerate[0] for entry in entries])
        heat = heatmaps.heatmap(cams, SIDE)
        energy = heatmaps.energy(cams, SIDE)
        energy[degenerate] = 1 / SIDE**2  # as on the device: no noise to correlate
        energies.append(energy)
        on_object, shared["bird_area"] = objects.energy_on(energy, object_maps)
        shapes = concentration.shape_measures(energy)
        arrays = {
            "predicted": np.array([entry.label[0] for entry in entries]),
            "probability": np.array([entry.probability[0] for entry in entries]),
            "degenerate": degenerate,
            "heatmap_area": concentration.area_above(heat, HOT),
            "energy_on_bird": on_object,
        }
        arrays |= {name: shapes[shape] for name, shape in SHAPES.items()}
        on_parts = planted.part_shares(energy, part_maps, labels)
        shared |= on_parts.area
        own.append(arrays | on_parts.energy)
    shared |= _pair_measures(energies, columns)
    correlations = [
        shared[first.name, second.name, "pearson"]
        for first, second in itertools.combinations(columns, 2)
        if first.asked_of is None
        and second.asked_of is None
        and first.method == second.method == columns[0].method
    ]
    nothing = np.full(len(records), np.nan)
    shared["agreement"] = np.mean(correlations, axis=0) if correlations else nothing
    return shared, own


def _pair_measures(
    energies: Sequence[np.ndarray], columns: Sequence[Column]
) -> dict[Any, np.ndarray]:
    """(name, name, measure) -> (N,) of every two columns, the finer one first.

    Of energies: what is compared after min-max or by order is the same of heatmaps.
    """
    named = zip([column.name for column in columns], energies, strict=True)
    found = {}
    for (first, a), (second, b) in itertools.combinations(named, 2):
        measures = agreement.agreement_measures(a, b)
        measures["earth_mover"] = agreement.earth_movers_distance(a, b)
        found |= {(first, second, name): v for name, v in measures.items()}
    return found


def _part_maps(
    records: list, rows: list, data: RunData
) -> tuple[np.ndarray, dict[int, int]]:
    """Part labels (N, side, side), and which of them carry a rank, by themselves.

    Where a picture has none there are no such labels.
    """
    found = parts.label_maps(records, rows, "parts_path")
    if found is None:
        return np.zeros((len(records), SIDE, SIDE), int), {}
    evidence = data.source.evidence or {}
    labels = sorted({label for _, label in evidence.values()})
    return found, {label: label for label in labels}


def _column_numbers(
    column: Column,
    records: list,
    arrays: dict[Any, np.ndarray],
    species: np.ndarray,
    area: np.ndarray,
    thresholds: coherence.Thresholds | None,
) -> ColumnNumbers:
    taxonomy, rank = column.data.taxonomy, column.rank
    true = taxonomy.labels([record.lineage for record in records], rank)
    accuracy = resampling.share(arrays["predicted"] == true, species)
    train = taxonomy.labels([r.lineage for r in column.data.records("train")], rank)
    measures = {name: arrays.pop(name) for name in SHAPES}
    rows = [column.faithfulness.get(record.example_id, {}) for record in records]
    for name in FAITHFULNESS:
        measures[name] = np.array([row.get(name, np.nan) for row in rows])
    fields = {name: values for name, values in arrays.items() if isinstance(name, str)}
    return ColumnNumbers(
        true=true,
        part_energy=_by_part(arrays),
        measures=measures,
        coherence=coherence.coherence(
            arrays["degenerate"],
            arrays["energy_on_bird"],
            area,
            measures["deletion_gain"],
            measures["insertion_gain"],
            thresholds,
        ),
        accuracy=accuracy,
        chance=classification.majority_chance(train, true, taxonomy.num_labels(rank)),
        **fields,
    )
