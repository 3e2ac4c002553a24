"""--mode=granularity: localization against the rank that a model was trained at.

Cole et al. 2022 (On Label Granularity and Object Localization, arXiv:2207.10225): the
same images with coarser labels, and MaxBoxAccV2 of the CAM of the true class; trained
at each of `sweep.train_strides`, or viewed at other strides with the same weights.
"""

from dataclasses import replace
from typing import Any

from absl import logging

from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import ground_truth
from hiercam_keras.evaluation.question import PREDICTED, TRUE, Question
from hiercam_keras.experiments import (
    figures,
    granularity_tables,
    localization_counts,
    map_settings,
    measurements,
    page,
    runs,
    training_grid,
)
from hiercam_keras.experiments.granularity_tables import Cell, Counts
from hiercam_keras.experiments.localization_counts import Found
from hiercam_keras.experiments.map_fields import MapFields
from hiercam_keras.experiments.study import seeds_note
from hiercam_keras.experiments.training_grid import Condition, TrainingSpec
from hiercam_keras.models import backbones
from hiercam_keras.modes.load import RunData
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.run_folder import Run

INTRO = (
    "Does the rank of the labels change how well a model's maps find the animal? The "
    "protocol is that of Cole et al. 2022 (arXiv:2207.10225): the same images, models "
    "trained at each rank, and the boxes of their class activation maps for the {} "
    "taxon. The sentences in bold are computed from the intervals of their table."
)
TARGETS = (TRUE, PREDICTED)


def run(settings: Settings) -> str:
    """Trains the missing models and writes GRANULARITY.md."""
    sweep = settings.config.sweep
    condition = next(iter(training_grid.conditions(settings)))
    plan = _plan(settings)
    ranks = tuple(sweep.ranks) or _trainable(settings, condition)
    wanted = training_grid.every(
        settings,
        [(rank,) for rank in ranks],
        sweep.seeds,
        [_at_stride(settings, condition, trained) for trained in plan],
    )
    asked = MapFields.usual(wanted[0])
    done = runs.train_missing(wanted, settings, maps=asked)
    counts: Counts = {}
    for spec, run_ in zip(wanted, done, strict=True):
        trained = spec.config.model.output_stride
        for stride in plan[trained]:
            found = _counted(spec, run_, settings, stride)
            cell = Cell(spec.ranks[0], trained, stride)
            counts.setdefault(cell, []).append(found)
    data = map_settings.opened(done[0], settings, wanted[0])
    table = granularity_tables.sweep_table(counts, data, settings.split)
    out = page.out_folder(settings)
    png = figures.granularity(table)
    figures.save(out / "granularity" / "granularity.png", png)
    first = next(iter(counts.values()))[0][1]
    images = int(max(first.images.sum(), first.masked.sum()))
    about = page.about(settings, wanted, "python main.py --mode=granularity", images)
    about += seeds_note(len(sweep.seeds))
    intro = INTRO.format(sweep.target)
    page.write(out / "GRANULARITY.md", "Granularity sweep", intro, [table], about)
    return f"{table.title}: {table.answer}\npage: {out / 'GRANULARITY.md'}"


def _plan(settings: Settings) -> dict[int, tuple[int, ...]]:
    """Output strides of the trainings, each with those of its maps, its own first.

    Raises:
      UserError: the network cannot have one of them, or another field is wrong. It is
        raised before any training starts.
    """
    sweep, model = settings.config.sweep, settings.config.model
    if sweep.target not in TARGETS:
        raise UserError(
            f"config.sweep.target is {sweep.target!r}, expected one of "
            f"{', '.join(TARGETS)}."
        )
    asked = tuple(sweep.strides)
    if not (asked or sweep.train_strides) and _can_be_finer(model):
        asked = (model.output_stride // 2,)
    plan = {
        one: tuple(dict.fromkeys((one, *asked)))
        for one in tuple(sweep.train_strides) or (model.output_stride,)
    }
    map_settings.check_strides(
        settings, [one for several in plan.values() for one in several]
    )
    return plan


def _can_be_finer(model: Any) -> bool:
    return backbones.takes_output_stride(model.backbone) and model.output_stride > 8


def _at_stride(settings: Settings, condition: Condition, trained: int) -> Condition:
    if trained == settings.config.model.output_stride:
        return condition
    return replace(condition, overrides=(("model.output_stride", trained),))


def _trainable(settings: Settings, condition: Any) -> tuple[str, ...]:
    """Ranks at which the images have two taxa or more."""
    from hiercam_keras.modes.load import load_source, taxonomy_of

    spec = training_grid.make_spec(settings, (), 0, condition)  # for its data alone
    source = load_source(spec.config, settings.data_dir)
    return taxonomy_of(source, spec.config).trainable_ranks()


def _counted(
    spec: TrainingSpec, run_: Run, settings: Settings, stride: int
) -> tuple[Found | None, Found]:
    """Counts of val (None if its images have no boxes) and of the evaluated split."""
    data = map_settings.opened(run_, settings, spec)
    splits = [settings.split]
    if settings.split != "val" and _has_boxes(data, "val"):
        splits.append("val")
    layer = data.config.cam.layer or networks.default_layer(run_)
    options = data.config.localize
    question = Question(
        spec.ranks[0],
        target=settings.config.sweep.target,
        method=data.config.cam.method,
    )
    view = [stride, layer, question.method, question.target]
    view += [options.size, options.profile, options.metadata]
    places = {}
    for split in splits:
        digest = measurements.identity(
            run_.model_path,
            getattr(data.split, split),
            boxes=view,
            truth=_truth_digest(data, split),
        )
        places[split] = run_.path / "looks" / f"boxes-{split}-s{stride}-{digest}.npz"
    missing = [split for split in splits if not places[split].exists()]
    if missing:
        logging.info("localizing with %s at stride %d", run_.path, stride)
        explain = map_settings.network_at(data, stride).explainer(layer)
        for split in missing:
            found = localization_counts.count(explain, question, data, split)
            localization_counts.save(places[split], found)
    found = {}
    for split, path in places.items():
        sets = localization_counts.sets_of(data, ground_truth.of_run(data, split))
        found[split] = localization_counts.load(path, sets)
    return found.get("val"), found[settings.split]


def _truth_digest(data: RunData, split: str) -> str:
    """Of the boxes and masks that maps are scored by."""
    marked = ground_truth.of_run(data, split, must=False)
    return measurements.truth_digest(
        [
            [name, one.boxes, one.width, one.height, one.masks, one.ignored]
            for name, one in marked.items()
        ]
    )


def _has_boxes(data: RunData, split: str) -> bool:
    if not data.has_images(split):
        return False
    return bool(ground_truth.of_run(data, split, must=False))
