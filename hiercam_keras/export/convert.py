"""Converts the exported function to ONNX, and mends what the converter leaves.

jax2onnx converts a function that was traced before it: it replaces functions of
jax.numpy by its own while it traces, and refuses some that plain JAX operations are
enough for. Four things are mended in the graph that it gives:

* shapes with a size that may vary are computed node by node (`shapes`);
* a max or average pooling is written for all four axes, which ONNX Runtime does not
  run: it is put over the two axes of the picture;
* batch normalization is arithmetic on constants: ONNX Runtime's basic optimization,
  which gives operators of the standard alone, folds it into the convolutions;
* inputs and outputs have named axes.
"""

from __future__ import annotations

import contextlib
import logging as python_logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.export import pooling, replay, shapes
from hiercam_keras.export.function import PHOTOS, TAXA, Function

OPSET = 21
_SHORT = 256  # weights; fewer stay in float32
CONVERTER = "jax2onnx==0.17.1"
_INSTALL = (
    "install what it needs: pip install -r requirements-export.txt (or the extra "
    f"export), then pip install --no-deps {CONVERTER}"
)


def need() -> None:
    """Raises UserError where a package of the export is missing, with what to do."""
    try:
        import jax2onnx  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"an ONNX file cannot be made ({error}): {_INSTALL}") from error


def convert(function: Function, specs: Sequence[Any]) -> Any:
    """The function as an `onnx.ModelProto`.

    Args:
      function: to convert.
      specs: of its arguments, `jax.ShapeDtypeStruct`s; an axis may be symbolic.

    Raises:
      Exception: of any kind, where the converter cannot.
    """
    import jax2onnx

    traced = jax.make_jaxpr(function.call)(*specs)
    with _quiet():
        model = jax2onnx.to_onnx(
            replay.replayed(traced),
            inputs=list(specs),
            input_names=[PHOTOS, TAXA][: len(specs)],
            output_names=list(function.outputs),
            model_name="hiercam_keras",
            opset=OPSET,
        )
    shapes.settle(model)
    pooling.over_the_picture(model)
    return _optimized(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's account of itself, which goes to the root logger."""
    root = python_logging.getLogger()
    before = root.level
    root.setLevel(python_logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _optimized(model: Any) -> Any:
    """The model as ONNX Runtime's basic optimization writes it.

    Operators outside of the standard would keep other readers from it: then the model
    comes back as it was.
    """
    import onnx
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found = onnx.load(path)
    if any(node.domain not in ("", "ai.onnx") for node in found.graph.node):
        return model
    used = [one for one in found.opset_import if one.domain in ("", "ai.onnx")]
    del found.opset_import[:]
    found.opset_import.extend(used)
    return found


def halved(model: Any) -> Any:
    """A copy of the model with weights in float16, cast up where they are used.

    Arrays of whole numbers, such as tables of labels, and of values beyond float16 stay
    as they are, and so do short ones, which save nothing.
    """
    import onnx
    from onnx import helper, numpy_helper

    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    inputs = {one.name for one in graph.input}
    casts = []
    for one in graph.initializer:
        if one.data_type != onnx.TensorProto.FLOAT or one.name in inputs:
            continue
        values = numpy_helper.to_array(one)
        if not _halves(values):
            continue
        name = one.name
        one.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            helper.make_node("Cast", [one.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return found


def _halves(values: np.ndarray) -> bool:
    if values.size < _SHORT or np.array_equal(values, np.round(values)):
        return False
    return bool(np.abs(values).max() < np.finfo(np.float16).max)
