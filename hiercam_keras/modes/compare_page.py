"""What compare shows: which pictures, what is said of them, and what it all means."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import runtime
from hiercam_keras.cam import heatmaps, store
from hiercam_keras.data.sources.credits import read_credits
from hiercam_keras.modes import compare_answer, compare_steps, compare_table
from hiercam_keras.modes.comparison import Column
from hiercam_keras.modes.load import make_loader
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import intervals, page, schema, sheets, tables

QUESTION = (
    "What does a network look at when it is asked for the {first}, and what when it is "
    "asked for the {last}, of the same picture?"
)


def write(out: Path, columns: list[Column], settings: Settings) -> Path:
    """Writes the sheets and index.html from the tables in `out`; returns the page."""
    numbers = compare_table.read(out / "numbers.csv")
    summary = compare_table.read_optional(out / "summary.csv")
    models = [_model(row) for row in summary]
    own = [column for column in columns if column.asked_of is None]
    data = columns[0].data
    sections = choose_sections(numbers, settings)
    wanted = dict.fromkeys(one for section in sections for one in section.example_ids)
    known = {record.example_id: record for record in data.records(settings.split)}
    records = [known[one] for one in wanted]
    steps = compare_steps.make(own[0].name, own[0].data, settings.split, records)
    pictures = _pictures(records, columns, numbers, steps, settings)
    by_id = {picture.example_id: picture for picture in pictures}
    for name, section in zip(("chosen", "most", "least"), sections, strict=True):
        chosen = [by_id[one] for one in section.example_ids]
        sheets.write_sheets(out, chosen, models, section.title, name)
    evidence = data.source.evidence or {}
    plain = compare_answer.plain_lifts(numbers, evidence)
    lifts = plain | {f"step to the {r}": parts for r, parts in steps.lifts.items()}
    answer = compare_answer.sentences(numbers, summary, plain, steps, evidence)
    content = schema.Page(
        title=f"{data.run.data_name}: {' and '.join(c.name for c in own)}",
        question=QUESTION.format(first=own[0].rank, last=own[-1].rank),
        sentences=answer,
        ranks=data.taxonomy.ranks,
        models=tuple(models),
        pictures=tuple(pictures),
        sections=tuple(sections),
        curves={
            column.name: tables.read_log(column.data.run.path / "log.csv")
            for column in own
        },
        chances={row["model"]: float(row["chance"]) for row in summary},
        agreement_name="heatmap correlation",
        tables=_tables(out, numbers, lifts, evidence),
        figures=_figures(summary, lifts, evidence, steps),
        steps_of=steps.model,
        facts=_facts(columns, settings),
    )
    page.write_page(out, content)
    return out / "index.html"


def _model(row: Mapping[str, str]) -> schema.Model:
    def known(*names: str) -> float | None:
        return next((float(row[name]) for name in names if row.get(name)), None)

    return schema.Model(
        name=row["model"],
        rank=row["rank"],
        num_classes=int(row["taxa"]),
        accuracy=float(row["accuracy"]),
        accuracy_interval=(float(row["low"]), float(row["high"])),
        chance=float(row["chance"]),
        heatmap_area=known("heatmap_area"),
        energy_on_bird=known("energy_on_object", "energy_on_bird"),
        bird_area=known("object_area", "bird_area"),
        numbers={
            f"{name} maps, %": 100 * float(row[name])
            for name in ("coherent", "incoherent")
            if row.get(name)
        },
    )


def choose_sections(
    numbers: compare_table.Numbers, settings: Settings
) -> list[schema.Section]:
    """By the seed, and where the heatmaps agree most and least."""
    config = settings.config
    ids = np.array(numbers.example_ids, object)
    agreement = numbers.of_picture("agreement")
    rng = np.random.default_rng(config.seed)
    count = len(ids) if config.compare.num_images < 0 else config.compare.num_images
    count = min(count, len(ids))
    drawn = np.sort(rng.choice(len(ids), count, replace=False))
    order = np.argsort(-agreement, kind="stable")
    extreme = min(config.compare.num_extreme, len(ids))
    what = "the heatmaps of the models, by their mean correlation"
    return [
        schema.Section(
            "Chosen by seed",
            f"{count} of {len(ids)} pictures of the {settings.split} split, drawn with "
            f"seed {config.seed}.",
            tuple(ids[drawn]),
        ),
        schema.Section(
            "Most agreeing",
            f"The {extreme} pictures on which {what}, are most alike.",
            tuple(ids[order[:extreme]]),
        ),
        schema.Section(
            "Least agreeing",
            f"The {extreme} pictures on which {what}, are least alike.",
            tuple(ids[order[::-1][:extreme]]),
        ),
    ]


def _pictures(
    records: list,
    columns: list[Column],
    numbers: compare_table.Numbers,
    steps: compare_steps.Steps,
    settings: Settings,
) -> list[schema.Picture]:
    data = columns[0].data
    known = {record.example_id: record for record in records}
    readers = [store.open(column.maps) for column in columns]
    position = {example_id: i for i, example_id in enumerate(numbers.example_ids)}
    areas = numbers.of_picture("chance", "bird_area")
    agreement = numbers.of_picture("agreement")
    credits = read_credits(data.source.root)
    size = min(32, len(records))
    found = []
    with make_loader(
        records, data.taxonomy, data.config, batch_size=size, once=True
    ) as loader:
        for batch in loader.epoch(0):
            for row in np.flatnonzero(batch.mask):
                record = known[batch.example_ids[row]]
                number = position[record.example_id]
                views = [
                    _view(column, reader.get(record.example_id), numbers, number)
                    for column, reader in zip(columns, readers, strict=True)
                ]
                found.append(
                    schema.Picture(
                        example_id=record.example_id,
                        image=batch.images[row],
                        true=record.lineage.taxa,
                        true_name=record.lineage.display_name(data.taxonomy.finest),
                        views=tuple(views),
                        agreement=_known(agreement[number]),
                        split=settings.split,
                        bird_area=_known(areas[number]),
                        steps=compare_steps.shown(steps, record, data.taxonomy),
                        credit=credits.get(record.example_id, ""),
                    )
                )
    return found


def _view(
    column: Column, entry: Any, numbers: compare_table.Numbers, number: int
) -> schema.View:
    taxonomy, name = column.data.taxonomy, column.name
    evidence = column.data.source.evidence or {}
    label = int(numbers.predicted[name][number])
    inside = numbers.first("energy_on_object", "energy_on_bird")
    told = {
        compare_answer.title(measure, evidence): float(by_model[name][number])
        for measure, by_model in numbers.measures.items()
        if np.isfinite(by_model[name][number])
        and measure not in ("energy_on_object", "energy_on_bird")
    }
    coherent = numbers.coherent.get(name)
    # Four times the map's own cells: enough for a browser to smooth on.
    side = 4 * max(entry.cam.shape[-2:])
    return schema.View(
        model=name,
        predicted=taxonomy.prefixes(column.rank)[label],
        predicted_name=taxonomy.names(column.rank)[label],
        probability=float(numbers.probability[name][number]),
        correct=bool(numbers.correct[name][number]),
        heatmap=heatmaps.heatmap(entry.cam[0], side),
        degenerate=bool(numbers.degenerate[name][number]),
        energy_on_bird=None if inside is None else _known(inside[name][number]),
        numbers=told,
        coherent=coherent[number] if coherent else None,
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _tables(out, numbers, lifts, evidence) -> tuple[schema.Table, ...]:
    made = []
    if lifts:
        made.append(compare_answer.lift_table(lifts, evidence))
    made.append(compare_answer.measure_table(numbers, evidence))
    rows = compare_table.read_optional(out / "statistics.csv")
    paired = compare_answer.statistics_table(rows, evidence)
    return tuple([*made, paired] if paired.rows else made)


def _figures(summary, lifts, evidence, steps) -> tuple[schema.Figure, ...]:
    accuracy = {
        row["model"]: (float(row["accuracy"]), float(row["low"]), float(row["high"]))
        for row in summary
    }
    chances = {row["model"]: float(row["chance"]) for row in summary}
    png = intervals.intervals_png(
        {"Accuracy": accuracy}, "accuracy, 95 % interval", chances, percent=True
    )
    alt = "; ".join(f"{name} {value[0]:.1%}" for name, value in accuracy.items())
    figures = [
        schema.Figure("Accuracy", png, f"Accuracy with intervals: {alt}",
                      "The gray tick is guessing.")
    ]  # fmt: skip
    if not lifts:
        return tuple(figures)
    parts = {part: rank for rank, (part, _) in evidence.items()}
    panels = {
        f"{compare_answer.word(part)} ({rank})": {
            name: by_part[part] for name, by_part in lifts.items() if part in by_part
        }
        for part, rank in parts.items()
    }
    marked = {
        f"{compare_answer.word(part)} ({rank})": (f"step to the {rank}",)
        for part, rank in parts.items()
    }
    png = intervals.intervals_png(panels, "times chance", 1.0, marked)
    figures.append(
        schema.Figure(
            "Where the evidence lies",
            png,
            "Energy on each part over chance, for each map, as in the table.",
            f"Of the plain maps over all pictures, of the steps over {steps.count}. In "
            "orange the step whose trait the part carries.",
        )
    )
    return tuple(figures)


def _facts(columns: list[Column], settings: Settings) -> dict[str, str]:
    config = columns[0].data.config
    runs = ", ".join(dict.fromkeys(str(column.data.run.path) for column in columns))
    versions = runtime.versions()
    packages = ("hiercam_keras", "keras", "jax", "numpy")
    return {
        "data": f"{columns[0].data.run.data_name}, {settings.split} split",
        "runs": runs,
        "method": f"{config.cam.method} of the predicted taxon at "
        f"{config.cam.layer or 'the last activation'}",
        "seed": str(settings.config.seed),
        "versions": ", ".join(f"{n} {versions[n]}" for n in packages if n in versions),
        "command": "python " + " ".join(map(shlex.quote, sys.argv)),
    }
