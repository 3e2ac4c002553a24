"""Benchmarks: this project on keras-hub's ViT, at what its last block is given."""

import os

os.environ["KERAS_BACKEND"] = "jax"

from collections.abc import Callable  # noqa: E402
from functools import cache  # noqa: E402

import keras  # noqa: E402
import keras_hub  # noqa: E402

from benchmarks.case import (  # noqa: E402
    NUM_LABELS,
    PATCH,
    VITS,
    Case,
    images,
    targets,
)
from benchmarks.peers import jax_forward, keras_common, packages  # noqa: E402
from benchmarks.peers.jax_forward import device_memory  # noqa: E402, F401
from hiercam_keras import cam  # noqa: E402

LABEL = "hiercam_keras"
TASKS = ("forward", "maps1", "cam1", "legrad1")


@cache
def _explainer(case: Case) -> cam.Explainer:
    """Of random weights, and bytes as input, as the peer is given them."""
    keras_common.start(case)
    blocks, heads, width = VITS[case.vit]
    shape = (case.size, case.size, 3)
    backbone = keras_hub.models.ViTBackbone(
        shape, PATCH, blocks, heads, width, 4 * width
    )
    image = keras.Input(shape)
    token = backbone(keras.layers.Rescaling(1 / 127.5, -1.0)(image))[:, 0]
    outputs = keras.layers.Dense(NUM_LABELS, dtype="float32")(token)
    explain = cam.Explainer(keras.Model(image, outputs))
    if not explain.layers[0].endswith(f"transformer_block_{blocks}:input"):
        raise RuntimeError(f"another layer is explained: {explain.layers[0]}")
    return explain


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    explain = _explainer(case)
    if task == "forward":
        return jax_forward.forward(explain.model, case)
    pixels, asked = images(case), targets(case, 1)
    method = "legrad" if task == "legrad1" else "gradcam"

    def run(calls: int) -> None:
        for _ in range(calls):
            cams = explain(pixels, asked, method).cams
            if task == "cam1":  # as large as the pictures, as the peer's are
                cam.heatmaps.heatmap(cams, case.size)

    return run


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return packages.versions("keras", "keras-hub", "jax", "jaxlib", "numpy")
