"""The steps of the finest model for the pictures of the compare page.

A step is what chose a taxon among its siblings; those of one picture, from the root to
the predicted leaf, come from one forward pass (`cam.targets.path`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras.cam import heatmaps, store, targets
from hiercam_keras.data.records import Record
from hiercam_keras.metrics.ratios import ratio_interval
from hiercam_keras.models import files
from hiercam_keras.modes import parts
from hiercam_keras.modes.export import store_maps
from hiercam_keras.modes.load import RunData
from hiercam_keras.report import schema
from hiercam_keras.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class Steps:
    """Steps of some pictures.

    Attributes:
      model: name of the model.
      ranks: into which the steps lead, coarse to fine.
      maps: the store.
      lifts: rank -> part -> (lift, low, high), 95 % intervals with species resampled;
        empty where no parts are known.
      part_shares: example_id -> part -> share of the energy for each step, (R,).
      count: pictures.
    """

    model: str
    ranks: tuple[str, ...]
    maps: store.Reader
    lifts: dict[str, dict[str, tuple[float, float, float]]]
    part_shares: dict[str, dict[str, np.ndarray]]
    count: int


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
    logging.info("steps of %s for %d pictures", data.run.path, len(records))
    model, _ = files.load_model(data.run.model_path, data.config.model.fast_layers)
    folder = explained(model, data, split, records, ranks)
    reader = store.open(folder)
    known = [record for record in records if record.example_id in reader]
    lifts, part_shares = _on_parts(reader, known, data, ranks)
    return Steps(name, ranks, reader, lifts, part_shares, len(known))


def explained(model, data: RunData, split: str, records: list[Record], ranks) -> Path:
    """The map store of the steps to the predicted leaf of each picture."""
    question = "path:predicted:" + "+".join(ranks)
    asked = targets.path(ranks=ranks)
    return store_maps(model, data, split, records, asked, question + ":steps")[0]


def _on_parts(reader, records, data, ranks) -> tuple[dict, dict]:
    evidence = data.source.evidence or {}
    labels = {part: label for part, label in evidence.values()}
    entries = [reader.get(record.example_id) for record in records]
    seen = parts.label_maps(records, [e.geometry for e in entries], "parts_path")
    if seen is None or not labels:
        return {}, {}
    cams = np.stack([entry.cam for entry in entries], axis=1)  # (R, N, h, w)
    held, area = parts.shares(cams, seen, labels), parts.areas(seen, labels)
    species = [record.lineage.taxa for record in records]
    groups = np.unique(["/".join(taxa) for taxa in species], return_inverse=True)[1]
    lifts = {
        rank: {
            part: ratio_interval(
                held[part][k], _where(held[part][k], area[part]), groups
            )
            for part in labels
        }
        for k, rank in enumerate(ranks)
    }
    part_shares = {
        record.example_id: {part: held[part][:, i] for part in labels}
        for i, record in enumerate(records)
    }
    return lifts, part_shares


def _where(shares: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Areas of the pictures whose map has energy: of the others nothing is known."""
    return np.where(np.isfinite(shares), area, np.nan)


def shown(steps: Steps, record: Record, taxonomy: Taxonomy) -> tuple[schema.Step, ...]:
    """The steps of one picture for the page; none where it has no map."""
    if record.example_id not in steps.maps:
        return ()
    entry = steps.maps.get(record.example_id)
    side = 4 * max(entry.cam.shape[-2:])
    heat = heatmaps.heatmap(entry.cam, side)
    found = []
    for k, rank in enumerate(steps.ranks):
        label = int(entry.label[k])
        numbers = {
            f"energy on the {part}": float(values[k])
            for part, values in steps.part_shares.get(record.example_id, {}).items()
        }
        found.append(
            schema.Step(
                rank=rank,
                name=taxonomy.names(rank)[label],
                probability=float(np.exp(min(entry.score[k], 0.0))),
                correct=label == taxonomy.label(record.lineage, rank),
                heatmap=None if entry.trivial[k] else heat[k],
                degenerate=bool(entry.degenerate[k]),
                numbers=numbers,
            )
        )
    return tuple(found)
