#!/usr/bin/env bash
# Guess: a product with a matrix of equal columns, such as ones or a vector broadcast to many
#   classes, is the product with that matrix, jitted or not.
# Instead: on a CPU, where a reduction follows (softmax, sum, mean, max), jit gives wrong numbers
#   at some sizes, such as (2, 5) by (5, 4000). Without jit, without the reduction, with equal
#   rows in place of columns, and with the matrix as an argument, the result is right. 0.10.1 is
#   right, too; without the fusion of reductions
#   (XLA_FLAGS=--xla_cpu_experimental_ynn_fusion_type=-reduce) so is 0.12.0.1.
# Seen with: jax 0.10.2 (Python 3.11) and 0.12.0.1 (Python 3.13), Linux x86-64.
# Hits: uniform heads and prototypes as a baseline, weights broadcast to classes, sums by a
#   product with ones, in jitted code on CPUs, tests and CI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
cd "$work"
cat > columns.py <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

EXPECTED_WRONG = jax.__version__ == "0.10.2"
x = np.arange(1, 11, dtype=np.float32).reshape(2, 5) / 10
row_sums = x.astype(np.float64).sum(1)
wide = (5, 4000)


def means(x):
    return (x @ jnp.ones(wide)).mean(1)


def no_reduction(x):
    return (x @ jnp.ones(wide))[:, 0]


def given(x, ones):
    return (x @ ones).mean(1)


def shares(x, column):
    return jax.nn.softmax(x @ jnp.broadcast_to(column[:, None], wide))


def is_right(found, expected):
    return bool(np.allclose(found, expected, rtol=1e-4))


column = np.linspace(0.2, 1.0, 5, dtype=np.float32)
uniform = np.full((2, 4000), 1 / 4000)
results = {
    "mean of x @ ones": is_right(means(x), row_sums),
    "jit, mean of x @ ones": is_right(jax.jit(means)(x), row_sums),
    "jit, x @ ones": is_right(jax.jit(no_reduction)(x), row_sums),
    "jit, mean of x @ ones as an argument": is_right(
        jax.jit(given)(x, np.ones(wide, np.float32)), row_sums
    ),
    "softmax of equal columns": is_right(shares(x, column), uniform),
    "jit, softmax of equal columns": is_right(jax.jit(shares)(x, column), uniform),
}
print("jax", jax.__version__)
print("expected means", row_sums.tolist())
for name, right in results.items():
    print(f"{name}: {'right' if right else 'WRONG'}")
wrong = [name for name, right in results.items() if not right]
expected = ["jit, mean of x @ ones", "jit, softmax of equal columns"]
assert wrong == (expected if EXPECTED_WRONG else []), wrong
PY
for version in 0.10.1 0.10.2; do
    "$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
        "jax==$version" "jaxlib==$version" "numpy==2.4.6"
    JAX_PLATFORMS=cpu XLA_FLAGS= "$work/venv/bin/python" -W ignore columns.py
done
echo "ok: jit is wrong about products with equal columns that are reduced"
