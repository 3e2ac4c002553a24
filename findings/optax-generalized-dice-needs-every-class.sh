#!/usr/bin/env bash
# Guess: multiclass_generalized_dice_loss of a wrong segmentation is about 1, and a class that no
#   pixel of the batch has changes little.
# Instead: a class is weighted by 1 / (n^2 + 1e-7), n its pixels in the whole batch. A class without
#   pixels has nearly all the weight, 0 overlap, and the loss 0: each pixel wrong has the loss 3e-8,
#   a flat guess has 0.4, and the gradient of the classes that occur is gone.
# Seen with: optax 0.2.8 on jax 0.10.2.
# Hits: segmentation of rare classes, small batches, crops.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "optax==0.2.8" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.6"
cd "$work"
cat > dice.py <<'PY'
from importlib.metadata import version

import jax
import jax.numpy as jnp
from optax.losses import multiclass_generalized_dice_loss as dice

truth, wrong = jnp.array([[0, 0, 1, 1]]), jnp.array([[1, 1, 0, 0]])


def losses(classes):
    """The loss of right and wrong answers, of a flat one, and its largest gradient there."""
    target = jax.nn.one_hot(truth, classes)
    right, bad = (40 * jax.nn.one_hot(x, classes) - 20 for x in (truth, wrong))
    flat = jnp.zeros_like(target)
    slope = jax.grad(lambda x: dice(x, target))(flat)
    # Moves weight between the two classes that occur, none to a third one.
    inner = slope[..., 0] - slope[..., 1]
    return [float(dice(x, target)) for x in (right, bad, flat)] + [float(abs(inner).max())]


both, third = losses(2), losses(3)
print("optax", version("optax"))
for name, (right, bad, flat, inner) in (("both occur", both), ("a third class is absent", third)):
    print(f"{name}: right {right:.2g}, wrong {bad:.2g}, flat {flat:.2g}, slope {inner:.2g}")
assert both[1] > 0.6 and both[3] > 0.05, both
assert third[1] < 1e-6 < 0.3 < third[2], third
assert third[3] < 1e-6, third
PY
"$work/venv/bin/python" -W ignore dice.py
echo "ok: one absent class switches the loss off"
