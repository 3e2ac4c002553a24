#!/usr/bin/env bash
# Guess: onnx.reference.ReferenceEvaluator, which shows what an operator means, agrees with the text of
#   the operator and with onnxruntime.
# Instead: LpNormalization with p = 1 divides by the sum with signs: (3, -1) becomes (1.5, -0.5);
#   MaxPool with SAME_LOWER has no left padding and loses an element; the mean of
#   NegativeLogLikelihoodLoss divides by the ignored rows too where ignore_index is -1, not where it
#   is 7. LpNormalization with p = 2, AveragePool and SoftmaxCrossEntropyLoss are right.
# Seen with: onnx 1.23.2; onnxruntime 1.32.0 gives the value worked by hand.
# Hits: exporters and converters that are tested against the reference: the right one fails.
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
from onnx.reference import ReferenceEvaluator

onnxruntime.set_default_logger_severity(4)
for name in ("onnx", "onnxruntime"):
    print(name, importlib.metadata.version(name))


def both(operator, arrays, **attributes):
    names = [f"x{number}" for number in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, arrays)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph([node], "one", inputs, [output])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    feed = dict(zip(names, arrays))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [one.run(None, feed)[0].ravel() for one in (ReferenceEvaluator(model), session)]


pair = [np.array([[3, -1]], np.float32)]
row = [np.arange(1, 8, dtype=np.float32).reshape(1, 1, 7)]
logs = np.array([[-1, -2], [-3, -4], [-5, -6]], np.float32)
pool = dict(kernel_shape=[3], strides=[2])
lower = dict(pool, auto_pad="SAME_LOWER")
upper = dict(pool, auto_pad="SAME_UPPER")
minus = dict(ignore_index=-1, reduction="mean")
seven = dict(ignore_index=7, reduction="mean")
loss = "NegativeLogLikelihoodLoss"
cases = [  # operator, inputs, attributes, worked by hand, the reference's value
    ("LpNormalization", pair, dict(p=1), [0.75, -0.25], [1.5, -0.5]),
    ("LpNormalization", pair, dict(p=2), np.divide([3, -1], np.sqrt(10)), None),
    ("MaxPool", row, lower, [2, 4, 6, 7], [3, 5, 7]),
    ("MaxPool", row, upper, [2, 4, 6, 7], None),
    ("AveragePool", row, lower, [1.5, 3, 5, 6.5], None),
    (loss, [logs, np.array([0, 1, -1])], minus, [(1 + 4) / 2], [(1 + 4) / 3]),
    (loss, [logs, np.array([0, 1, 7])], seven, [(1 + 4) / 2], None),
]
for operator, arrays, attributes, expected, wrong in cases:
    reference, runtime = both(operator, arrays, **attributes)
    print(operator, attributes)
    print("    expected", np.round(expected, 4), "reference", reference, "onnxruntime", runtime)
    if not np.allclose(runtime, expected):
        raise SystemExit("changed: onnxruntime leaves the value worked by hand")
    seen = expected if wrong is None else wrong
    if reference.shape != np.shape(seen) or not np.allclose(reference, seen):
        raise SystemExit("changed: the reference has another value")
print("ok: the reference is wrong in three operators")
PY
