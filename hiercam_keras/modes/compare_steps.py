"""The steps of the finest model for the pictures of the compare page, in steps.csv.

A step is what chose a taxon among its siblings; those of one picture, from the root to
the predicted leaf, come from one forward pass (`cam.targets.path`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.cam import heatmaps, store, targets
from hiercam_keras.data.records import Record
from hiercam_keras.maps import SIDE
from hiercam_keras.metrics import planted
from hiercam_keras.models import files
from hiercam_keras.modes import parts
from hiercam_keras.modes.export import store_maps
from hiercam_keras.modes.load import RunData
from hiercam_keras.report import schema, tables
from hiercam_keras.taxonomy.tree import Taxonomy

_CHUNK = 256  # pictures at a time
_KEYS = (
    "example_id",
    "model",
    "rank",
    "predicted_label",
    "probability",
    "correct",
    "degenerate",
    "only_child",
)


@dataclass(frozen=True)
class Steps:
    """Steps of some pictures.

    Attributes:
      model: name of the model.
      ranks: R, into which the steps lead, coarse to fine.
      maps: the store.
      records: the pictures that have a map.
      held: rank that a part carries -> (N, R), share of each step's energy on that
        part, NaN for a step into an only child, which asks nothing; a map that shows
        nothing is at chance. Empty where no parts are known.
    """

    model: str
    ranks: tuple[str, ...]
    maps: store.Reader
    records: tuple[Record, ...]
    held: dict[str, np.ndarray]


def choices(taxonomy: Taxonomy, finest: str) -> tuple[str, ...]:
    """Ranks at which something is chosen, down to `finest`."""
    ranks = taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
    return tuple(rank for rank in ranks if taxonomy.num_labels(rank) > 1)


def make(name: str, data: RunData, split: str, records: list[Record]) -> Steps:
    """Makes the steps of these pictures, and what they have on the parts.

    Args:
      name: of the model, to be told.
      data: the run of the finest model.
      split: of the records.
      records: the pictures.
    """
    finest = max(data.run.ranks, key=data.taxonomy.ranks.index)
    ranks = choices(data.taxonomy, finest)
    pictures = wording.count(len(records), "picture")
    logging.info("steps of %s for %s", data.run.path, pictures)
    model, _ = files.load_model(data.run.model_path, data.config.model.fast_layers)
    question = "path:predicted:" + "+".join(ranks) + ":steps"
    asked = targets.path(ranks=ranks)
    folder, _ = store_maps(model, data, split, records, asked, question)
    reader = store.open(folder)
    known = tuple(record for record in records if record.example_id in reader)
    held = _on_parts(reader, known, data.source.evidence or {})
    return Steps(name, ranks, reader, known, held)


def _on_parts(reader, records: Sequence[Record], evidence) -> dict[str, np.ndarray]:
    labels = {rank: label for rank, (_, label) in evidence.items()}
    if not labels or not all(record.parts_path for record in records):
        return {}
    found: dict[str, list[np.ndarray]] = {rank: [] for rank in labels}
    for start in range(0, len(records), _CHUNK):
        chunk = records[start : start + _CHUNK]
        entries = [reader.get(record.example_id) for record in chunk]
        rows = [entry.geometry for entry in entries]
        seen = parts.label_maps(chunk, rows, "parts_path")
        cams = np.stack([entry.cam for entry in entries], axis=1)  # (R, n, h, w)
        energy = heatmaps.energy(cams, SIDE)
        trivial = np.stack([entry.trivial for entry in entries])
        for rank, shares in planted.part_shares(energy, seen, labels).energy.items():
            found[rank].append(np.where(trivial, np.nan, shares.T))
    return {rank: np.concatenate(shares) for rank, shares in found.items() if shares}


def write_table(path: Path, steps: Steps, taxonomy: Taxonomy) -> None:
    """Writes steps.csv: one row for each picture and step."""
    rows = []
    for number, record in enumerate(steps.records):
        entry = steps.maps.get(record.example_id)
        for k, rank in enumerate(steps.ranks):
            rows.append(
                (
                    record.example_id,
                    steps.model,
                    rank,
                    int(entry.label[k]),
                    _probability(entry.score[k]),
                    bool(entry.label[k] == taxonomy.label(record.lineage, rank)),
                    bool(entry.degenerate[k]),
                    bool(entry.trivial[k]),
                    *(float(shares[number, k]) for shares in steps.held.values()),
                )
            )
    tables.write_csv(path, (*_KEYS, *(f"part_{rank}" for rank in steps.held)), rows)


def _probability(score: float) -> float:
    """Of a taxon within its parent: the score of a step is its logarithm."""
    return float(np.exp(min(float(score), 0.0)))


def shown(
    steps: Steps, number: int, taxonomy: Taxonomy, evidence
) -> tuple[schema.Step, ...]:
    """The steps of picture `number` of `steps.records`, for the page."""
    record = steps.records[number]
    entry = steps.maps.get(record.example_id)
    side = 4 * max(entry.cam.shape[-2:])
    heat = heatmaps.heatmap(entry.cam, side)
    return tuple(
        schema.Step(
            rank=rank,
            name=taxonomy.names(rank)[int(entry.label[k])],
            probability=_probability(entry.score[k]),
            correct=int(entry.label[k]) == taxonomy.label(record.lineage, rank),
            heatmap=None if entry.trivial[k] else heat[k],
            degenerate=bool(entry.degenerate[k]),
            numbers={
                f"energy on the {parts.word(evidence[carried][0])}": float(shares[k])
                for carried, shares in _row(steps, number).items()
            },
        )
        for k, rank in enumerate(steps.ranks)
    )


def _row(steps: Steps, number: int) -> dict[str, np.ndarray]:
    return {rank: shares[number] for rank, shares in steps.held.items()}
