"""What compare shows: which pictures, what is said of them, and the sentences."""

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import runtime
from hiercam_keras.cam import heatmaps, store
from hiercam_keras.modes.comparison import (
    HOT,
    Column,
    Numbers,
    mean_or_none,
    part_table,
)
from hiercam_keras.modes.load import make_loader
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import page, schema, sheets, tables

QUESTION = (
    "What does a network look at when it is asked for the {first}, and what when it is "
    "asked for the {last}, of the same picture?"
)


def write(
    out: Path, columns: list[Column], numbers: Numbers, settings: Settings
) -> Path:
    """Writes the sheets and index.html; returns the page's path."""
    models = [_model(column, numbers) for column in columns]
    sections = _sections(numbers, settings)
    wanted = list(
        dict.fromkeys(one for section in sections for one in section.example_ids)
    )
    pictures = _pictures(wanted, columns, numbers, settings)
    by_id = {picture.example_id: picture for picture in pictures}
    for name, section in zip(("chosen", "most", "least"), sections, strict=True):
        chosen = [by_id[one] for one in section.example_ids]
        sheets.write_sheets(out, chosen, models, section.title, name)
    header, rows = part_table(columns, numbers)
    extra = ()
    if rows:
        caption = (
            "Share of the heatmap's energy on a part, divided by the part's share of "
            "the picture: 1 is chance."
        )
        extra = (schema.Table("Where the evidence lies", header, tuple(rows), caption),)
    own = [column for column in columns if column.asked_of is None]
    content = schema.Page(
        title=f"{columns[0].data.run.data_name}: {' and '.join(c.name for c in own)}",
        question=QUESTION.format(first=own[0].rank, last=own[-1].rank),
        sentences=_sentences(columns, numbers),
        ranks=columns[0].data.taxonomy.ranks,
        models=tuple(models),
        pictures=tuple(pictures),
        sections=tuple(sections),
        curves={
            column.name: tables.read_log(column.data.run.path / "log.csv")
            for column in own
        },
        chances={c.name: numbers.by_column[c.name].chance for c in own},
        agreement_name="mean correlation of the heatmaps",
        tables=extra,
        facts=_facts(columns, settings),
    )
    page.write_page(out, content)
    return out / "index.html"


def _model(column: Column, numbers: Numbers) -> schema.Model:
    one = numbers.by_column[column.name]
    return schema.Model(
        name=column.name,
        rank=column.rank,
        num_classes=column.data.taxonomy.num_labels(column.rank),
        accuracy=one.accuracy,
        accuracy_interval=one.accuracy_interval,
        chance=one.chance,
        heatmap_area=float(one.heatmap_area.mean()),
        energy_on_bird=mean_or_none(one.energy_on_bird),
        bird_area=mean_or_none(numbers.bird_area),
    )


def _sections(numbers: Numbers, settings: Settings) -> list[schema.Section]:
    """By the seed, and where the heatmaps agree most and least."""
    config = settings.config
    ids = np.array(numbers.example_ids, object)
    rng = np.random.default_rng(config.seed)
    count = min(config.compare.num_images, len(ids))
    drawn = np.sort(rng.choice(len(ids), count, replace=False))
    order = np.argsort(-numbers.agreement, kind="stable")
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
    wanted: list[str], columns: list[Column], numbers: Numbers, settings: Settings
) -> list[schema.Picture]:
    data = columns[0].data
    known = {record.example_id: record for record in data.records(settings.split)}
    records = [known[example_id] for example_id in wanted]
    readers = [store.open(column.maps) for column in columns]
    position = {example_id: i for i, example_id in enumerate(numbers.example_ids)}
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
                        agreement=_known(numbers.agreement[number]),
                        split=settings.split,
                        bird_area=_known(numbers.bird_area[number]),
                    )
                )
    return found


def _view(column: Column, entry: Any, numbers: Numbers, number: int) -> schema.View:
    one = numbers.by_column[column.name]
    taxonomy, label = column.data.taxonomy, int(one.predicted[number])
    # Four times the map's own cells: enough for a browser to smooth on.
    side = 4 * max(entry.cam.shape[-2:])
    return schema.View(
        model=column.name,
        predicted=taxonomy.prefixes(column.rank)[label],
        predicted_name=taxonomy.names(column.rank)[label],
        probability=float(one.probability[number]),
        correct=bool(one.true[number] == label),
        heatmap=heatmaps.heatmap(entry.cam[0], side),
        degenerate=bool(one.degenerate[number]),
        energy_on_bird=_known(one.energy_on_bird[number]),
        numbers={"heatmap area": float(one.heatmap_area[number])},
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _sentences(columns: list[Column], numbers: Numbers) -> tuple[str, ...]:
    """Three sentences, computed from this comparison's numbers."""
    own = [column for column in columns if column.asked_of is None]
    count = len(numbers.example_ids)
    right = ", ".join(
        f"the {c.name} model in {numbers.by_column[c.name].accuracy:.1%} "
        f"(guessing: {numbers.by_column[c.name].chance:.1%})"
        for c in own
    )
    first = (
        f"Of {count} pictures that no model had seen, {right} named the right taxon."
    )
    areas = ", ".join(
        f"{numbers.by_column[c.name].heatmap_area.mean():.0%} ({c.name})" for c in own
    )
    second = (
        f"The hot part of the heatmap (above {HOT:.0%}) covers {areas} of the picture"
    )
    bird = mean_or_none(numbers.bird_area)
    if bird is not None:
        shares = ", ".join(
            f"{mean_or_none(numbers.by_column[c.name].energy_on_bird):.0%} ({c.name})"
            for c in own
        )
        second += f"; {shares} of its energy lies on the bird, which fills {bird:.0%}"
    third = (
        "On the same picture the heatmaps correlate at "
        f"{np.nanmean(numbers.agreement):.2f} on average, and at less than 0.5 in "
        f"{np.mean(numbers.agreement < 0.5):.0%} of the pictures."
    )
    return first, second + ".", third


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
