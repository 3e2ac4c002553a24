"""Benchmarks: this project, by its own public functions."""

import os

os.environ["KERAS_BACKEND"] = "jax"

from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402
from typing import Any  # noqa: E402

import keras  # noqa: E402

from benchmarks.case import NUM_LABELS, NUM_TARGETS, Case, images, targets  # noqa: E402
from benchmarks.peers import keras_common, packages  # noqa: E402
from benchmarks.peers.jax_forward import device_memory  # noqa: E402, F401
from hiercam_keras import cam, malloc, runtime, taxonomy  # noqa: E402
from hiercam_keras.models import heads, xla_layers  # noqa: E402
from hiercam_keras.models.initializers import numpy_initializers  # noqa: E402
from hiercam_keras.training import compiling, forward  # noqa: E402
from hiercam_keras.training.callbacks import FirstStep, Pace  # noqa: E402

LABEL = "hiercam_keras"
TASKS = ("train", "forward", "cam1", "cam7", "maps1", "maps7", "maps7ranks")


@cache
def _model(case: Case):
    keras_common.start(case)
    runtime.compute_in_calling_thread()
    model = heads.build_model("efficientnet_b0", case.size, {"species": NUM_LABELS})
    return xla_layers.accelerate(model, case.fast_layers)


def _taxonomy() -> taxonomy.Taxonomy:
    """A tree of 7 ranks above 1,000 species, 10 children to a taxon."""
    return taxonomy.Taxonomy(
        taxonomy.Lineage(
            ("k", "p", f"c{i // 500}", f"o{i // 200}", f"f{i // 50}", f"g{i // 10}")
            + (f"s{i}",)
        )
        for i in range(NUM_LABELS)
    )


def _explain(task: str, case: Case) -> Callable[[int], None]:
    pixels = images(case)
    asked: Any = targets(case, 1 if task.endswith("1") else NUM_TARGETS)
    tree = None
    if task == "maps7ranks":
        tree = _taxonomy()
        asked = [cam.targets.marginal(rank) for rank in tree.ranks]
    explain = cam.Explainer(_model(case), layer="top_activation", taxonomy=tree)

    def run(calls: int) -> None:
        for _ in range(calls):
            cams = explain(pixels, asked, method="gradcam").cams
            if task.startswith("cam"):  # as large as the pictures, as the peers' are
                cam.heatmaps.heatmap(cams, case.size)

    return run


def _forward(case: Case) -> Callable[[int], None]:
    model, pixels = _model(case), images(case)

    def run(calls: int) -> None:
        for _ in range(calls):
            forward.predict_batch(model, pixels)

    return run


def prepare_training(case: Case) -> keras.Model:
    """The model, compiled for training as the project's own training does it."""
    model = _model(case)
    keras_common.compile_model(model)
    compiling.build_by_shapes(model)
    with numpy_initializers():
        model.optimizer.build(model.trainable_variables)
    compiling.keep_step(model, "benchmarks")
    return model


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    if task == "forward":
        return _forward(case)
    if task != "train":
        return _explain(task, case)
    model, every = prepare_training(case), [Pace(), FirstStep()]
    return keras_common.fit(model, case, every, malloc.complete)


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return packages.versions("keras", "jax", "jaxlib", "numpy")
