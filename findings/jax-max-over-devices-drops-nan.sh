#!/usr/bin/env bash
# Guess: jnp.max of an array with a NaN is NaN as in NumPy, and sharding
#   changes where an array is, not what a reduction answers.
# Instead: when the reduced axis is divided among devices, the maximum and minimum over devices
#   skip NaN: [1 .. NaN .. 1] has the maximum NaN on one device and 1.0 on four, all-NaN gives
#   -inf, and jnp.linalg.norm(x, inf) and lax.pmax do the same. sum, isnan().any() are right.
# Seen with: jax 0.7.0, 0.10.2 and 0.12.0.1 (and jaxlib), virtual CPU devices; float32,
#   bfloat16 and float16, in jit and in eager calls.
# Hits: checks for NaN by the largest gradient, activation or loss in data parallel runs and in
#   tests on virtual devices: a diverged step looks finite, only when sharded.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
XLA_FLAGS=--xla_force_host_platform_device_count=4 JAX_PLATFORMS=cpu \
    "$work/venv/bin/python" - <<'EOF'
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

print("jax", jax.__version__, "jaxlib", jaxlib.__version__, jax.device_count(), "devices")
mesh = Mesh(np.array(jax.devices()), ("batch",))
divided = NamedSharding(mesh, PartitionSpec("batch"))
reductions = {
    "max": jnp.max,
    "min": jnp.min,
    "norm inf": lambda a: jnp.linalg.norm(a, jnp.inf),
    "sum": jnp.sum,
    "any isnan": lambda a: jnp.isnan(a).any(),
}
pmax = jax.jit(jax.shard_map(lambda a: jax.lax.pmax(a.max(), "batch"), mesh=mesh,
                             in_specs=PartitionSpec("batch"), out_specs=PartitionSpec()))
one_nan = jnp.ones(16).at[9].set(jnp.nan)
wrong = set()
for name, reduce in reductions.items():
    here = float(reduce(one_nan))
    eager = float(reduce(jax.device_put(one_nan, divided)))
    jitted = float(jax.jit(reduce)(jax.device_put(one_nan, divided)))
    print(f"{name:10} one device {here:5.1f}, four {eager:5.1f}, four in jit {jitted:5.1f}")
    for answer in (eager, jitted):
        if not np.array_equal(here, answer, equal_nan=True):
            wrong.add(name)
everything = float(jnp.max(jax.device_put(jnp.full(16, jnp.nan), divided)))
print("max of NaN only, four devices:", everything, " pmax:", float(pmax(one_nan)))

if wrong != {"max", "min", "norm inf"} or everything != -np.inf or pmax(one_nan) != 1:
    raise SystemExit(f"changed: wrong are {wrong}, all NaN {everything}")
EOF
