#!/usr/bin/env bash
# Guess: lax.dynamic_slice keeps its promise in the exported graph. In JAX a crop of 4 x 4 is 4 x 4
#   wherever it starts: a start beyond the edge is moved back, a negative one counts from the end.
# Instead: jax2onnx writes a plain Slice. Its output is declared as 4 x 4 and is 2 x 1 at (6, 7) of
#   8 x 8, empty at (9, 9), and at (-1, -1) the last pixel. dynamic_update_slice is exported with
#   the clamp: a patch that is pasted at the edge agrees, one that is cut out does not.
# Seen with: jax2onnx 0.17.1, onnxruntime 1.32.0; jax 0.10.2 (0.12.0.1: the same).
# Hits: networks that crop at a predicted place, sliding windows, caches of tokens.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "jax2onnx==0.17.1" "jax==0.10.2" "jaxlib==0.10.2" "onnx==1.23.2" "onnxruntime==1.32.0"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import jax
import numpy as np
import onnxruntime
from jax2onnx import to_onnx

onnxruntime.set_default_logger_severity(4)
for name in ("jax2onnx", "jax", "onnx", "onnxruntime"):
    print(name, importlib.metadata.version(name))


def crop(image, top, left):
    return jax.lax.dynamic_slice(image, (top, left), (4, 4))


def paste(image, patch, top):
    return jax.lax.dynamic_update_slice(image, patch, (top, 0))


def both(function, *examples):
    specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in examples]
    session = onnxruntime.InferenceSession(to_onnx(function, specs).SerializeToString())
    names = [one.name for one in session.get_inputs()]
    declared = session.get_outputs()[0].shape

    def run(*arrays):
        (found,) = session.run(None, dict(zip(names, arrays)))
        return found, np.asarray(function(*arrays)), declared

    return run


image = np.arange(64, dtype=np.float32).reshape(8, 8)
start = np.zeros((), np.int32)
run, shapes = both(crop, image, start, start), []
for top, left in ((2, 3), (6, 7), (9, 9), (-1, -1)):
    found, expected, declared = run(image, *(np.array(x, np.int32) for x in (top, left)))
    shapes.append(found.shape)
    print(f"crop at {top, left}: declared {declared}, jax {expected.shape}, onnx {found.shape}")
assert shapes == [(4, 4), (2, 1), (0, 0), (1, 1)], shapes

patch = np.ones((3, 8), np.float32)
run = both(paste, image, patch, start)
for top in (3, 7, -1):
    found, expected, _ = run(image, patch, np.array(top, np.int32))
    print(f"paste at {top}: equal {np.array_equal(found, expected)}")
    assert np.array_equal(found, expected), top
print("ok: crops at the edge shrink, pastes do not")
PY
