#!/usr/bin/env bash
# Guess: a backbone called as base(inputs, training=False) in a functional model keeps its
#   batch statistics while the model is fitted, frozen or not, as is advised for fine-tuning.
# Instead: fit calls the model with training=True, and that goes to every layer of the graph in
#   place of the argument that the graph was built with. Moving means and variances follow the new
#   data, and Dropout(training=False) drops. base.trainable = False keeps them.
# Seen with: keras 3.12.0, 3.14.0 and 3.15.1 on jax 0.10.2.
# Hits: fine-tuning of all layers on small batches, with batch statistics meant to stay.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "keras==3.12.0" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
cat > fit.py <<'PY'
import keras
import numpy as np

data = np.random.default_rng(0).normal(5, 1, (64, 4)).astype("float32")


def moved(trainable):
    """How far fit moves the batch statistics of a backbone called with training=False."""
    base = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    base.trainable = trainable
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(base(inputs, training=False)))
    model.compile("sgd", "mse")
    norm = base.layers[-1]
    model.fit(data, data[:, :1], verbose=0)
    return float(np.abs(np.asarray(norm.moving_mean)).max())


inputs = keras.Input((1000,))
off = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs, training=False))
dropped = float((np.asarray(off(np.ones((1, 1000)), training=True)) == 0).mean())
free, frozen = moved(True), moved(False)
print("keras", keras.__version__)
print(f"moving mean after one epoch: {free:.3f}, trainable=False: {frozen:.3f}")
print(f"share dropped by Dropout(training=False): {dropped:.2f}")
assert free > 0.05 and frozen == 0, (free, frozen)
assert 0.4 < dropped < 0.6, dropped
PY
KERAS_HOME="$work" KERAS_BACKEND=jax "$work/venv/bin/python" -W ignore fit.py
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check "keras==3.15.1"
KERAS_HOME="$work" KERAS_BACKEND=jax "$work/venv/bin/python" -W ignore fit.py
echo "ok: training=False of the graph is not kept"
