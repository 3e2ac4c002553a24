"""What compare shows: which pictures, what is said of them, and what it all means."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import runtime, tables, wording
from hiercam_keras.cam import map_scale, store
from hiercam_keras.evaluation.table import Table
from hiercam_keras.metrics.coherence import COHERENT, INCOHERENT
from hiercam_keras.modes import (
    compare_answer,
    compare_figures,
    compare_lifts,
    compare_steps,
    compare_tables,
    taxonomies,
    titles,
    whole_pictures,
)
from hiercam_keras.modes.comparison.columns import Column
from hiercam_keras.modes.comparison.measure import Compared, right_or_none
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import page, schema, sheets, step_strips
from hiercam_keras.taxonomy.lineage import MISSING, Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

_SHEET_PICTURES = 48  # of a section, on its sheets
_COHERENT = {COHERENT: True, INCOHERENT: False}  # else undecided
_STRIP_PICTURES = 5  # of taxa that differ, with all steps


def write(
    out: Path,
    columns: list[Column],
    compared: Compared,
    summary: Sequence[Mapping[str, Any]],
    tested: Sequence[Mapping[str, Any]],
    settings: Settings,
) -> Path:
    """Writes index.html, the sheets, steps.csv and lifts.csv; returns the page.

    Pictures stream through, in the order of the split; those of the sheets are kept.

    Args:
      out: the folder.
      columns: what is compared.
      compared: the numbers of all pictures.
      summary: rows of summary.csv.
      tested: rows of statistics.csv.
      settings: the command's.
    """
    models = [_model(row) for row in summary]
    own = [column for column in columns if column.asked_of is None]
    data = columns[0].data
    evidence = data.source.evidence or {}
    noun = data.config.data.noun
    ranks = _shared_ranks(columns)
    sections = choose_sections(compared.table, settings, data.in_words(settings.split))
    wanted = {one for section in sections for one in section.example_ids}
    records = [r for r in data.records(settings.split) if r.example_id in wanted]
    steps = _steps(own, records, settings.split)
    compare_steps.write_table(out / "steps.csv", steps)
    lifts = compare_lifts.measure(compared, steps, evidence)
    compare_lifts.write(out, lifts)
    on_sheets = {
        name: section.example_ids[:_SHEET_PICTURES]
        for name, section in zip(("chosen", "most", "least"), sections, strict=True)
    }
    kept: dict[str, schema.Picture] = {}
    streamed = _keep(
        _pictures(records, columns, compared, steps, settings, ranks),
        {one for ids in on_sheets.values() for one in ids},
        kept,
    )
    content = schema.Page(
        title=titles.of_comparison(titles.of_images(data), noun, own),
        question=compare_answer.question(summary),
        sentences=compare_answer.sentences(
            compared, summary, lifts, settings.split, tested, noun
        ),
        ranks=ranks,
        models=tuple(models),
        pictures=streamed,
        sections=tuple(sections),
        **_curves(own, summary),
        agreement_name="heatmap correlation",
        tables=compare_tables.make(compared, tested, lifts, evidence, noun),
        figures=compare_figures.draw(summary, lifts),
        steps_of=steps.model,
        facts=_facts(columns, settings),
        noun=noun,
    )
    page.write_page(out, content, inline=len(records) <= page.MAX_INLINE)
    for (name, ids), section in zip(on_sheets.items(), sections, strict=True):
        chosen = [kept[one] for one in ids if one in kept]
        sheets.write_sheets(out, chosen, models, section.title, name, noun=noun)
    drawn = [kept[one] for one in on_sheets["chosen"] if one in kept]
    depth = ranks.index(own[-1].rank) if own[-1].rank in ranks else len(ranks) - 1
    shown = step_strips.of_different_taxa(drawn, depth, _STRIP_PICTURES)
    step_strips.write_strips(out / "steps.png", shown, models, steps.model)
    return out / "index.html"


def _steps(own: Sequence[Column], records: list, split: str) -> compare_steps.Steps:
    """The steps of the first model that has any."""
    for column in own:
        if column.has_steps:
            return compare_steps.make(column.name, column.data, split, records)
    return compare_steps.NONE


def _keep(
    pictures: Iterator[schema.Picture], wanted: set[str], kept: dict
) -> Iterator[schema.Picture]:
    """Gives pictures on, and keeps those that are wanted later."""
    for picture in pictures:
        if picture.example_id in wanted:
            kept[picture.example_id] = picture
        yield picture


def _model(row: Mapping[str, Any]) -> schema.Model:
    interval = (row["low"], row["high"])
    return schema.Model(
        name=row["model"],
        rank=row["rank"],
        num_classes=row["taxa"],
        accuracy=row["accuracy"],
        accuracy_interval=interval if np.isfinite(interval).all() else None,
        chance=row["chance"],
        pictures=row["pictures"],
        maps=row["maps"],
        pictures_with_object=row["object_pictures"],
        heatmap_area=row["heatmap_area"],
        energy_on_object=row["energy_on_bird"],
        object_area=row["bird_area"],
        shares={f"{name} maps": row[name] for name in ("coherent", "incoherent")},
    )


def _curves(own: Sequence[Column], summary: Sequence[Mapping[str, Any]]) -> dict:
    """`curves` and `chances` of the page: each run once, for all of its questions."""
    chance = {row["model"]: row["chance"] for row in summary}
    by_run: dict[Path, list[Column]] = {}
    for column in own:
        by_run.setdefault(column.data.run.path, []).append(column)
    curves, chances = {}, {}
    for path, columns in by_run.items():
        if columns[0].data.run.imported:
            continue  # nothing is known of its training
        several = len(columns[0].data.run.ranks) > 1
        name = "+".join(columns[0].data.run.ranks) if several else columns[0].name
        if name in curves:
            name = f"{name} ({path})"
        curves[name] = tables.read_log(path / "log.csv")
        for column in columns:
            place = f"{name} {column.rank}" if several else name
            chances.setdefault(place, chance[column.name])
    return {"curves": curves, "chances": chances}


def choose_sections(
    table: Table, settings: Settings, split: str
) -> list[schema.Section]:
    """By the seed, in the order drawn, and where heatmaps agree most and least;
    `split` is what the pictures are of, in words."""
    config = settings.config
    ids = table.example_ids.astype(object)
    agreement = table.pictures["agreement"]
    rng = np.random.default_rng(config.seed)
    count = len(ids) if config.compare.num_images < 0 else config.compare.num_images
    count = min(count, len(ids))
    drawn = rng.permutation(len(ids))[:count]
    order = np.argsort(-agreement, kind="stable")
    extreme = min(config.compare.num_extreme, len(ids))
    shown = wording.count(extreme, "picture")
    what = "the heatmaps of the models, by their mean correlation"
    return [
        schema.Section(
            "Drawn by seed",
            f"{count} of {wording.count(len(ids), 'picture')} of {split}, "
            f"in the order in which seed {config.seed} draws them.",
            tuple(ids[drawn]),
        ),
        schema.Section(
            "Most agreeing",
            f"The {shown} on which {what}, are most alike.",
            tuple(ids[order[:extreme]]),
        ),
        schema.Section(
            "Least agreeing",
            f"The {shown} on which {what}, are least alike.",
            tuple(ids[order[::-1][:extreme]]),
        ),
    ]


def _pictures(
    records: list,
    columns: list[Column],
    compared: Compared,
    steps: compare_steps.Steps,
    settings: Settings,
    ranks: tuple[str, ...],
) -> Iterator[schema.Picture]:
    """The pictures of the page, one at a time."""
    data, table = columns[0].data, compared.table
    known = {record.example_id: record for record in records}
    readers = [store.open(column.maps) for column in columns]
    position = {example_id: i for i, example_id in enumerate(table.example_ids)}
    of_steps = {record.example_id: i for i, record in enumerate(steps.records)}
    areas, agreement = table.pictures["object_area"], table.pictures["agreement"]
    credits = data.source.credits()
    evidence = data.source.evidence or {}
    scale = settings.config.report.scale
    size = min(32, len(records))
    for batch, rows in data.batches(records, "page", size):
        for row in rows:
            record = known[batch.example_ids[row]]
            number = position[record.example_id]
            step = of_steps.get(record.example_id)
            chosen, top = (), None
            if step is not None:
                chosen, top = compare_steps.shown(steps, step, evidence, scale)
            yield schema.Picture(
                example_id=record.example_id,
                # A copy: a view would keep the whole batch.
                image=batch.images[row].copy(),
                true=_true(record.lineage, ranks),
                true_name=record.lineage.display_name(record.lineage.finest),
                common=_common(columns, record.lineage, ranks),
                views=tuple(
                    _view(
                        column,
                        reader.get(record.example_id),
                        compared,
                        number,
                        _lineage(column, compared.table, number, record.lineage, ranks),
                        _known_ranks(column, record.lineage, ranks),
                        ranks,
                    )
                    for column, reader in zip(columns, readers, strict=True)
                ),
                agreement=_known(agreement[number]),
                split=settings.split,
                object_area=_known(areas[number]),
                steps=chosen,
                steps_top=top,
                credit=credits.get(record.example_id, ""),
                whole=whole_pictures.located(record, batch.geometry[row]),
            )


def _shared_ranks(columns: Sequence[Column]) -> tuple[str, ...]:
    """The ranks of the pictures' lineages that every model has, for the page."""
    own = columns[0].data.source.records[0].lineage.ranks
    known = [set(column.data.taxonomy.ranks) for column in columns]
    shared = tuple(rank for rank in own if all(rank in one for one in known))
    return shared or own


def _lineage(
    column: Column, table: Table, number: int, true: Lineage, ranks: Sequence[str]
) -> tuple[str, ...]:
    """The predicted lineage at the page's ranks, down to the column's.

    A taxon that is the picture's has the name that the picture's lineage gives it: the
    two may spell it in two ways.
    """
    taxonomy, rank = column.data.taxonomy, column.rank
    label = int(table.of("predicted", column.name)[number])
    above = taxonomy.ranks[: taxonomy.ranks.index(rank) + 1]
    names = []
    for one in ranks:
        if one not in above:
            break
        mine = int(taxonomy.parents(rank, one)[label])
        if mine < 0:  # the taxon has no such rank
            names.append(MISSING)
            continue
        same = column.data.truth.label(true, one) == mine
        names.append(true.prefix(one)[-1] if same else taxonomy.prefixes(one)[mine][-1])
    return tuple(names)


def _true(lineage: Lineage, ranks: Sequence[str]) -> tuple[str, ...]:
    """The true taxa at the page's ranks, down to the finest that is known."""
    taxa = [lineage.prefix(rank)[-1] for rank in ranks]
    while taxa and taxa[-1] == MISSING:
        taxa.pop()
    return tuple(taxa)


def _common(
    columns: Sequence[Column], true: Lineage, ranks: Sequence[str]
) -> tuple[str, ...]:
    """Common names of a true lineage at the page's ranks: those of the images' data,
    else of the first network that has one."""
    return tuple(
        next(filter(None, (one.data.common_name(true, rank) for one in columns)), "")
        for rank in ranks[: len(_true(true, ranks))]
    )


def _view(
    column: Column,
    entry: Any,
    compared: Compared,
    number: int,
    predicted: tuple[str, ...],
    known: int,
    ranks: Sequence[str],
) -> schema.View:
    taxonomy, table = column.data.taxonomy, compared.table
    evidence = column.data.source.evidence or {}
    noun = column.data.config.data.noun
    place = table.questions.index(column.name)
    value = {name: array[number, place] for name, array in table.values.items()}
    shown = {
        compare_tables.title(measure, evidence, noun): float(value[measure])
        for measure in compared.measures
        if measure != "energy_on_object" and np.isfinite(value[measure])
    }
    label = int(value["predicted"])
    # Four times the map's own cells: enough for a browser to smooth on.
    side = 4 * max(entry.cam.shape[-2:])
    shown_map = map_scale.show_row(entry.cam[:1], side)
    return schema.View(
        model=column.name,
        predicted=predicted,
        predicted_name=taxonomy.names(column.rank)[label],
        common=_common_of(taxonomy, column.rank, label, ranks)[: len(predicted)],
        probability=float(value["probability"]),
        correct=right_or_none(value),
        heatmap=shown_map.heat[0],
        degenerate=bool(value["degenerate"]),
        energy_on_object=_known(value["energy_on_object"]),
        numbers=shown,
        coherent=_COHERENT.get(str(value["coherence"])),
        remark=". ".join(filter(None, (_belief(column, entry), *shown_map.remarks))),
        known=known,
    )


def _common_of(
    taxonomy: Taxonomy, rank: str, label: int, ranks: Sequence[str]
) -> tuple[str, ...]:
    """Common names of a taxon and of those above it, at the page's ranks."""
    names = []
    for one in ranks:
        if one in taxonomy.ranks[: taxonomy.ranks.index(rank) + 1]:
            above = int(taxonomy.parents(rank, one)[label])
            names.append(taxonomy.common_name(one, above) if above >= 0 else "")
    return tuple(names)


def _belief(column: Column, entry: Any) -> str:
    """How far down the answer of a run with a rule is believed; "" for others."""
    words = column.believed_in_words.get(entry.example_id)
    return f"believed: {words}" if words else ""


def _known_ranks(column: Column, true: Lineage, ranks: Sequence[str]) -> int:
    """How many of the ranks, from the coarsest, have a true taxon that the model knows.

    A rank that the page shows and the model does not have counts as unknown, and one
    that the true lineage skips does not.
    """
    truth, count = column.data.truth, 0
    for rank in ranks[: len(_true(true, ranks))]:
        if rank not in truth.ranks:
            break
        if true.has(rank) and truth.label(true, rank) < 0:
            break
        count += 1
    return count


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _facts(columns: list[Column], settings: Settings) -> dict[str, str]:
    config = columns[0].data.config
    runs = ", ".join(dict.fromkeys(str(column.data.run.path) for column in columns))
    imported = dict.fromkeys(
        str(column.data.run.path) for column in columns if column.data.run.imported
    )
    unknown = {}
    if imported:
        unknown = {"training data, split and seed": f"unknown of {', '.join(imported)}"}
    versions = runtime.versions()
    packages = ("hiercam_keras", "keras", "jax", "numpy")
    split = columns[0].data.in_words(settings.split)
    return {
        "data": f"{columns[0].data.data_name}, {split.removeprefix('the ')}",
        "runs": runs,
        **unknown,
        "method": f"{config.cam.method} of the predicted taxon at "
        f"{config.cam.layer or 'the last activation'}",
        "seed": str(settings.config.seed),
        **taxonomies.fact(columns[0].data.taxonomy),
        "versions": ", ".join(f"{n} {versions[n]}" for n in packages if n in versions),
        "command": "python " + " ".join(map(shlex.quote, sys.argv)),
    }
