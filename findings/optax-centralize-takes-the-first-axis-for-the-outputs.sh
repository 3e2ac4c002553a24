#!/usr/bin/env bash
# Guess: centralize() takes from the gradient of each output unit its mean over the inputs, as
#   gradient centralization is defined, for the kernels of Flax and Keras: (in, out) and (h, w, in, out).
# Instead: the mean is over all axes but the first, which is right for (out, in). Of a
#   dense kernel each input has its mean over the outputs taken away; of a convolution each row.
# Seen with: optax 0.2.8 on jax 0.10.2, flax 0.12.8.
# Hits: gradient centralization of networks in Flax, Haiku or Keras.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "optax==0.2.8" "flax==0.12.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
cat > central.py <<'PY'
from importlib.metadata import version

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


def left(layer, x):
    """The largest mean by output unit and by first axis after centralize()."""
    params = layer.init(jax.random.key(0), x)
    slope = jax.grad(lambda p: (layer.apply(p, x) ** 2).sum())(params)
    rule = optax.centralize()
    kernel = rule.update(slope, rule.init(params))[0]["params"]["kernel"]
    units = abs(kernel.mean(tuple(range(kernel.ndim - 1)))).max()
    first = abs(kernel.mean(tuple(range(1, kernel.ndim)))).max()
    size = abs(kernel).max()
    return kernel.shape, float(units / size), float(first / size)


x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
print("optax", version("optax"), "flax", version("flax"))
for layer in (nn.Dense(5), nn.Conv(5, (3, 3))):
    shape, units, first = left(layer, x)
    print(f"{type(layer).__name__} kernel {shape}: mean left by output unit {units:.2f}, "
          f"by first axis {first:.0e}, of the largest entry")
    assert units > 0.05 and first < 1e-5, (units, first)
PY
"$work/venv/bin/python" -W ignore central.py
echo "ok: the first axis is taken for the outputs"
