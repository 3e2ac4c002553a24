#!/usr/bin/env bash
# Guess: with best_fn and best_mode="max" a step whose metric is NaN counts as the worst, and
#   best_step() stays at the highest number.
# Instead: steps are sorted with NaN among the numbers, where every comparison is false. After
#   0.5, 0.9, NaN, 0.6, 0.7 and max_to_keep=2 the step with 0.9 has been deleted from disk and
#   best_step() answers 0.7; after 0.9, NaN and max_to_keep=1 only the NaN step is left. No
#   error and no warning. With max_to_keep=None the files survive, but best_step() is as wrong.
# Seen with: orbax-checkpoint 0.11.25 and 0.12.8, jax 0.7.0 to 0.12.0.1.
# Hits: who selects checkpoints by a metric that can be NaN: a diverged epoch, or a mean over
#   classes, sites or tags that have no example in one evaluation.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "orbax-checkpoint==0.12.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'EOF' 2>"$work/log" || { tail -n 20 "$work/log"; exit 1; }
import importlib.metadata
import pathlib

import numpy as np
import orbax.checkpoint as ocp

for name in ("orbax-checkpoint", "jax", "numpy"):
    print(name, importlib.metadata.version(name))


def history(folder, values, keep):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, best_fn=lambda metrics: metrics["accuracy"], best_mode="max"
    )
    with ocp.CheckpointManager(pathlib.Path.cwd() / folder, options=options) as manager:
        for step, value in enumerate(values):
            manager.save(
                step,
                args=ocp.args.StandardSave({"w": np.full(1, step)}),
                metrics={"accuracy": value},
            )
            manager.wait_until_finished()
        best, kept = manager.best_step(), list(manager.all_steps())
    print(f"keep {keep}: {values} -> best_step {best} ({values[best]}), on disk {kept}")
    return best, kept


nan = float("nan")
finite = history("finite", [0.5, 0.9, 0.1, 0.6, 0.7], 2)
hole = history("hole", [0.5, 0.9, nan, 0.6, 0.7], 2)
one = history("one", [0.9, nan], 1)
every = history("every", [0.5, 0.9, nan, 0.6, 0.7], None)

if finite != (1, [1, 4]):
    raise SystemExit(f"changed: without NaN the best is {finite}")
if hole != (4, [3, 4]) or one != (1, [1]) or every[0] != 4:
    raise SystemExit(f"changed: {hole}, {one}, {every}")
print("One NaN, and the best checkpoint is deleted without a word.")
EOF
