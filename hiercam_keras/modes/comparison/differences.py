"""Paired differences between questions, in statistics.csv and .json.

Kinds of pairs, each a question of its own:

* rank: a model against one trained at a coarser rank, each asked for its own;
* asked: a model trained at a rank against a finer one that is asked for this rank;
* seed: two trainings asked the same, a rank of their own or a coarser one: the noise
  that a difference must rise above;
* network: a network that was trained elsewhere against another one, asked the same;
* method: maps of one model by two methods;
* random: the order by a map against a random one.

And "agreement": do the maps of a pair of the kinds rank or asked agree less than those
of two seeds that answer one of its questions?
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables, workdir
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics import statistics
from hiercam_keras.metrics.coherence import COHERENT
from hiercam_keras.modes.comparison.columns import Column
from hiercam_keras.modes.comparison.measure import Compared

KEYS = ("comparison", "model_a", "model_b", "measure")
FIGURES = (
    "count",
    "groups",
    "mean_a",
    "mean_b",
    "difference",
    "low",
    "high",
    "p_value",
    "p_holm",
    "effect_size",
    "share_greater",
)
RANDOM = "random order"
_CURVES = {"deletion": 1, "insertion": -1, "road": 1}  # random = own + sign * gain

Row = dict[str, Any]


def kind_of(first: Column, second: Column) -> str | None:
    """rank, asked, seed, network or method; None for columns that do not pair."""
    same_run = first.data.run.path == second.data.run.path
    if first.method != second.method:
        same = same_run and first.rank == second.rank
        return "method" if same and first.asked_of == second.asked_of else None
    if first.asked_of == second.asked_of:  # None for both: each at its own rank
        if first.rank == second.rank:
            elsewhere = first.data.run.imported or second.data.run.imported
            return None if same_run else ("network" if elsewhere else "seed")
        return "rank" if first.asked_of is None else None
    one_asked = (first.asked_of is None) != (second.asked_of is None)
    return "asked" if one_asked and first.rank == second.rank else None


def differences(columns: list[Column], compared: Compared, seed: int = 0) -> list[Row]:
    """All rows of statistics.csv, sorted by comparison.

    Holm's correction is over all rows of a comparison: the more measures and pairs it
    has, the more one of them differs by luck.

    Args:
      columns: the questions, finer ranks first.
      compared: their numbers.
      seed: of the bootstrap and the test.
    """
    table = compared.table
    measures = {column.name: _measures(column.name, compared) for column in columns}
    jobs: dict[str, list[tuple[str, str, str, np.ndarray, np.ndarray]]] = {}
    pairs: dict[str, list[tuple[Column, Column]]] = {}
    for first, second in itertools.combinations(columns, 2):
        kind = kind_of(first, second)
        if kind is None:
            continue
        pairs.setdefault(kind, []).append((first, second))
        jobs.setdefault(kind, []).extend(
            (first.name, second.name, name, values, measures[second.name][name])
            for name, values in measures[first.name].items()
        )
    for name, own in measures.items():
        for curve, sign in _CURVES.items():
            chance = own[curve] + sign * own[f"{curve}_gain"]
            jobs.setdefault("random", []).append(
                (RANDOM, name, curve, chance, own[curve])
            )
        jobs["random"].append(
            (RANDOM, name, "aopc_morf", own["aopc_random"], own["aopc_morf"])
        )
    agreements = _agreements(pairs, table)
    if agreements:
        jobs["agreement"] = agreements
    rows = []
    for kind, several in jobs.items():
        tested = statistics.compare_all(
            {job[:3]: job[3:] for job in several}, table.clusters, seed=seed
        )
        rows += [
            dict(zip(KEYS, (kind, *key), strict=True)) | figures
            for key, figures in tested.items()
            if figures["count"]
        ]
    return rows


def _agreements(pairs: dict[str, list[tuple[Column, Column]]], table: Table):
    """Jobs: how alike the maps of a pair are, against those of two seeds."""
    across = [*pairs.get("rank", []), *pairs.get("asked", [])]
    jobs = []
    for one, again in itertools.product(across, pairs.get("seed", [])):
        questions = {(column.rank, column.asked_of) for column in one}
        seed = again[0]
        if seed.method != one[0].method:
            continue
        if (seed.rank, seed.asked_of) not in questions:
            continue
        names, others = ((a.name, b.name) for a, b in (one, again))
        jobs += [
            (
                " ~ ".join(names),
                " ~ ".join(others),
                measure,
                values,
                table.pairs[others][measure],
            )
            for measure, values in table.pairs[names].items()
        ]
    return jobs


def _measures(column: str, compared: Compared) -> dict[str, np.ndarray]:
    table = compared.table
    found = {
        "correct": table.hits(column),
        "coherent": (table.of("coherence", column) == COHERENT).astype(float),
    }
    return found | {name: table.of(name, column) for name in compared.measures}


def write_differences(folder: Path, rows: list[Row]) -> None:
    """Writes statistics.csv and statistics.json."""
    header = (*KEYS, *FIGURES)
    tables.write_csv(folder / "statistics.csv", header, rows)
    plain = [tables.json_row({name: row[name] for name in header}) for row in rows]
    workdir.write_json(folder / "statistics.json", plain)
