"""Measurements of a training under several map settings, computed if missing.

The same weights give different maps at another output stride, at an earlier layer, by
another method, or on the images of another training.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import file_names, runtime
from hiercam_keras.cam import recommended
from hiercam_keras.cam.methods import get_methods
from hiercam_keras.data import splits
from hiercam_keras.evaluation import table as tables
from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments import measurements
from hiercam_keras.experiments.measurements import MapSettings
from hiercam_keras.experiments.training_grid import TrainingSpec
from hiercam_keras.models import files, heads, stride, xla_layers
from hiercam_keras.models.from_config import build
from hiercam_keras.modes.load import RunData, load_images, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run

_NAME_BYTES = 120  # of the settings in a file name
_DATA_SETS = 4  # whose images are kept
_OF_IMAGES = ("name", "data", "detections")  # what images depend on in a config
_latest: dict[tuple, Any] = {}  # images of these data sets


def usual(spec: TrainingSpec) -> MapSettings:
    """Settings of --mode=cam: trained stride, last activation, config.cam.method."""
    model, cam = spec.config.model, spec.config.cam
    method, layer = recommended.resolved(cam.method, cam.layer, model.backbone)
    return MapSettings(model.output_stride, layer, method)


def measurements_at(
    spec: TrainingSpec,
    run: Run,
    settings: Settings,
    *,
    views: Sequence[MapSettings] = (),
    images_of: Run | None = None,
    kinds: Sequence[str] = ("asked", "step"),
    rank: str | None = None,
) -> list[Table]:
    """Measurements of a finished training, read from disk if they exist.

    Args:
      spec, run: the training and its run folder.
      settings: of the experiment; `split` names the images.
      views: map settings; default `usual`.
      images_of: another run with the same split on other pictures of the same objects.
      kinds: kinds of questions: asked, step.
      rank: only questions at this rank.

    Returns:
      One for each of `views`.
    """
    views = list(views) or [usual(spec)]
    data = opened(run, settings, spec)
    images = images_of or run
    if images_of is not None:
        data = replace(data, source=opened(images_of, settings).source)
    asked = measurements.questions(data.taxonomy, data.finest, kinds, rank)
    ids = getattr(data.split, settings.split)
    places = {}
    records = data.records(settings.split)
    marks = [[one.example_id, one.boxes, one.mask_path] for one in records]
    parts = [one.parts_path for one in records]
    truth = measurements.truth_digest([data.source.evidence, marks, parts])
    for view in views:
        about = {"view": list(view), "keys": list(asked), "images": images.data_name}
        about["truth"] = truth
        digest = measurements.identity(run.model_path, ids, **about)
        text = "-".join(filter(None, (settings.split, f"s{view.stride}", *view[1:])))
        safe = re.sub(r"[^\w+-]+", "_", text.replace("++", "pp"))
        safe = file_names.readable(safe, _NAME_BYTES)  # a layer's may be long
        places[view] = run.path / "looks" / f"{safe}-{digest}.npz"
    missing = [view for view in views if not places[view].exists()]
    for step in dict.fromkeys(view.stride for view in missing):
        chosen = [view for view in missing if view.stride == step]
        logging.info("measuring %s at stride %d (%s)", run.path, step, _names(chosen))
        _measure(data, settings.split, step, chosen, asked, places)
    return [tables.load(places[view]) for view in views]


def _names(views: Sequence[MapSettings]) -> str:
    return ", ".join(dict.fromkeys(f"{v.method} {v.layer}".strip() for v in views))


def opened(run: Run, settings: Settings, spec: TrainingSpec | None = None) -> RunData:
    """The images of a run, with the `cam` section of the training's config if given."""
    settings = replace(settings, overrides={}, workdir=str(run.path))
    data = _known_only(open_run(settings, run, read=_images))
    if spec is None:
        return data
    config = ConfigDict(data.config.to_dict())
    config.cam = ConfigDict(spec.config.cam.to_dict())
    view = usual(spec)
    config.cam.method, config.cam.layer = view.method, view.layer
    config.localize = ConfigDict(spec.config.localize.to_dict())
    # A field that is newer than the training gets its present default.
    model = {**spec.config.model.to_dict(), **config.model.to_dict()}
    # A user's network is imported by name, and a run folder must not choose the name.
    model["backbone"] = spec.config.model.backbone
    config.model = ConfigDict(model)
    return replace(data, config=config)


def _images(data_dir: str | None, run: Run, config: Any) -> Any:
    """The images of a run, kept: an experiment asks for those of a few data sets again
    and again, and the names, boxes and parts of thousands of files take a second.
    """
    if run.other_tree is not None:
        return load_images(data_dir, run, config)
    sections = {name: config.get(name) for name in _OF_IMAGES}
    about = ConfigDict(sections).to_json_best_effort(sort_keys=True)
    key = data_dir, run.data_dir, run.trained_taxonomy().ranks, about
    if key not in _latest:
        while len(_latest) >= _DATA_SETS:
            del _latest[next(iter(_latest))]
        _latest[key] = load_images(data_dir, run, config)
    return _latest[key]


def _known_only(data: RunData) -> RunData:
    """Without images of a finest taxon that the network does not know: experiments
    count those that every model can answer."""
    if not data.may_lack_taxa:
        return data
    records = data.source.records
    labels = data.labels(records, data.taxonomy.finest)
    pairs = zip(records, labels, strict=True)
    known = {record.example_id for record, label in pairs if label >= 0}
    parts = {
        name: tuple(one for one in getattr(data.split, name) if one in known)
        for name in splits.NAMES
    }
    return replace(data, split=splits.Split(**parts))


def train_labels(data: RunData) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Labels of the training images, and the number of taxa, by rank."""
    lineages = [record.lineage for record in data.records("train")]
    ranks = data.taxonomy.trainable_ranks()
    return (
        {rank: np.asarray(data.taxonomy.labels(lineages, rank)) for rank in ranks},
        {rank: data.taxonomy.num_labels(rank) for rank in ranks},
    )


def _measure(
    data: RunData,
    split: str,
    step: int,
    views: Sequence[MapSettings],
    asked: dict[str, Any],
    places: dict[MapSettings, Any],
) -> None:
    """Measures and writes all settings of one stride in one pass over the images."""
    usual_layer = networks.default_layer(data.run)
    layers = list(dict.fromkeys(view.layer or usual_layer for view in views))
    methods = list(dict.fromkeys(view.method for view in views))
    explain = network_at(data, step).explainer(layers)
    found = measurements.measure(explain, data, split, asked, methods)
    by_layer = dict(zip(layers, explain.layers, strict=True))
    for view in views:
        (method,) = get_methods(view.method)
        key = method.name, method.place or by_layer[view.layer or usual_layer]
        tables.save(places[view], found[key])


def check_strides(settings: Settings, strides: Sequence[int]) -> None:
    """Checks, before any training, that the network supports these output strides.

    Raises:
      UserError: it does not.
    """
    for one in strides:
        heads.check_output_stride(settings.config.model.backbone, one)


def network_at(data: RunData, output_stride: int) -> Network:
    """The run's network, with its weights in one of the given output stride."""
    config = data.config
    runtime.start(config.seed, config.model.dtype)
    if output_stride == config.model.output_stride:
        return networks.load(data.run, config)
    trained, metadata = files.load_model(data.run.model_path, "none")
    other = ConfigDict(config.to_dict())
    other.model.update(
        {"output_stride": output_stride, "weights": "none", "fast_layers": "none"}
    )
    ranks = [rank for rank in data.taxonomy.ranks if rank in data.run.ranks]
    num_labels = {rank: data.taxonomy.num_labels(rank) for rank in ranks}
    model = build(other, num_labels)
    stride.copy_weights(trained, model)
    model = xla_layers.accelerate(model, config.model.fast_layers)
    return networks.of_model(model, data.run, config, metadata["cam_layer"])
