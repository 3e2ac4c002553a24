#!/usr/bin/env bash
# Guess: a maximum over an axis with a NaN is NaN in onnxruntime, as in NumPy and in the framework that
#   exported the network; ReduceMax agrees with Max of the same numbers.
# Instead: ReduceMax and ReduceMin skip a NaN unless it comes first: of (1, NaN, 3) and (1, 3, NaN)
#   the maximum is 3, of (NaN, 1, 3) NaN. GlobalMaxPool skips every NaN, and is -3.4e38 where there is
#   nothing else. Max of three tensors, ReduceSum and Softmax keep it.
# Seen with: onnxruntime 1.32.0 on CPUs; onnx 1.23.2 makes the graphs.
# Hits: exported networks watched for NaN by a maximum, and max-pooled features: what is NaN in Keras,
#   JAX or PyTorch becomes a score that looks right. ReduceSum of IsNaN finds them.
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
import onnxruntime
from onnx import TensorProto, helper

onnxruntime.set_default_logger_severity(4)
for name in ("onnxruntime", "onnx", "numpy"):
    print(name, importlib.metadata.version(name))


def run(operator, arrays, **attributes):
    names = [f"x{number}" for number in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in zip(names, arrays)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph([node], "one", inputs, [output])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, arrays)))[0]


nan = float("nan")
rows = {(1, nan, 3): (3, 1, 3), (1, 3, nan): (3, 1, 3), (nan, 1, 3): (nan, nan, 3)}
rows[nan, nan, nan] = (nan, nan, np.finfo(np.float32).min)
for values, expected in rows.items():
    x = np.array([[values]], np.float32)
    found = [
        run("ReduceMax", [x], axes=[2]).item(),
        run("ReduceMin", [x], axes=[2]).item(),
        run("GlobalMaxPool", [x]).item(),
    ]
    print(values, "NumPy's maximum", x.max(), "ReduceMax, ReduceMin, GlobalMaxPool:", found)
    if not np.array_equal(found, expected, equal_nan=True):
        raise SystemExit(f"changed: {found}")
    kept = [
        run("Max", [np.array([value], np.float32) for value in values]).item(),
        run("ReduceSum", [x]).item(),
        run("Softmax", [x]).sum().item(),
    ]
    if not np.isnan(kept).all():
        raise SystemExit(f"changed: Max, ReduceSum, Softmax {kept}")

table = np.arange(200, dtype=np.float32).reshape(10, 20)
table[3, 4] = nan
for axis in (0, 1):
    found = int(np.isnan(run("ReduceMax", [table], axes=[axis])).sum())
    print(f"NaN left of one in a table of 10 x 20, over axis {axis}: expected 1, found {found}")
    if found:
        raise SystemExit("changed: the maximum is NaN")
print("ok: the maximum skips NaN, the place decides")
PY
