#!/usr/bin/env bash
# Guess: graph optimisation drops nodes that no output needs: they cost nothing at a run, and are
#   not in the file that optimized_model_filepath writes.
# Instead: at every level they stay, with their weights, are computed at each run, and are fused
#   like live ones. Three kinds of rubbish are treated in three ways: a weight without a node is
#   dropped, a node that leads nowhere is not, and one that can be folded to a constant is.
# Seen with: onnxruntime 1.32.0, onnx 1.23.2, CPU provider.
# Hits: networks whose outputs were edited after the export (a head taken from graph.output, an
#   auxiliary loss, features for training): the "optimised" file is as large and slow as before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "onnx==1.23.2" "onnxruntime==1.32.0" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import json
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

onnxruntime.set_default_logger_severity(4)
for name in ("onnxruntime", "onnx"):
    print(name, importlib.metadata.version(name))

rng = np.random.default_rng(0)
weights = {
    "w": rng.normal(size=(8, 3)),
    "big": rng.normal(size=(8, 5000)),
    "big_bias": rng.normal(size=5000),
    "unused": rng.normal(size=(8, 5000)),
}
nodes = [
    helper.make_node("MatMul", ["image", "w"], ["logits"], name="head"),
    helper.make_node("Softmax", ["logits"], ["scores"], name="softmax"),
    helper.make_node("MatMul", ["image", "big"], ["old"], name="old_head"),
    helper.make_node("Add", ["old", "big_bias"], ["old_logits"], name="old_bias"),
    helper.make_node("Relu", ["old_logits"], ["old_scores"], name="old_relu"),
    helper.make_node("Exp", ["big_bias"], ["constant"], name="old_constant"),
]
value = helper.make_tensor_value_info
graph = helper.make_graph(
    nodes,
    "classifier",
    [value("image", TensorProto.FLOAT, [1, 8])],
    [value("scores", TensorProto.FLOAT, [1, 3])],
    [numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")
print("model.onnx:", os.path.getsize("model.onnx"), "bytes")


def optimise(level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = "optimised.onnx"
    options.enable_profiling = True
    session = onnxruntime.InferenceSession("model.onnx", options, ["CPUExecutionProvider"])
    session.run(["scores"], {"image": np.ones((1, 8), np.float32)})
    with open(session.end_profiling()) as file:
        events = {event["name"] for event in json.load(file)}
    ran = sorted(name.removesuffix("_kernel_time") for name in events if "_kernel" in name)
    found = onnx.load("optimised.onnx").graph
    return [node.name for node in found.node], [one.name for one in found.initializer], ran


for level in ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"):
    kept, initializers, ran = optimise(level)
    print(f"{level}: expected head, softmax; kept {kept}, weights {initializers}, ran {ran}, "
          f"{os.path.getsize('optimised.onnx')} bytes")
    dead = [name for name in kept if "old" in name or "big" in name]
    if not dead or "big" not in initializers or "unused" in initializers:
        raise SystemExit(f"changed: {kept}, {initializers}")
    if not set(dead) <= set(ran):
        raise SystemExit(f"changed: {dead} kept, {ran} ran")
onnx.utils.extract_model("model.onnx", "cut.onnx", ["image"], ["scores"])
print("onnx.utils.extract_model:", [node.name for node in onnx.load("cut.onnx").graph.node],
      os.path.getsize("cut.onnx"), "bytes")
PY
