"""The looks of a piece, made where they are missing.

One model can be viewed in several ways with the same weights: at another output
stride, at an earlier layer, by another method, or on the images of another piece.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import file_names, runtime
from hiercam_keras.evaluation import table as tables
from hiercam_keras.evaluation.table import Table
from hiercam_keras.experiments import measurements
from hiercam_keras.experiments.measurements import View
from hiercam_keras.experiments.training_grid import Piece
from hiercam_keras.models import files, heads, stride, xla_layers
from hiercam_keras.modes import train
from hiercam_keras.modes.load import RunData, open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.run_folder import Run

_NAME_BYTES = 120  # of a view in the name of its file


def usual(piece: Piece) -> View:
    """The view of --mode=cam: trained stride, last activation, config.cam.method."""
    config = piece.config
    return View(config.model.output_stride, config.cam.layer, config.cam.method)


def look_at(
    piece: Piece,
    run: Run,
    settings: Settings,
    *,
    views: Sequence[View] = (),
    images_of: Run | None = None,
    kinds: Sequence[str] = ("asked", "step"),
    rank: str | None = None,
) -> list[Table]:
    """The looks of a finished piece, from disk where they are there.

    Args:
      piece, run: whose model is asked.
      settings: of the experiment; its `split` is looked at.
      views: how; default the usual view.
      images_of: another run with the same split on other pictures of the same birds.
      kinds: of the questions: asked, step.
      rank: only questions at this rank.

    Returns:
      One for each view.
    """
    views = list(views) or [usual(piece)]
    data = opened(run, settings, piece)
    images = images_of or run
    if images_of is not None:
        data = replace(data, source=opened(images_of, settings).source)
    finest = max(run.ranks, key=data.taxonomy.ranks.index)
    asked = measurements.questions(finest, data.taxonomy)
    asked = {
        key: target
        for key, target in asked.items()
        for kind, _, of in [key.partition("-")]
        if kind in kinds and rank in (None, of)
    }
    ids = getattr(data.split, settings.split)
    places = {}
    for view in views:
        about = {"view": list(view), "keys": list(asked), "images": images.data_name}
        digest = measurements.identity(run.model_path, ids, **about)
        text = "-".join(filter(None, (settings.split, f"s{view.stride}", *view[1:])))
        safe = re.sub(r"[^\w+-]+", "_", text.replace("++", "pp"))
        safe = file_names.readable(safe, _NAME_BYTES)  # a layer's may be long
        places[view] = run.path / "looks" / f"{safe}-{digest}.npz"
    missing = [view for view in views if not places[view].exists()]
    for step in dict.fromkeys(view.stride for view in missing):
        chosen = [view for view in missing if view.stride == step]
        logging.info(
            "looking through %s at stride %d (%s)", run.path, step, _told(chosen)
        )
        _look(data, settings.split, step, chosen, asked, places)
    return [tables.load(places[view]) for view in views]


def _told(views: Sequence[View]) -> str:
    return ", ".join(dict.fromkeys(f"{v.method} {v.layer}".strip() for v in views))


def opened(run: Run, settings: Settings, piece: Piece | None = None) -> RunData:
    """The images of a run; maps are made and scored as the piece's config says,
    if given."""
    data = open_run(replace(settings, overrides={}, workdir=str(run.path)), run)
    data = data.known_only()  # experiments count images that every model can answer
    if piece is None:
        return data
    config = ConfigDict(data.config.to_dict())
    config.cam = ConfigDict(piece.config.cam.to_dict())
    config.localize = ConfigDict(piece.config.localize.to_dict())
    # A field that came into the program after the training has today's default.
    model = {**piece.config.model.to_dict(), **config.model.to_dict()}
    # A network of the user's is imported by its name, which no run folder may choose.
    model["backbone"] = piece.config.model.backbone
    config.model = ConfigDict(model)
    return replace(data, config=config)


def train_labels(data: RunData) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Labels of the training images, and the number of taxa, by rank."""
    lineages = [record.lineage for record in data.records("train")]
    ranks = data.taxonomy.trainable_ranks()
    return (
        {rank: np.asarray(data.taxonomy.labels(lineages, rank)) for rank in ranks},
        {rank: data.taxonomy.num_labels(rank) for rank in ranks},
    )


def _look(
    data: RunData,
    split: str,
    step: int,
    views: Sequence[View],
    asked: dict[str, Any],
    places: dict[View, Any],
) -> None:
    """Makes and writes the looks of the views at one stride, in one pass."""
    usual_layer = networks.default_layer(data.run)
    layers = list(dict.fromkeys(view.layer or usual_layer for view in views))
    methods = list(dict.fromkeys(view.method for view in views))
    explain = network_at(data, step).explainer(layers)
    found = measurements.look(explain, data, split, asked, methods)
    by_layer = dict(zip(layers, explain.layers, strict=True))
    for view in views:
        key = view.method, by_layer[view.layer or usual_layer]
        tables.save(places[view], found[key])


def check_strides(settings: Settings, strides: Sequence[int]) -> None:
    """Sees before anything is trained that the network can have these output strides.

    Raises:
      UserError: it cannot.
    """
    for one in strides:
        heads.check_output_stride(settings.config.model.backbone, one)


def network_at(data: RunData, output_stride: int) -> Network:
    """The run's network, its weights in one of the given output stride."""
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
    model = train.build(other, num_labels)
    stride.copy_weights(trained, model)
    model = xla_layers.accelerate(model, config.model.fast_layers)
    return networks.of_model(model, data.run, config, metadata["cam_layer"])
