"""The numbers of a comparison: one table over the pictures, one column a question."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.measures import MEASURES
from hiercam_keras.evaluation.regions import part_labels
from hiercam_keras.evaluation.table import Table
from hiercam_keras.evaluation.tabulate import stored, tabulate
from hiercam_keras.metrics import classification, coherence, resampling
from hiercam_keras.metrics.faithfulness.measure import NAMES as FAITHFULNESS
from hiercam_keras.metrics.resampling import Estimate
from hiercam_keras.modes import unseen
from hiercam_keras.modes.comparison.columns import Column


@dataclass(frozen=True)
class Compared:
    """What was measured of all columns over the same N pictures.

    Attributes:
      table: a question for each column. Besides the values of `tabulate`: "background"
        (share of the energy off the object), those of faithfulness, "coherence" and
        "coherence_basis" (text). Pictures have "agreement", the mean Pearson
        correlation between the heatmaps of two models, each asked for its own rank by
        the method of the first column.
      measures: names of the values that are measures of a map, in the tables' order.
      areas: names of the areas of parts, among the pictures' values.
      chance: column -> accuracy of always the commonest taxon of the training images,
        NaN where these are not known.
      unseen: rank -> pictures of taxa without a training image.
    """

    table: Table
    measures: tuple[str, ...]
    areas: tuple[str, ...] = ()
    chance: dict[str, float] | None = None
    unseen: dict[str, int] | None = None

    def accuracy(self, column: str) -> Estimate:
        """Share of right answers, species resampled."""
        return resampling.share(self.table.hits(column), self.table.clusters)

    def num_species(self, column: str) -> int:
        """Number of species of the pictures whose taxon the model has."""
        return len(np.unique(self.table.groups[self.table.known(column)]))

    def known(self, measure: str) -> bool:
        """Whether a measure is known of any picture under any question."""
        values = self.table.values.get(measure)
        return values is not None and bool(np.isfinite(values).any())


def measure(
    columns: Sequence[Column],
    split: str,
    thresholds: coherence.Thresholds | None = None,
) -> Compared:
    """All numbers of all columns, over the pictures that each has a map of.

    Args:
      columns: what is compared.
      split: train, val or test.
      thresholds: of the rule that sorts maps.

    Raises:
      UserError: there is no such picture.
    """
    data = columns[0].data
    readers = {column.name: (store.open(column.maps), 0) for column in columns}
    records = [
        record
        for record in data.records(split)
        if all(record.example_id in reader for reader, _ in readers.values())
    ]
    if not records:
        raise UserError(f"there is no picture of the {split} split with a map of each.")
    parts = part_labels(data.source.evidence, records)
    table = tabulate(
        stored(readers, records, bool(parts), "numbers"),
        {column.name: column.data.truth for column in columns},
        {column.name: column.rank for column in columns},
        parts,
        pairs=True,
    )
    values = dict(table.values)
    values["background"] = 1 - values["energy_on_object"]
    for name in FAITHFULNESS:
        rows = [
            [column.faithfulness.get(one, {}).get(name, np.nan) for column in columns]
            for one in table.example_ids
        ]
        values[name] = np.array(rows)
    verdicts = [
        coherence.coherence(
            values["degenerate"][:, k],
            values["energy_on_object"][:, k],
            table.pictures["object_area"],
            values["deletion_gain"][:, k],
            values["insertion_gain"][:, k],
            thresholds,
        )
        for k in range(len(columns))
    ]
    values["coherence"] = np.stack([one.verdict for one in verdicts], axis=1)
    values["coherence_basis"] = np.stack([one.basis for one in verdicts], axis=1)
    pictures = {**table.pictures, "agreement": _agreement(columns, table)}
    return Compared(
        replace(table, values=values, pictures=pictures),
        (*MEASURES, *parts, "background", *FAITHFULNESS),
        tuple(f"{name}_area" for name in parts),
        {column.name: _chance(column, table) for column in columns},
        _unseen(columns, records),
    )


def _unseen(columns: Sequence[Column], records: Sequence[Record]) -> dict[str, int]:
    """rank -> pictures of taxa without a training image of the trained models."""
    trained = [column for column in columns if not column.data.may_lack_taxa]
    if not trained:
        return {}
    data = trained[0].data
    train = data.training_records()
    return {
        rank: unseen.count(train, records, rank, data.taxonomy)
        for rank in dict.fromkeys(column.rank for column in trained)
    }


def _agreement(columns: Sequence[Column], table: Table) -> np.ndarray:
    own = [
        column.name
        for column in columns
        if column.asked_of is None and column.method == columns[0].method
    ]
    found = [table.pairs[pair]["pearson"] for pair in itertools.combinations(own, 2)]
    return np.mean(found, axis=0) if found else np.full(len(table), np.nan)


def _chance(column: Column, table: Table) -> float:
    rank = column.rank
    train = column.data.training_labels(rank)
    if train is None:
        return float("nan")
    return classification.majority_chance(
        train,
        table.of("true", column.name),
        column.data.taxonomy.num_labels(rank),
    )


def write_numbers(path: Path, compared: Compared) -> None:
    """Writes numbers.csv: one row for each picture and question."""
    table = compared.table
    group = _group_columns(table)
    header = (
        "example_id",
        "species",
        *group,
        "model",
        "rank",
        "true_label",
        "predicted_label",
        "probability",
        "correct",
        "degenerate",
        *compared.measures,
        "object",
        "chance",
        *compared.areas,
        "coherence",
        "coherence_basis",
        "agreement",
    )
    answers = ("predicted", "probability")
    ends = ("coherence", "coherence_basis")
    shared = ("object", "object_area", *compared.areas)
    rows = []
    for n, k in itertools.product(range(len(table)), range(len(table.questions))):
        value = {name: array[n, k] for name, array in table.values.items()}
        rows.append(
            [
                table.example_ids[n],
                table.groups[n],
                *(table.pictures[name][n] for name in group),
                table.questions[k],
                table.ranks[k],
                _label(value["true"]),
                *(value[name] for name in answers),
                right_or_none(value),
                bool(value["degenerate"]),
                *(value[name] for name in compared.measures),
                *(table.pictures[name][n] for name in shared),
                *(value[name] for name in ends),
                table.pictures["agreement"][n],
            ]
        )
    tables.write_csv(path, header, rows)


def right_or_none(value: Mapping[str, Any]) -> bool | None:
    """Whether the predicted taxon is the true one; None where the model does not have
    the true one.

    Args:
      value: "true" and "predicted" labels of a picture.
    """
    if value["true"] < 0:
        return None
    return bool(value["true"] == value["predicted"])


def _group_columns(table: Table) -> tuple[str, ...]:
    """The column of the pictures' groups, where there are any."""
    return tuple(name for name in ("group",) if name in table.pictures)


def _label(label: int) -> int | None:
    return None if label < 0 else label


def write_agreement(path: Path, table: Table) -> None:
    """Writes agreement.csv: one row for each picture and two of the questions."""
    if not table.pairs:
        return
    names = tuple(next(iter(table.pairs.values())))
    group = _group_columns(table)
    about = zip(
        table.example_ids,
        table.groups,
        *(table.pictures[name] for name in group),
        strict=True,
    )
    rows = [
        [*one, *pair, *(found[name][n] for name in names)]
        for n, one in enumerate(about)
        for pair, found in table.pairs.items()
    ]
    header = ("example_id", "species", *group, "model_a", "model_b", *names)
    tables.write_csv(path, header, rows)
