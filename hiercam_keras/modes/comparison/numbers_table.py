"""comparison: numbers.csv and agreement.csv."""

from pathlib import Path

import numpy as np

from hiercam_keras.metrics.faithfulness.measure import NAMES as FAITHFULNESS
from hiercam_keras.modes.comparison.columns import Column, Numbers
from hiercam_keras.modes.comparison.measure import SHAPES
from hiercam_keras.report import tables


def _evidence(columns: list[Column], numbers: Numbers) -> dict[str, tuple[str, int]]:
    evidence = columns[0].data.source.evidence or {}
    return {
        rank: pair for rank, pair in evidence.items() if pair[1] in numbers.part_area
    }


def measures_of(
    column: Column, columns: list[Column], numbers: Numbers
) -> dict[str, np.ndarray]:
    """Every measure of one column by its name in numbers.csv: (N,), NaN where unknown.

    In the order of the table; what is the picture's own (chance, a part's area) is not
    among them.
    """
    one = numbers.by_column[column.name]
    found = {"heatmap_area": one.heatmap_area}
    found |= {name: one.measures[name] for name in SHAPES}
    found["energy_on_object"] = one.energy_on_bird
    for rank, (_, label) in _evidence(columns, numbers).items():
        found[f"part_{rank}"] = one.part_energy[label]
    found["background"] = 1 - one.energy_on_bird
    return found | {name: one.measures[name] for name in FAITHFULNESS}


def write_numbers(path: Path, columns: list[Column], numbers: Numbers) -> None:
    """Writes numbers.csv: one row for each picture and question."""
    areas = {
        f"part_{rank}_area": numbers.part_area[label]
        for rank, (_, label) in _evidence(columns, numbers).items()
    }
    every = {c.name: measures_of(c, columns, numbers) for c in columns}
    header = (
        "example_id",
        "species",
        "model",
        "rank",
        "true_label",
        "predicted_label",
        "probability",
        "correct",
        "degenerate",
        *every[columns[0].name],
        "object",
        "chance",
        *areas,
        "coherence",
        "coherence_basis",
        "agreement",
    )
    rows = []
    for number, example_id in enumerate(numbers.example_ids):
        for column in columns:
            one = numbers.by_column[column.name]
            rows.append(
                [
                    example_id,
                    numbers.species[number],
                    column.name,
                    column.rank,
                    one.true[number],
                    one.predicted[number],
                    one.probability[number],
                    bool(one.true[number] == one.predicted[number]),
                    bool(one.degenerate[number]),
                    *(values[number] for values in every[column.name].values()),
                    numbers.object_kind[number],
                    numbers.bird_area[number],
                    *(values[number] for values in areas.values()),
                    one.coherence.verdict[number],
                    one.coherence.basis[number],
                    numbers.agreement[number],
                ]
            )
    tables.write_csv(path, header, rows)


def write_agreement(path: Path, numbers: Numbers) -> None:
    """Writes agreement.csv: one row for each picture and two of the questions."""
    if not numbers.pairs:
        return
    names = tuple(next(iter(numbers.pairs.values())))
    rows = [
        [
            example_id,
            numbers.species[number],
            *pair,
            *(values[number] for values in measures.values()),
        ]
        for number, example_id in enumerate(numbers.example_ids)
        for pair, measures in numbers.pairs.items()
    ]
    tables.write_csv(
        path, ("example_id", "species", "model_a", "model_b", *names), rows
    )
