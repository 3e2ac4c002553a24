"""--mode=curves: how well each rank is learned at equal epochs.

Compares, on one split with several seeds: a model of each rank; the species model with
probabilities summed up to the coarser ranks ("rolled up"); one model with a head for
each rank; and variants of it: hierarchical losses, a consistency term between its
heads, and chained heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hiercam_keras.experiments import (
    accuracy,
    accuracy_gaps,
    figures,
    map_settings,
    page,
    prediction_strategies,
    runs,
    training_grid,
)
from hiercam_keras.experiments.evidence import by_model
from hiercam_keras.experiments.map_fields import MapFields
from hiercam_keras.experiments.pooling import MeasuredRun
from hiercam_keras.experiments.results import ORIGINAL, Result
from hiercam_keras.experiments.study import seeds_note
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import curves as learning
from hiercam_keras.tables import read_log

INTRO = (
    "Is family learned better than species, or is it only easier to guess? Models of "
    "every rank are trained for equal epochs on one split. The sentences in bold are "
    "computed from the intervals of their table."
)


def run(settings: Settings) -> str:
    """Trains the missing models and writes CURVES.md."""
    config = settings.config.curves
    map_settings.check_strides(settings, [settings.config.model.output_stride])
    names = _conditions(settings)
    heads = [(rank,) for rank in config.ranks]
    multi = tuple(config.ranks) if config.multi_rank and len(heads) > 1 else None
    several = _variants(settings, names) if multi else {}
    wanted = training_grid.every(settings, heads, config.seeds, list(names))
    if multi:
        heads.append(multi)
        seeds = tuple(config.multi_seeds) or config.seeds
        wanted += training_grid.every(settings, [multi], seeds, [*names, *several])
    asked = MapFields.usual(wanted[0])
    done = runs.train_missing(wanted, settings, maps=asked)
    measured = [
        MeasuredRun(spec, map_settings.measurements_at(spec, run_, settings)[0])
        for spec, run_ in zip(wanted, done, strict=True)
    ]
    data = map_settings.opened(done[0], settings)
    order = data.taxonomy.ranks.index
    heads.sort(key=lambda ranks: (len(ranks), order(ranks[0])))
    models = by_model(measured, names | several, heads)
    labels, counts = map_settings.train_labels(data)
    table = accuracy.accuracy_table(models, labels, counts)
    found = [replace(table, figure="curves/accuracy.png", source=ORIGINAL)]
    if len(config.ranks) > 1:
        found.append(
            accuracy_gaps.gaps_table(models, labels, counts, data.taxonomy.ranks)
        )
        ranks = sorted(config.ranks, key=order)
        found += _routes(measured, ranks, multi, names, several, data.taxonomy)
    out = page.out_folder(settings)
    folder = out / "curves"
    first = next(iter(names))
    own = [spec for spec in wanted if spec.condition == first]
    figures.save(folder / "curves.png", curves_png(own, found[0]))
    for name, png in figures.curves({one.name: one for one in found}).items():
        figures.save(folder / name, png)
    about = page.about(
        settings, wanted, "python main.py --mode=curves", len(measured[0].table)
    )
    if multi and tuple(seeds) != tuple(config.seeds):
        named = ", ".join(map(str, seeds))
        about.append(f"Seeds of the models with a head for each rank: {named}.")
    about += seeds_note(len(config.seeds))
    intro = f"{INTRO}\n\n![Learning curves](curves/curves.png)"
    page.write(out / "CURVES.md", "Learning curves by rank", intro, found, about)
    return "\n".join(
        [*(f"{one.title}: {one.answer}" for one in found), f"page: {out / 'CURVES.md'}"]
    )


def _conditions(settings: Settings) -> dict[Condition, str]:
    """The first habitat with each of config.curves.weights, and their names."""
    first, words = next(iter(training_grid.conditions(settings).items()))
    weights = tuple(settings.config.curves.weights)
    if not weights:
        return {first: words}
    return {
        replace(first, weights=one): training_grid.in_words(first.habitat, one)
        for one in weights
    }


def _variants(
    settings: Settings, names: Mapping[Condition, str]
) -> dict[Condition, str]:
    """The multi-rank models of config.curves.multi_overrides, and their names."""
    found = {}
    for condition, words in names.items():
        for entry in settings.config.curves.multi_overrides:
            fields = (entry,) if isinstance(entry[0], str) else tuple(entry)
            changes = ", ".join(f"{name.rpartition('.')[2]}={v}" for name, v in fields)
            changed = replace(condition, overrides=tuple(map(tuple, fields)))
            found[changed] = f"{words}, {changes}"
    return found


def _routes(measured, ranks, multi, names, several, taxonomy) -> list[Result]:
    """One table for each of the conditions."""
    found = []
    for number, (condition, words) in enumerate(names.items()):
        variants = {
            variant: changes.removeprefix(f"{words}, ")
            for variant, changes in several.items()
            if replace(variant, overrides=()) == condition
        }
        made = prediction_strategies.routes_of(
            measured, ranks, condition, multi, variants
        )
        name = f"routes-{number + 1}" if number else "routes"
        shown = words if len(names) > 1 else ""
        found.append(
            prediction_strategies.routes_table(made, ranks, taxonomy, shown, name)
        )
    return found


def curves_png(wanted: Sequence[TrainingSpec], table: Result) -> bytes:
    """Learning curves of the models as PNG bytes, means over the seeds."""
    logs: dict[str, list[dict]] = {}
    for spec in wanted:
        if len(spec.ranks) == 1:
            logs.setdefault(spec.name, []).append(read_log(spec.path / "log.csv"))
    chance = {row[0]: row[4] for row in table.rows if row[2] == row[0]}
    return learning.learning_curves_png(
        {name: mean_log(several) for name, several in logs.items()},
        chance,
        "One model a rank, mean over the seeds",
    )


def mean_log(logs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Means of the columns and epochs that all logs have."""
    names = [name for name in logs[0] if all(name in log for log in logs)]
    epochs = min(len(log["epoch"]) for log in logs)
    return {
        name: np.mean([log[name][:epochs] for log in logs], axis=0).tolist()
        for name in names
    }
