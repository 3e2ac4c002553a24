"""--mode=compare: the same pictures through several models, side by side.

Makes the maps that are missing, then tables (numbers.csv has one row for each picture
and model; docs/METRICS.md describes the others), sheets of pictures as PNG and an
index.html that opens from disk.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import file_names, runtime, tables, workdir
from hiercam_keras.cam import map_scale, methods
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics.coherence import COHERENT, INCOHERENT
from hiercam_keras.modes import belief, compare_page, data_names, faithful, overlays
from hiercam_keras.modes.comparison import differences, measure, questions
from hiercam_keras.modes.comparison.columns import Column
from hiercam_keras.modes.find_runs import allow, find_runs
from hiercam_keras.modes.load import RunData, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report.schema import NO_HEATMAP
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.run_folder import Run

# Columns of the summary that are printed, and their titles.
SHOWN = {
    "model": "model",
    "taxa": "taxa",
    "accuracy": "accuracy",
    "pictures": "accuracy over",
    "maps": "maps",
    "heatmap_area": "heatmap area",
    "energy_on_bird": "energy on {noun}",
    "bird_area": "{noun} area",
    "coherent": "coherent",
}


def run(settings: Settings) -> str:
    """Compares --ranks, or --runs; returns the summary and where the page is."""
    runs = _find(settings)
    devices = settings.config.distribution.devices
    runtime.start(settings.config.seed, devices=devices)
    opened = _open(settings, [run for run, _ in runs])
    _check_same_split(opened, settings.split)
    order = rank_order([data.taxonomy.ranks for data in opened])
    thresholds = overlays.thresholds_of(settings.config.coherence)
    map_scale.check_scale(settings.config.report.scale)
    choices = faithful.choices_of(settings.config.faithfulness)
    for method in settings.config.compare.methods:
        methods.get_methods(method)
    chosen = questions.chosen_records(opened[0], settings)
    columns = []
    for data, (_, rank) in zip(opened, runs, strict=True):
        ranks = [rank for _, rank in runs]
        columns += questions.ask(data, rank, settings, ranks, order, choices, chosen)
    columns = questions.unique(columns)
    columns.sort(key=lambda column: (column.asked_of is not None, column.depth))
    compared = measure.measure(columns, settings.split, thresholds)
    out = Path(settings.out or _default_out(runs, opened[0]))
    workdir.make_dir(out)
    measure.write_numbers(out / "numbers.csv", compared)
    measure.write_agreement(out / "agreement.csv", compared.table)
    tested = differences.differences(columns, compared, settings.config.seed)
    differences.write_differences(out, tested)
    summary = [summary_row(column, compared) for column in columns]
    header = [name for name in summary[0] if name != "imported"]
    rows = [[row[name] for name in header] for row in summary]
    tables.write_csv(out / "summary.csv", header, rows)
    believed = [
        [column.name, *row] for column in columns for row in column.believed.values()
    ]
    if believed:
        header = ["model", *belief.HEADER]
        tables.write_csv(out / "believed.csv", header, believed)
    for column in columns:
        if unknown := _unknown(column, compared):
            logging.warning("%s: %s", column.name, unknown)
    page = compare_page.write(out, columns, compared, summary, tested, settings)
    noun = columns[0].data.config.data.noun
    return f"{_printed(summary, compared.table, noun)}\nreport: {page}"


def _printed(summary: list[dict[str, Any]], table: Table, noun: str) -> str:
    """The columns of SHOWN as text; a mean of no heatmaps is not an area of 0."""
    rows = []
    for row in summary:
        cells = {name: row[name] for name in SHOWN}
        if table.of("degenerate", row["model"]).all():
            cells["heatmap_area"] = NO_HEATMAP
        rows.append(list(cells.values()))
    header = tuple(title.format(noun=noun) for title in SHOWN.values())
    return tables.format_table(header, rows)


def _open(settings: Settings, runs: Sequence[Run]) -> list[RunData]:
    """The runs with one set of images: imported networks are asked about those of the
    first run that was trained, which has images of its own."""
    trained = {run.path: open_run(settings, run) for run in runs if not run.imported}
    like = next(iter(trained.values()), None)
    opened = []
    for run in runs:
        data = trained.get(run.path) or open_run(settings, run, like)
        like = like or data
        opened.append(data)
    return opened


def rank_order(several: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All ranks of several taxonomies, coarse to fine."""
    order = list(max(several, key=len))
    for ranks in several:
        place = 0
        for rank in ranks:
            if rank not in order:
                order.insert(place, rank)
            place = order.index(rank) + 1
    return tuple(order)


def _find(settings: Settings) -> list[tuple[Run, str]]:
    """(run, rank) of each model that is compared."""
    if settings.runs:
        runs = allow(
            settings.allowed_taxa,
            [run_folder.read_finished(one) for one in settings.runs],
            settings.taxonomy,
            data_names.table_of(settings),
        )
        pairs = [(run, rank) for run in runs for rank in run.ranks]
        if len(pairs) < 2:
            raise UserError(
                f"--runs names a single model, {runs[0].path}; expected at least two "
                "run folders, or one of a model with several ranks."
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
    first = next((data for data in opened if not data.run.imported), opened[0])
    for other in opened:
        if getattr(other.split, split) != getattr(first.split, split):
            raise UserError(
                f"{first.run.path} and {other.run.path} have different {split} images, "
                "so their maps cannot be compared. Train both on the same data with "
                "the same seed and fractions."
            )
        trained = not (first.run.imported or other.run.imported)
        if trained and other.taxonomy != first.taxonomy:
            raise UserError(
                f"{first.run.path} and {other.run.path} have different taxonomies. "
                "Ask both under one with --taxonomy=TABLE, or train both on the same "
                "data, with the same data.taxonomy and data.untrained_taxa."
            )


def summary_row(column: Column, compared: measure.Compared) -> dict[str, Any]:
    """One row of summary.csv: means over the pictures of which each is known."""
    table, name = compared.table, column.name
    accuracy = compared.accuracy(name)
    on_object = table.of("energy_on_object", name)
    verdict = table.of("coherence", name)
    return {
        "model": name,
        "rank": column.rank,
        "taxa": column.data.taxonomy.num_labels(column.rank),
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "chance": compared.chance[name],
        "heatmap_area": float(table.of("heatmap_area", name).mean()),
        "energy_on_bird": _mean_or_none(on_object),
        "bird_area": _mean_or_none(table.pictures["object_area"]),
        "coherent": float(np.mean(verdict == COHERENT)),
        "incoherent": float(np.mean(verdict == INCOHERENT)),
        "asked_of": column.asked_of or "",
        "method": column.method,
        "run": str(column.data.run.path),
        "imported": column.data.run.imported,
        "pictures": accuracy.n,  # that the accuracy is over
        "maps": len(table.example_ids),
        "species": compared.num_species(name),
        "object_pictures": int(np.isfinite(on_object).sum()),
    }


def _unknown(column: Column, compared: measure.Compared) -> str:
    """What a network does not know of the pictures; "" where it knows all."""
    ids = set(compared.table.example_ids)
    records = [one for one in column.data.source.records if one.example_id in ids]
    if not column.data.may_lack_taxa:
        return ""
    return column.data.unanswerable(records, (column.rank,))


def _mean_or_none(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _default_out(runs: Sequence[tuple[Run, str]], first: RunData) -> Path:
    ranks = tuple(dict.fromkeys(rank for _, rank in runs))
    folder = run_folder.data_folder(first.config.runs_dir, first.run.data_name)
    name = f"compare-{file_names.joined_name(ranks, '-')}"
    # Below the run folder for allowed taxa, or under another taxonomy.
    for part in first.run.results.relative_to(first.run.path).parts:
        name = file_names.file_name(f"{name}-{part}")
    return folder / name
