"""The steps of the finest model for the pictures of the compare page, in steps.csv.

A step is what chose a taxon among its siblings; those of one picture, from the root to
the predicted leaf, come from one forward pass (`cam.targets.path`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import tables, wording
from hiercam_keras.cam import map_scale, store
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation.regions import part_labels
from hiercam_keras.evaluation.table import Table
from hiercam_keras.evaluation.tabulate import stored, tabulate
from hiercam_keras.modes.comparison.measure import right_or_none
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.make_maps import make_steps
from hiercam_keras.report import schema
from hiercam_keras.runs import network as networks
from hiercam_keras.taxonomy.tree import Taxonomy
from hiercam_keras.wording import spaced

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
      table: a question a step, named by its rank; with the share of its energy on each
        part.
      parts: names of these, as "part_family".
      taxonomy: of the model, for the names of what was chosen.
    """

    model: str
    ranks: tuple[str, ...]
    maps: store.Reader | None
    records: tuple[Record, ...]
    table: Table
    parts: tuple[str, ...]
    taxonomy: Taxonomy | None = None


# Of models with independent labels: nothing is chosen among siblings.
NONE = Steps("", (), None, (), Table(np.array([]), np.array([]), (), (), {}, {}), ())


def choices(taxonomy: Taxonomy, finest: str) -> tuple[str, ...]:
    """Ranks at which something is chosen, down to `finest`."""
    ranks = taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
    return tuple(rank for rank in ranks if taxonomy.num_labels(rank) > 1)


def make(name: str, data: RunData, split: str, records: list[Record]) -> Steps:
    """Makes the steps of these pictures and measures their energy on the parts.

    Args:
      name: of the model.
      data: the run of the finest model.
      split: of the records.
      records: the pictures.
    """
    ranks = choices(data.taxonomy, data.finest)
    pictures = wording.count(len(records), "picture")
    logging.info("steps of %s for %s", data.run.path, pictures)
    network = networks.load(data.run, data.config)
    reader = make_steps(network, data, split, records, ranks)
    known = tuple(record for record in records if record.example_id in reader)
    parts = part_labels(data.source.evidence, known)
    table = tabulate(
        stored({rank: (reader, k) for k, rank in enumerate(ranks)}, known, bool(parts)),
        data.truth,
        {rank: rank for rank in ranks},
        parts,
        measured={},
    )
    return Steps(name, ranks, reader, known, table, tuple(parts), data.taxonomy)


def write_table(path: Path, steps: Steps) -> None:
    """Writes steps.csv: one row for each picture and step."""
    table = steps.table
    rows = [
        (
            example_id,
            steps.model,
            rank,
            int(value["predicted"]),
            _probability(value["score"]),
            right_or_none(value),
            bool(value["degenerate"]),
            bool(value["trivial"] and value["predicted"] >= 0),
            *(float(value[part]) for part in steps.parts),
        )
        for n, example_id in enumerate(table.example_ids)
        for k, rank in enumerate(steps.ranks)
        for value in [{name: array[n, k] for name, array in table.values.items()}]
    ]
    tables.write_csv(path, (*_KEYS, *steps.parts), rows)


def _probability(score: float) -> float:
    """Of a taxon within its parent: the score of a step is its logarithm."""
    return float(np.exp(min(float(score), 0.0)))


def shown(
    steps: Steps, number: int, evidence: Mapping, scale: str
) -> tuple[tuple[schema.Step, ...], float | None]:
    """The steps of picture `number` of `steps.records`, for the page, and the value of
    their hottest color, None where each has a scale of its own.

    Args:
      scale: see `map_scale.show_row`.
    """
    entry = steps.maps.get(steps.records[number].example_id)
    side = 4 * max(entry.cam.shape[-2:])
    row = map_scale.show_row(entry.cam, side, scale)
    found = []
    for k, rank in enumerate(steps.ranks):
        value = {name: array[number, k] for name, array in steps.table.values.items()}
        label = int(value["predicted"])
        if label < 0:  # the predicted taxon has no such rank
            note = schema.no_rank(rank)
            found.append(schema.Step(rank, "", 1.0, None, None, True, note=note))
            continue
        words = {
            part: spaced(evidence[part.removeprefix("part_")][0])
            for part in steps.parts
        }
        found.append(
            schema.Step(
                rank=rank,
                name=steps.taxonomy.names(rank)[label],
                common_name=steps.taxonomy.common_name(rank, label),
                probability=_probability(value["score"]),
                correct=right_or_none(value),
                heatmap=None if value["trivial"] else row.heat[k],
                remark=row.remarks[k],
                degenerate=bool(value["degenerate"]),
                numbers={
                    f"energy on the {words[part]}": float(value[part])
                    for part in steps.parts
                },
            )
        )
    return tuple(found), row.top
