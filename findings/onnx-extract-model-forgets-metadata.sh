#!/usr/bin/env bash
# Guess: onnx.utils.extract_model cuts the graph and keeps what is said about the model: the class
#   names and the picture's size in metadata_props, doc_string, model_version, domain.
# Instead: all of it is gone, even where input and output are the model's own and nothing is cut;
#   names of dimensions and remarks on the outputs stay. convert_version, infer_shapes, inlining,
#   prefixes and ONNX Runtime's optimised file keep the metadata.
# Seen with: onnx 1.23.2, onnxruntime 1.32.0.
# Hits: networks that carry their labels and preprocessing inside the file, cut to the embedding or
#   the scores for a phone or a browser: the app finds no names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "onnx==1.23.2" "onnxruntime==1.32.0" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, inliner, numpy_helper, shape_inference, utils
from onnx import version_converter

onnxruntime.set_default_logger_severity(4)
for name in ("onnx", "onnxruntime"):
    print(name, importlib.metadata.version(name))

weights = numpy_helper.from_array(np.eye(8, 3, dtype=np.float32), "w")
graph = helper.make_graph(
    [
        helper.make_node("Relu", ["image"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ],
    "classifier",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 8])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
    [weights],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
model.doc_string, model.model_version, model.domain = "moths of Europe", 3, "org.example"
helper.set_model_props(model, {"names": "Actias luna,Saturnia pyri,Deilephila elpenor"})
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")


def extract(output):
    utils.extract_model("model.onnx", "cut.onnx", ["image"], [output])
    return onnx.load("cut.onnx")


def optimise():
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
    return onnx.load("optimised.onnx")


tools = {
    "extract_model, cut at embedding": lambda: extract("embedding"),
    "extract_model, nothing cut": lambda: extract("scores"),
    "convert_version to 21": lambda: version_converter.convert_version(model, 21),
    "infer_shapes": lambda: shape_inference.infer_shapes(model),
    "inline_local_functions": lambda: inliner.inline_local_functions(model),
    "add_prefix": lambda: compose.add_prefix(model, "moth_"),
    "onnxruntime's optimised file": optimise,
}
kept = {}
for name, tool in tools.items():
    found = tool()
    props = {one.key: one.value for one in found.metadata_props}
    print(f"{name}: expected the names, found {props}, version {found.model_version}, "
          f"domain {found.domain!r}, remark {found.doc_string!r}")
    kept[name] = (
        bool(props.get("names")),
        found.model_version == 3,
        bool(found.doc_string),
        bool(found.domain),
    )
for name, found in kept.items():
    if found != (("extract" not in name,) * 4):
        raise SystemExit(f"changed: {name}: {found}")
session = onnxruntime.InferenceSession("cut.onnx", providers=["CPUExecutionProvider"])
print("what an app reads of the cut file:", session.get_modelmeta().custom_metadata_map)
PY
