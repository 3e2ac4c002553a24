#!/usr/bin/env bash
# Guess: Compiled.cost_analysis() counts a loop as often as it runs where the number is known, and the
#   bytes that a fused computation reads.
# Instead: the body of a loop counts once: fori_loop and scan over 100 products of matrices have the
#   flops of one, and lax.map over 64 has a 64th of vmap. Slices that overlap are charged each as
#   a whole: x[:-2] + x[1:-1] + x[2:] of 1,000 numbers has 15,968 bytes, twice the 7,992 of x and the
#   result. Nothing says that the numbers are bounds from one side or the other.
# Seen with: jax 0.10.2 and 0.12.0.1 on CPUs.
# Hits: utilisation (MFU) and bytes per second of models with scanned layers, of accumulated gradients
#   and of stencils.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import jax
import jax.numpy as jnp

print("jax", jax.__version__)
SIDE = 32
ONE = 2 * SIDE**3  # a product and a sum for every element of every row and column


def cost(function, *shape):
    argument = jax.ShapeDtypeStruct(shape, jnp.float32)
    found = jax.jit(function).lower(argument).compile().cost_analysis()
    return found["flops"], found["bytes accessed"]


def fori(times):
    return lambda x: jax.lax.fori_loop(0, times, lambda _, y: y @ x, x)


def scan(times):
    return lambda x: jax.lax.scan(lambda y, _: (y @ x, None), x, length=times)[0]


def unrolled(times):
    def function(x):
        y = x
        for _ in range(times):
            y = y @ x
        return y

    return function


found = {}
for make in (unrolled, fori, scan):
    for times in (1, 10, 100):
        if make is unrolled and times == 100:
            continue
        found[make, times] = cost(make(times), SIDE, SIDE)[0] / ONE
        print(f"{make.__name__:8} {times:3} products: found the flops of "
              f"{found[make, times]:.3f}")
mapped = cost(lambda x: jax.lax.map(lambda one: one @ one, x), 64, SIDE, SIDE)[0] / ONE
together = cost(jax.vmap(lambda one: one @ one), 64, SIDE, SIDE)[0] / ONE
print(f"64 products: vmap {together:.3f}, lax.map {mapped:.3f}")
bytes_ = cost(lambda x: x[:-2] + x[1:-1] + x[2:], 1000)[1]
print(f"sum of three slices: expected {4 * (1000 + 998)} bytes, found {bytes_:.0f}")

if abs(found[unrolled, 10] - 10) > 0.1 or abs(together - 64) > 0.1:
    raise SystemExit("changed: unrolled products are not counted each")
if found[fori, 100] > 1.1 or found[scan, 100] > 1.1 or mapped > 1.1:
    raise SystemExit("changed: the body of a loop counts more than once")
if bytes_ != 4 * (3 * 998 + 998):
    raise SystemExit("changed: overlapping slices are not charged whole")
print("ok: a loop costs one of its turns")
PY
