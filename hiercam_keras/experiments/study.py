"""--mode=study: the controlled experiment on procedural birds, as one page.

Models of several ranks, seeds and habitats are trained if missing, measured on the same
test images, and compared in tables that each test one claim.
"""

import itertools
from dataclasses import replace

from hiercam_keras.errors import UserError
from hiercam_keras.experiments import (
    ablations,
    accuracy,
    accuracy_gaps,
    background_shift,
    evidence,
    map_agreement,
    map_settings,
    original_claims,
    page,
    runs,
    study_figures,
    training_grid,
    view_tables,
)
from hiercam_keras.experiments.map_fields import MapFields
from hiercam_keras.experiments.measurements import MapSettings
from hiercam_keras.experiments.pooling import MeasuredRun, pick
from hiercam_keras.experiments.results import ORIGINAL, Result
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import style
from hiercam_keras.runs.run_folder import Run

INTRO = (
    "What does a network look at when it is asked for the species, and what when it is "
    "asked for the family, of the same picture? On procedural birds the part that "
    "carries each rank is known ([SYNTHETIC_BIRDS.md](SYNTHETIC_BIRDS.md)), so that "
    "the answer can be checked. Which part a network *uses*, and whether maps say so, "
    "is the question of [CAUSES.md](CAUSES.md). The sentences in bold come from the "
    "intervals of their table; an interval that holds 0 is reported as no difference. "
    "Intervals are not corrected for the number of comparisons. `make study` is 72 "
    "trainings, `make study-small` 12; the number below is that of this page."
)

_CHOSEN = (
    "Layer and method are config.study.close. The default was chosen by the table of "
    "views below, on the seed 0 and these images, so its figures are optimistic."
)


def run(settings: Settings) -> str:
    """Trains and measures what is missing, and writes STUDY.md."""
    study = settings.config.study
    names = training_grid.conditions(settings)
    map_settings.check_strides(settings, study.strides)
    heads = [(rank,) for rank in study.ranks]
    wanted = training_grid.every(settings, heads, study.seeds, list(names))
    done = runs.train_missing(wanted, settings, maps=_map_fields(study, wanted[0]))
    measured = [
        MeasuredRun(spec, map_settings.measurements_at(spec, run, settings)[0])
        for spec, run in zip(wanted, done, strict=True)
    ]
    data = map_settings.opened(done[0], settings)
    _check(data)
    out = page.out_folder(settings)
    found = _tables(settings, names, measured, done, data)
    folder = out / "study"
    for name, png in study_figures.draw(found, data.source.evidence).items():
        style.save_png(folder / name, png)
    command = "python main.py --mode=study"
    about = page.about(settings, wanted, command, len(measured[0].table))
    about += seeds_note(len(study.seeds))
    page_path = out / "STUDY.md"
    command = page.command_line(settings, command)
    page.write(page_path, "The study", INTRO, list(found.values()), about, command)
    return "\n".join(
        [*(one.short for one in found.values() if one.short), f"page: {page_path}"]
    )


def _map_fields(study, spec: TrainingSpec) -> MapFields:
    """Layers and methods of all tables.

    Raises:
      UserError: there are none for the table of views.
    """
    for name in ("strides", "layers", "methods"):
        if not study[name]:
            raise UserError(f"config.study.{name} is empty, expected one or more.")
    fields = MapFields.usual(spec)
    layers = {"study.layers": tuple(study.layers)}
    methods = {"study.methods": tuple(study.methods)}
    if study.close:
        layers["study.close"], methods["study.close"] = ((one,) for one in study.close)
    return MapFields({**fields.layers, **layers}, {**fields.methods, **methods})


def seeds_note(count: int) -> list[str]:
    """The limits of few seeds, as one sentence; none from five seeds on."""
    if count >= 5:
        return []
    if count == 1:
        return ["With one seed the variation between trainings is unknown."]
    return [
        f"{count} seeds do not show how much trainings vary. Each interval resamples "
        f"{count} of the {count} seeds, and a further training may well be outside of "
        "it. Results that rest on many images of one model are reliable; results that "
        "rest on one training against another, such as an accuracy by rank or by "
        "habitat, are not."
    ]


def _check(data: RunData) -> None:
    if not data.source.evidence:
        raise UserError(
            f"{data.source.root} has no evidence.csv, which says which part carries "
            "which rank, so the study has nothing to compare with. Use --mode=curves "
            "or --mode=granularity on these images."
        )


def _tables(
    settings: Settings,
    names: dict[Condition, str],
    measured: list[MeasuredRun],
    done: list[Run],
    data: RunData,
) -> dict[str, Result]:
    study = settings.config.study
    order = data.taxonomy.ranks.index
    ranks = sorted(study.ranks, key=order)
    models = evidence.by_model(measured, names, [(rank,) for rank in ranks[::-1]])
    marks = data.source.evidence
    labels, counts = map_settings.train_labels(data)
    unchanged = {one: words for one, words in names.items() if not one.overrides}
    claimed = original_claims.claims_table(
        evidence.by_model(measured, unchanged, [(rank,) for rank in ranks]),
        marks,
        labels,
        counts,
    )
    found = [claimed] if claimed else []
    found += [
        replace(
            accuracy.accuracy_table(models, labels, counts),
            figure="study/accuracy.png",
            source=ORIGINAL,
        )
    ]
    if len(ranks) > 1:
        found.append(
            accuracy_gaps.gaps_table(models, labels, counts, data.taxonomy.ranks)
        )
    found += [
        evidence.own_rank_table(models, marks),
        evidence.steps_table(models, marks),
        evidence.specificity_table(models, marks),
        *_close_tables(settings, names, measured, done, ranks, marks),
    ]
    if ranks[-1] in marks:
        views = _views_table(settings, names, measured, done, ranks[-1], marks)
        found.append(views)
    if len(study.habitats) > 1:
        habitats = sorted(study.habitats)
        for weights in tuple(study.weights) or (None,):
            cells, moved = _habitat_cells(settings, measured, done, weights)
            coarse = ranks[-2] if ranks[1:] else ranks[0]
            found += [
                for_weights(
                    background_shift.background_table(cells, habitats), study, weights
                ),
                for_weights(
                    background_shift.transfer_table(moved, coarse), study, weights
                ),
            ]
    if study.overrides and marks.keys() & set(ranks):
        found.append(ablations.variants_table(measured, names, ranks, marks))
    if len(ranks) > 1:
        coarse = "family" if "family" in ranks[:-1] else ranks[-2]
        found.append(map_agreement.agreement_table(measured, names, ranks[-1], coarse))
    return {table.name: table for table in found}


def for_weights(table: Result, study, weights: str | None) -> Result:
    """The table of models with these initial weights, under its own name and title."""
    several = tuple(study.weights)
    if len(several) < 2:
        return table
    words = training_grid.weights_words(weights)
    suffix = "" if weights == several[0] else f"-{words.rpartition(' ')[2]}"
    return replace(
        table,
        name=f"{table.name}{suffix}",
        title=f"{table.title} ({words})",
        figure=table.figure.replace(".png", f"{suffix}.png"),
        short=f"{words[:1].upper()}{words[1:]}: {table.short}",
        missing=tuple(f"{words[:1].upper()}{words[1:]}: {m}" for m in table.missing),
    )


def _close_tables(settings, names, measured, done, ranks, marks) -> list[Result]:
    """Parts, steps and background again, at an earlier layer."""
    study = settings.config.study
    if not study.close:
        return []
    view = MapSettings(settings.config.model.output_stride, *study.close)
    close = [
        MeasuredRun(
            one.spec,
            map_settings.measurements_at(one.spec, run_, settings, views=[view])[0],
        )
        for one, run_ in zip(measured, done, strict=True)
    ]
    models = evidence.by_model(close, names, [(rank,) for rank in ranks[::-1]])
    found = [
        evidence.steps_table(models, marks),
        evidence.specificity_table(models, marks),
    ]
    for weights in (tuple(study.weights) or (None,)) if study.habitats[1:] else ():
        cells = {
            (rank, place): pick(close, (rank,), Condition(place, weights))
            for rank in study.ranks
            for place in sorted(study.habitats)
        }
        table = background_shift.background_table(cells, sorted(study.habitats))
        found.append(for_weights(table, study, weights))
    where = f"{study.close[1]} at {study.close[0]}"
    return [
        replace(
            table,
            name=f"{table.name}-close",
            title=f"{table.title} ({where})",
            figure=table.figure.replace(f"{table.name}.png", f"{table.name}-close.png"),
            short=f"{where}: {table.short}",
            missing=tuple(f"{where}: {one}" for one in table.missing),
            note=f"{_CHOSEN} {table.note}",
        )
        for table in found
    ]


def _views_table(settings, names, measured, done, rank: str, marks: dict) -> Result:
    """The finest model of the first condition in all views, all of its seeds."""
    study, first = settings.config.study, next(iter(names))
    all_views = [
        MapSettings(*view)
        for view in itertools.product(study.strides, study.layers, study.methods)
    ]
    by_view = {view: [] for view in all_views}
    for one, run_ in zip(measured, done, strict=True):
        if (one.spec.ranks, one.spec.condition) != ((rank,), first):
            continue
        found = map_settings.measurements_at(
            one.spec, run_, settings, views=all_views, rank=rank
        )
        for view, table in zip(all_views, found, strict=True):
            by_view[view].append(MeasuredRun(one.spec, table))
    return view_tables.views_table(by_view, rank, marks)


def _habitat_cells(
    settings: Settings,
    measured: list[MeasuredRun],
    done: list[Run],
    weights: str | None,
) -> tuple:
    """Trainings by (rank, habitat), and by (rank, trained, tested) habitats."""
    study = settings.config.study
    low, high = min(study.habitats), max(study.habitats)
    by_place = {
        (one.spec.ranks[0], one.spec.seed, one.spec.condition): (one, run_)
        for one, run_ in zip(measured, done, strict=True)
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
                    one.spec,
                    run_,
                    settings,
                    by_place[rank, seed, Condition(tested, weights)][1],
                )
                for seed, (one, run_) in zip(study.seeds, here, strict=True)
            ]
    return cells, moved


def _elsewhere(
    spec: TrainingSpec, run_: Run, settings: Settings, images_of: Run
) -> MeasuredRun:
    found = map_settings.measurements_at(
        spec, run_, settings, images_of=images_of, kinds=("asked",)
    )
    return MeasuredRun(spec, found[0])
