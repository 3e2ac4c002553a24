"""--mode=study: the controlled experiment on procedural birds, as one page.

Models of several ranks, seeds and habitats are trained where they are missing, look at
the same test images, and are compared in tables that each test one sentence.
"""

import itertools
from dataclasses import replace
from pathlib import Path

from hiercam_keras.errors import UserError
from hiercam_keras.experiments import (
    accuracy,
    evidence,
    figures,
    habitat,
    page,
    pieces,
    runs,
    same_maps,
    variants,
    views,
)
from hiercam_keras.experiments.looks import View
from hiercam_keras.experiments.pieces import Condition, Piece
from hiercam_keras.experiments.seen import Seen, pick
from hiercam_keras.experiments.tables import Table
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.run_folder import Run

INTRO = (
    "What does a network look at when it is asked for the species, and what when it is "
    "asked for the family, of the same picture? On procedural birds the part that "
    "carries each rank is known ([SYNTHETIC_BIRDS.md](SYNTHETIC_BIRDS.md)), so that "
    "the answer can be checked. The sentences in bold are made from the intervals of "
    "their table; an interval that holds 0 is reported as no difference. Intervals "
    "are not corrected for the number of comparisons. `make study` is 72 trainings, "
    "`make study-small` 8; the number below tells which one this page is of."
)

_CHOSEN = (
    "Layer and method are config.study.close. The default was chosen by the table of "
    "views below, on the first seed and these very images, so its figures flatter it."
)


def run(settings: Settings) -> str:
    """Trains what is missing, looks, and writes STUDY.md."""
    study = settings.config.study
    names = pieces.conditions(settings)
    views.check_strides(settings, study.strides)
    heads = [(rank,) for rank in study.ranks]
    wanted = pieces.every(settings, heads, study.seeds, list(names))
    done = runs.train_missing(wanted, settings)
    seen = [
        Seen(piece, views.look_at(piece, run, settings)[0])
        for piece, run in zip(wanted, done, strict=True)
    ]
    data = views.opened(done[0], settings)
    _check(data)
    out = Path(settings.out or Path(settings.config.runs_dir) / settings.config.name)
    found = _tables(settings, names, seen, done, data)
    folder = out / "study"
    for name, png in figures.study(found, data.source.evidence).items():
        figures.save(folder / name, png)
    command = "python main.py --mode=study"
    about = page.about(settings, wanted, command, len(seen[0].looks.group))
    page_path = out / "STUDY.md"
    page.write(page_path, "The study", INTRO, list(found.values()), about)
    return "\n".join(
        [*(one.short for one in found.values() if one.short), f"page: {page_path}"]
    )


def _check(data: RunData) -> None:
    if not data.source.evidence:
        raise UserError(
            f"{data.source.root} has no evidence.csv, which says which part carries "
            "which rank, so the study has nothing to check. Use --mode=curves or "
            "--mode=granularity on these images."
        )


def _tables(
    settings: Settings,
    names: dict[Condition, str],
    seen: list[Seen],
    done: list[Run],
    data: RunData,
) -> dict[str, Table]:
    study = settings.config.study
    order = data.taxonomy.ranks.index
    ranks = sorted(study.ranks, key=order)
    models = evidence.by_model(seen, names, [(rank,) for rank in ranks[::-1]])
    marks = data.source.evidence
    found = [
        accuracy.accuracy_table(models, *views.train_labels(data)),
        evidence.own_rank_table(models, marks),
        evidence.steps_table(models, marks),
        evidence.specificity_table(models, marks),
        *_close_tables(settings, names, seen, done, ranks, marks),
        _views_table(settings, names, seen, done, ranks[-1], marks),
    ]
    if len(study.habitats) > 1:
        cells, moved = _habitat_cells(settings, seen, done)
        found.append(habitat.background_table(cells, sorted(study.habitats)))
        found.append(
            habitat.transfer_table(moved, ranks[-2] if ranks[1:] else ranks[0])
        )
    if study.overrides:
        found.append(variants.variants_table(seen, names, ranks, marks))
    if len(ranks) > 1:
        coarse = "family" if "family" in ranks[:-1] else ranks[-2]
        found.append(same_maps.agreement_table(seen, names, ranks[-1], coarse))
    return {table.name: table for table in found}


def _close_tables(settings, names, seen, done, ranks, marks) -> list[Table]:
    """Parts, steps and background again, at an earlier layer."""
    study = settings.config.study
    if not study.close:
        return []
    view = View(settings.config.model.output_stride, *study.close)
    close = [
        Seen(one.piece, views.look_at(one.piece, run_, settings, views=[view])[0])
        for one, run_ in zip(seen, done, strict=True)
    ]
    models = evidence.by_model(close, names, [(rank,) for rank in ranks[::-1]])
    found = [
        evidence.steps_table(models, marks),
        evidence.specificity_table(models, marks),
    ]
    if len(study.habitats) > 1:
        cells = {
            (rank, place): pick(close, (rank,), Condition(place, _weights(study)))
            for rank in study.ranks
            for place in sorted(study.habitats)
        }
        found.append(habitat.background_table(cells, sorted(study.habitats)))
    where = f"{study.close[1]} at {study.close[0]}"
    return [
        replace(
            table,
            name=f"{table.name}-close",
            title=f"{table.title} ({where})",
            figure=table.figure.replace(".png", "-close.png"),
            short=f"{where}: {table.short}",
            note=f"{_CHOSEN} {table.note}",
        )
        for table in found
    ]


def _weights(study) -> str | None:
    return (tuple(study.weights) or (None,))[0]


def _views_table(settings, names, seen, done, rank: str, marks: dict) -> Table:
    """The finest model of the first condition and seed in all views."""
    study, first = settings.config.study, next(iter(names))
    all_views = [
        View(*view)
        for view in itertools.product(study.strides, study.layers, study.methods)
    ]
    piece, run_ = next(
        (one.piece, run_)
        for one, run_ in zip(seen, done, strict=True)
        if (one.piece.ranks, one.piece.condition) == ((rank,), first)
    )
    keys = (f"asked-{rank}", f"step-{rank}")
    found = views.look_at(piece, run_, settings, views=all_views, keys=keys)
    by_view = {
        view: [Seen(piece, looks)] for view, looks in zip(all_views, found, strict=True)
    }
    return evidence.views_table(by_view, rank, marks)


def _habitat_cells(settings: Settings, seen: list[Seen], done: list[Run]) -> tuple:
    """Pieces by (rank, habitat), and by (rank, trained, tested) habitats."""
    study = settings.config.study
    weights = _weights(study)
    low, high = min(study.habitats), max(study.habitats)
    by_place = {
        (one.piece.ranks[0], one.piece.seed, one.piece.condition): (one, run_)
        for one, run_ in zip(seen, done, strict=True)
    }
    cells, moved = {}, {}
    for rank, trained in itertools.product(study.ranks, sorted(study.habitats)):
        here = [
            by_place[rank, seed, Condition(trained, weights)] for seed in study.seeds
        ]
        cells[rank, trained] = [one for one, _ in here]
        if trained not in (low, high):
            continue
        for tested in (low, high):
            moved[rank, trained, tested] = [
                one
                if trained == tested
                else _elsewhere(
                    one.piece,
                    run_,
                    settings,
                    by_place[rank, seed, Condition(tested, weights)][1],
                )
                for seed, (one, run_) in zip(study.seeds, here, strict=True)
            ]
    return cells, moved


def _elsewhere(piece: Piece, run_: Run, settings: Settings, images_of: Run) -> Seen:
    key = f"asked-{piece.ranks[-1]}"
    found = views.look_at(piece, run_, settings, images_of=images_of, keys=(key,))
    return Seen(piece, found[0])
