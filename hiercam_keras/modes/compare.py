"""--mode=compare: the same pictures through several models, side by side.

Makes the maps that are missing, then tables (numbers.csv has one row for each picture
and model; docs/METRICS.md tells of the others), sheets of pictures as PNG and an
index.html that opens from disk.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hiercam_keras import file_names, run_folder, runtime, workdir
from hiercam_keras.cam import methods
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.coherence import COHERENT, INCOHERENT
from hiercam_keras.modes import compare_page, comparison, faithful, overlays
from hiercam_keras.modes.comparison import Column, ask
from hiercam_keras.modes.load import RunData, find_runs, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import tables
from hiercam_keras.run_folder import Run

SUMMARY = (
    "model",
    "rank",
    "taxa",
    "accuracy",
    "low",
    "high",
    "chance",
    "heatmap_area",
    "energy_on_bird",
    "bird_area",
    "coherent",
    "incoherent",
    "asked_of",
    "method",
    "run",
    "pictures",
    "species",
    "object_pictures",
)


def run(settings: Settings) -> str:
    """Compares --ranks, or --runs; returns the summary and where the page is."""
    runs = _find(settings)
    devices = settings.config.distribution.devices
    runtime.start(settings.config.seed, devices=devices)
    opened = [open_run(settings, run) for run, _ in runs]
    _check_same_split(opened, settings.split)
    thresholds = overlays.thresholds_of(settings.config.coherence)
    choices = faithful.choices_of(settings.config.faithfulness)
    for method in settings.config.compare.methods:
        methods.get_methods(method)
    chosen = ask.chosen_records(opened[0], settings)
    columns = []
    for data, (_, rank) in zip(opened, runs, strict=True):
        ranks = [rank for _, rank in runs]
        columns += ask.ask(data, rank, settings, ranks, choices, chosen)
    columns = ask.told_apart(columns)
    columns.sort(key=lambda column: (column.asked_of is not None, column.depth))
    numbers = comparison.measure(columns, settings.split, thresholds)
    out = Path(settings.out or _default_out(runs, opened[0]))
    workdir.make_dir(out)
    comparison.write_numbers(out / "numbers.csv", columns, numbers)
    comparison.write_agreement(out / "agreement.csv", numbers)
    found = comparison.differences(columns, numbers, settings.config.seed)
    comparison.write_differences(out, found)
    rows = [summary_row(column, numbers) for column in columns]
    tables.write_csv(out / "summary.csv", SUMMARY, rows)
    page = compare_page.write(out, columns, settings)
    shown = [[row[0], *row[2:4], row[15], *row[7:11]] for row in rows]
    header = (
        "model",
        "taxa",
        "accuracy",
        "pictures",
        "heatmap area",
        "energy on bird",
        "bird area",
        "coherent",
    )
    return f"{tables.format_table(header, shown)}\nreport: {page}"


def _find(settings: Settings) -> list[tuple[Run, str]]:
    """(run, rank) of each model that is compared."""
    if settings.runs:
        runs = [run_folder.read_finished(path) for path in settings.runs]
        pairs = [(run, rank) for run in runs for rank in run.ranks]
        if len(pairs) < 2:
            raise UserError(
                f"--runs names a single model, {runs[0].path}; expected at least two "
                "run folders, or one whose model has several ranks."
            )
        return pairs
    ranks = settings.ranks
    if len(set(ranks)) < 2:
        raise UserError(
            f"--ranks is {','.join(ranks) or 'empty'}, expected at least two different "
            "ranks, as in --ranks=species,family."
        )
    wanted = replace(settings, chosen_rank=True)  # --ranks has no rank by default
    found = find_runs(wanted, [(rank,) for rank in ranks])
    return list(zip(found, ranks, strict=True))


def _check_same_split(opened: Sequence[RunData], split: str) -> None:
    first = opened[0]
    for other in opened[1:]:
        if getattr(other.split, split) != getattr(first.split, split):
            raise UserError(
                f"{first.run.path} and {other.run.path} have different {split} images, "
                "so their maps cannot be compared. Train both on the same data with "
                "the same seed and fractions."
            )
        if other.taxonomy != first.taxonomy:
            raise UserError(
                f"{first.run.path} and {other.run.path} have different taxonomies. "
                "Train both on the same data."
            )


def summary_row(column: Column, numbers: comparison.Numbers) -> list:
    """One row of `SUMMARY`: means over the pictures of which each is known."""
    one = numbers.by_column[column.name]
    accuracy = one.accuracy
    return [
        column.name,
        column.rank,
        column.data.taxonomy.num_labels(column.rank),
        accuracy.value,
        accuracy.low,
        accuracy.high,
        one.chance,
        float(one.heatmap_area.mean()),
        comparison.mean_or_none(one.energy_on_bird),
        comparison.mean_or_none(numbers.bird_area),
        float(np.mean(one.coherence.verdict == COHERENT)),
        float(np.mean(one.coherence.verdict == INCOHERENT)),
        column.asked_of or "",
        column.method,
        str(column.data.run.path),
        accuracy.n,
        accuracy.groups,
        int(np.isfinite(one.energy_on_bird).sum()),
    ]


def _default_out(runs: Sequence[tuple[Run, str]], first: RunData) -> Path:
    ranks = tuple(dict.fromkeys(rank for _, rank in runs))
    folder = run_folder.data_folder(first.config.runs_dir, first.run.data_name)
    return folder / f"compare-{file_names.joined_name(ranks, '-')}"
