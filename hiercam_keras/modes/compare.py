"""--mode=compare: the same pictures through several models, side by side.

Makes the maps that are missing, then tables (numbers.csv has one row for each picture
and model; docs/METRICS.md tells of the others), sheets of pictures as PNG and one
self-contained index.html.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import run_folder, runtime, workdir
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.metrics.coherence import COHERENT, INCOHERENT
from hiercam_keras.metrics.faithfulness.measure import Choices
from hiercam_keras.models import files
from hiercam_keras.modes import compare_page, comparison, faithful, overlays
from hiercam_keras.modes.comparison import Column
from hiercam_keras.modes.export import export_maps
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
)


def run(settings: Settings) -> str:
    """Compares --ranks, or --runs; returns the summary and where the page is."""
    runs = _find(settings)
    runtime.start(settings.config.seed)
    opened = [open_run(settings, run) for run, _ in runs]
    _check_same_split(opened, settings.split)
    thresholds = overlays.thresholds_of(settings.config.coherence)
    choices = faithful.choices_of(settings.config.faithfulness)
    chosen = _chosen(opened[0], settings)
    columns = []
    for data, (_, rank) in zip(opened, runs, strict=True):
        ranks = [rank for _, rank in runs]
        columns += _explain(data, rank, settings, ranks, choices, chosen)
    columns = _told_apart(columns)
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
    page = compare_page.write(out, columns, numbers, settings)
    shown = [[row[0], *row[2:4], *row[7:11]] for row in rows]
    header = (
        "model",
        "taxa",
        "accuracy",
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


def _chosen(data: RunData, settings: Settings) -> list[Record]:
    """The pictures whose faithfulness is measured, the same for every model."""
    records = data.records(settings.split)
    count = settings.config.compare.faithfulness_images
    if count < 0 or count >= len(records):
        return records
    rng = np.random.default_rng(settings.config.seed)
    return [records[i] for i in np.sort(rng.permutation(len(records))[:count])]


def _explain(
    data: RunData,
    rank: str,
    settings: Settings,
    ranks: Sequence[str],
    choices: Choices,
    chosen: Sequence[Record],
) -> list[Column]:
    """The columns of one run: its own rank, and the coarser ones of the others."""
    taxonomy = data.taxonomy
    order = taxonomy.ranks.index
    model, _ = files.load_model(data.run.model_path, data.config.model.fast_layers)
    own = rank if rank in data.run.ranks else max(data.run.ranks, key=order)
    asked = [rank]
    if rank == max(ranks, key=order) and rank in data.run.ranks:
        others = dict.fromkeys(ranks)
        asked += [
            one
            for one in others
            if order(one) < order(rank) and one not in data.run.ranks
        ]
    scorer = faithful.make_scorer(model, data)
    columns = []
    for one in asked:
        logging.info("maps of %s, asked for %s", data.run.path, one)
        folder, _ = export_maps(model, data, settings.split, target_rank=one)
        scores = {}
        if chosen:
            scores = faithful.measured(scorer, data, folder, chosen, choices)
        columns.append(
            Column(
                name=one if one == own else f"{own} asked for {one}",
                rank=one,
                depth=-order(one),
                asked_of=None if one == own else own,
                data=data,
                maps=folder,
                faithfulness=scores,
            )
        )
    return columns


def _told_apart(columns: list[Column]) -> list[Column]:
    """Drops repeated columns; one question to several runs gets the runs' names."""
    columns = list({(column.name, column.maps): column for column in columns}.values())
    times = Counter(column.name for column in columns)
    return [
        replace(column, name=f"{column.name} ({column.data.run.path})")
        if times[column.name] > 1
        else column
        for column in columns
    ]


def summary_row(column: Column, numbers: comparison.Numbers) -> list:
    """One row of `SUMMARY`: means over all pictures."""
    one = numbers.by_column[column.name]
    low, high = one.accuracy_interval
    return [
        column.name,
        column.rank,
        column.data.taxonomy.num_labels(column.rank),
        one.accuracy,
        low,
        high,
        one.chance,
        float(one.heatmap_area.mean()),
        comparison.mean_or_none(one.energy_on_bird),
        comparison.mean_or_none(numbers.bird_area),
        float(np.mean(one.coherence.verdict == COHERENT)),
        float(np.mean(one.coherence.verdict == INCOHERENT)),
    ]


def _default_out(runs: Sequence[tuple[Run, str]], first: RunData) -> Path:
    names = "-".join(dict.fromkeys(rank for _, rank in runs))
    return Path(first.config.runs_dir) / first.run.data_name / f"compare-{names}"
