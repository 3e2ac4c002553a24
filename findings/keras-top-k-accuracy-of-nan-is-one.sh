#!/usr/bin/env bash
# Guess: a network whose outputs are all NaN has a top-k accuracy of 0, on each backend; k=1
#   equals SparseCategoricalAccuracy; and k=5 is hard to please for a constant answer.
# Instead: on JAX all-NaN rows count as hits, top-k accuracy 1.0 for each k (NumPy: 0.0), since
#   the NaN of the true class becomes -inf and nothing is greater. On both backends a tie is a
#   hit: equal logits have top-1 "accuracy" 1.0, and a softmax that saturated at one wrong class
#   has top-5 accuracy 1.0 with top-1 accuracy 0.0, as the zeros tie.
# Seen with: keras 3.10.0 and 3.15.1, jax 0.7.0, 0.10.2 and 0.12.0.1.
# Hits: checkpoints and early stopping by top-5 accuracy on JAX: a diverged run has the best
#   epoch of all. Sharp networks and half precision (tails of exact zeros) are overrated.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "keras==3.15.1" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
cat >probe.py <<'EOF'
import importlib.metadata
import json
import sys

import keras
import numpy as np

backend = keras.backend.backend()
labels = np.array([0, 11, 57, 99])
classes = 100
wrong = np.zeros((4, classes), np.float32)
wrong[:, 3] = 1.0
outputs = {
    "all NaN": np.full((4, classes), np.nan, np.float32),
    "all equal": np.full((4, classes), 1 / classes, np.float32),
    "sure of class 3": wrong,
}
print(backend, *(f"{n} {importlib.metadata.version(n)}" for n in ("keras", "jax", "numpy")))
table = {}
for name, scores in outputs.items():
    top1 = keras.metrics.SparseCategoricalAccuracy()
    top1.update_state(labels, scores)
    row = [float(top1.result())]
    for k in (1, 5):
        metric = keras.metrics.SparseTopKCategoricalAccuracy(k=k)
        metric.update_state(labels, scores)
        row.append(float(metric.result()))
    table[name] = row
    print(f"  {name:16} accuracy {row[0]:.2f}, top-1 of top-k {row[1]:.2f}, top-5 {row[2]:.2f}")
expected = {
    "all NaN": [0.25, 1.0, 1.0] if backend == "jax" else [0.25, 0.0, 0.0],
    "all equal": [0.25, 1.0, 1.0],
    "sure of class 3": [0.0, 0.0, 1.0],
}
if table != expected:
    sys.exit("changed: " + json.dumps(table))
EOF
for backend in jax numpy; do
    KERAS_BACKEND=$backend KERAS_HOME="$work" JAX_PLATFORMS=cpu "$work/venv/bin/python" probe.py
done
