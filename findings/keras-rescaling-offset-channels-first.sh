#!/usr/bin/env bash
# Guess: Rescaling with a scale and an offset for each channel does the same in both data formats.
# Instead: with channels_first the scale is laid along the channels, and the offset along the
#   width. Pictures 3 pixels wide get a gradient of columns, without a word; other widths raise an
#   error of broadcasting that names neither the layer's argument nor the format.
# Seen with: keras 3.15.1 on jax 0.10.2.
# Hits: networks that normalize by ImageNet's means as (x - mean) / std in one Rescaling layer.
#   Normalization(mean=, variance=, axis=1) does it in either format.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "keras==3.15.1" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
KERAS_HOME="$work" KERAS_BACKEND=jax "$work/venv/bin/python" -W ignore - <<'PY'
import keras
import jax
import numpy as np

print("keras", keras.__version__, "jax", jax.__version__)
OFFSET = [10.0, 20.0, 30.0]
last = keras.layers.Rescaling([1.0, 1.0, 1.0], offset=OFFSET)
keras.config.set_image_data_format("channels_first")
first = keras.layers.Rescaling([1.0, 1.0, 1.0], offset=OFFSET)
black = np.zeros((1, 3, 3, 3), "float32")
expected = np.moveaxis(np.asarray(last(black)), -1, 1)[0, :, 0]
found = np.asarray(first(black))[0, :, 0]
print("first row of each channel, channels_last :", expected.tolist())
print("first row of each channel, channels_first:", found.tolist())
scaled = keras.layers.Rescaling(OFFSET)(black + 1)
print("scale alone, channels_first              :", np.asarray(scaled)[0, :, 0].tolist())
try:
    first(np.zeros((1, 3, 8, 8), "float32"))
    error = None
except Exception as raised:
    error = f"{type(raised).__name__}: {str(raised).splitlines()[0][:90]}"
print("8 pixels wide:", error)
assert expected.tolist() == [[v] * 3 for v in OFFSET]
assert found.tolist() == [OFFSET] * 3, found
assert np.asarray(scaled)[0, :, 0].tolist() == [[v] * 3 for v in OFFSET]
assert error is not None
print("ok: the offset runs along the width")
PY
