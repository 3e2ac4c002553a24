#!/usr/bin/env bash
# Guess: a checkpoint holds every leaf of the tree, so {"head.kernel": a, "head": {"kernel": b}}
#   comes back as a and b, or is refused when it is saved.
# Instead: both leaves are written under the one name "head.kernel". Saving and restoring
#   succeed without a word, both keys are there, and both hold the same array: the other is lost.
#   ("head/kernel" next to "head" is kept apart.)
# Seen with: orbax-checkpoint 0.11.25 and 0.12.8, jax 0.7.0 to 0.12.0.1; NumPy and JAX arrays.
# Hits: who keeps flat names (an imported PyTorch state dict, EMA or optimizer statistics by
#   parameter name) in one tree with nested Flax or Keras parameters.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "orbax-checkpoint==0.12.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'EOF'
import importlib.metadata
import pathlib

import numpy as np
import orbax.checkpoint as ocp

for name in ("orbax-checkpoint", "jax", "numpy"):
    print(name, importlib.metadata.version(name))


def round_trip(tree, folder):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(pathlib.Path.cwd() / folder, tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(pathlib.Path.cwd() / folder)


imported, trained = np.full(2, 1.0), np.full(2, 2.0)
dotted = round_trip({"head.kernel": imported, "head": {"kernel": trained}}, "dotted")
slashed = round_trip({"head/kernel": imported, "head": {"kernel": trained}}, "slashed")
print("saved   ", {"head.kernel": imported, "head": {"kernel": trained}})
print("restored", dotted)
print("with a slash:", slashed)

first, second = dotted["head.kernel"], dotted["head"]["kernel"]
if not np.array_equal(first, second):
    raise SystemExit("changed: the two leaves are different now")
if not (np.array_equal(slashed["head/kernel"], imported)
        and np.array_equal(slashed["head"]["kernel"], trained)):
    raise SystemExit("changed: a slash in a key is no longer kept apart")
print("One of two different arrays is gone: both keys hold", first)
EOF
