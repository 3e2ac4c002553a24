#!/usr/bin/env bash
# Guess: jax_cpu_enable_async_dispatch=False "run[s] computations inline without async dispatch", as
#   its help says: the call returns when the result is there, and the caller's thread computed it.
# Instead: a NumPy array that is copied (it does not begin at a multiple of 64 bytes, as most arrays
#   of 1 MB and more do not) is copied by another thread, and the computation then runs in a thread
#   of the pool, too: the call returns at once, and block_until_ready waits as before. An aligned
#   array of the same size, a jax.Array and small arrays are computed in the caller's thread.
# Seen with: jax 0.10.2 on CPU, NumPy 2.4.6.
# Hits: who turns asynchronous dispatch off to time calls without block_until_ready, to keep memory
#   in one thread's arena, or for callbacks with thread-local state: it depends on the place of the
#   batch in memory. jax.device_put(batch).block_until_ready() before the call helps.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PY'
import importlib.metadata
import threading
import time

import jax
import numpy as np

for name in ("jax", "jaxlib", "numpy"):
    print(name, importlib.metadata.version(name))
jax.config.update("jax_cpu_enable_async_dispatch", False)
threads = []


def note(total):
    threads.append(threading.get_ident())
    time.sleep(0.2)
    return np.float32(total)


@jax.jit
def compute(x):
    return jax.pure_callback(note, jax.ShapeDtypeStruct((), np.float32), x.sum())


def placed(megabytes, offset):
    """Zeros that begin `offset` bytes after a multiple of 64."""
    raw = np.zeros(int(megabytes * 2**20) + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    return raw[start : start + int(megabytes * 2**20)].view(np.float32)


def elsewhere(x, times=5):
    """How often the computation ran in another thread, and the call returned before it."""
    compute(x).block_until_ready()
    other = early = 0
    for _ in range(times):
        threads.clear()
        start = time.perf_counter()
        result = compute(x)
        early += time.perf_counter() - start < 0.2
        result.block_until_ready()
        other += threads[0] != threading.get_ident()
    return other, early


found = {
    "64 MB, aligned": elsewhere(placed(64, 0)),
    "64 MB, 16 bytes further": elsewhere(placed(64, 16)),
    "16 kB, 16 bytes further": elsewhere(placed(1 / 64, 16)),
}
there = jax.device_put(placed(64, 16))
there.block_until_ready()
found["64 MB, 16 bytes further, device_put before"] = elsewhere(there)
for name, (other, early) in found.items():
    print(f"{name}: {other} of 5 in another thread, {early} returned before the result")
copied = found.pop("64 MB, 16 bytes further")
if copied[0] < 3 or copied[1] < 3 or any(one != (0, 0) for one in found.values()):
    raise SystemExit("changed: the thread does not depend on the array's place")
PY
