"""Benchmarks: Keras' own export of its EfficientNetB0 to ONNX, in ONNX Runtime.

    python -m benchmarks.peers.onnx_runtime CASE FILE    # exports, in its own process

Keras exports by jax2onnx if its backend is JAX; the measured process does without it.
The export by TensorFlow and tf2onnx took 0.97 of the time (224 px, batch 16, medians of
7 turns), but has two constants as inputs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.case import Case, images
from benchmarks.peers import packages

LABEL = "ONNX Runtime"
TASKS = ("forward",)


def export(case: Case, path: Path) -> None:
    """Writes the network of `keras_common.stock_model` for uint8 pictures."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    from benchmarks.peers import keras_common

    shape = (case.batch, case.size, case.size, 3)
    pixels = keras.InputSpec(shape=shape, dtype="uint8", name="images")
    model = keras_common.stock_model(case)
    model.export(str(path), format="onnx", verbose=False, input_signature=[pixels])


def prepare(task: str, case: Case) -> Callable[[int], None]:
    """See `benchmarks.peers`."""
    if (case.dtype, case.device) != ("float32", "cpu"):
        raise ValueError("Keras exports float32, and this peer runs on a CPU")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        fields = json.dumps(vars(case))
        subprocess.run([sys.executable, "-m", __name__, fields, path], check=True)
        session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    pixels = {session.get_inputs()[0].name: images(case)}

    def run(calls: int) -> None:
        for _ in range(calls):
            session.run(None, pixels)

    return run


def versions() -> dict[str, str]:
    """Versions of what counts here."""
    return packages.versions("onnxruntime", "jax2onnx")


if __name__ == "__main__":
    export(Case(**json.loads(sys.argv[1])), Path(sys.argv[2]))
