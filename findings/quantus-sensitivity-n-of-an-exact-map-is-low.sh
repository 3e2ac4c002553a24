#!/usr/bin/env bash
# Guess: Sensitivity-n correlates the change of the output with the sum of the attributions of
#   the removed pixels. Gradient times input of a linear network is exact, so the score is 1.
# Instead: the pixels that are removed pile up from step to step, while the attributions that
#   they are compared with are those of the last step alone. Exact maps score 0.2 to 0.5, less
#   with every further step, and a single step gives the 1 that is expected. Only the first
#   batch of the call counts: 20 pictures in batches of 10 score what the first 10 score.
# Seen with: quantus 0.6.0 on PyTorch 2.14.1.
# Hits: comparisons of explanation methods by Sensitivity-n; the more steps, the less a faithful
#   method differs from a random one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "quantus==0.6.0" "torch==2.14.1" "torchvision==0.29.1"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import numpy as np
import quantus
import torch

for name in ("quantus", "torch", "numpy"):
    print(name, importlib.metadata.version(name))


class Linear(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.layer = torch.nn.Linear(64, 2, bias=False)
        with torch.no_grad():
            self.layer.weight.zero_()[1] = torch.tensor(weights, dtype=torch.float32)

    def forward(self, x):
        return self.layer(x.flatten(1))


def sensitivity(seed, features_in_step, number=20, batch_size=64):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=64)
    images = rng.uniform(0.2, 1, (20, 1, 8, 8)).astype("float32")[:number]
    exact = (images * weights.reshape(8, 8)).astype("float32")
    metric = quantus.SensitivityN(
        features_in_step=features_in_step,
        n_max_percentage=1.0,
        perturb_baseline=0.0,
        abs=False,
        normalise=False,
        disable_warnings=True,
    )
    (score,) = metric(
        model=Linear(weights).eval(),
        x_batch=images,
        y_batch=np.ones(len(images), int),
        a_batch=exact,
        softmax=False,
        batch_size=batch_size,
        device="cpu",
    )
    return float(score)


one = [sensitivity(seed, 64) for seed in range(4)]
eight = [sensitivity(seed, 8) for seed in range(4)]
many = [sensitivity(seed, 1) for seed in range(4)]
print("exact maps of four linear networks, 1 step  :", np.round(one, 2).tolist())
print("                                    8 steps :", np.round(eight, 2).tolist())
print("                                    64 steps:", np.round(many, 2).tolist())
halves = sensitivity(0, 8, batch_size=10), sensitivity(0, 8, number=10)
print("20 pictures in batches of 10:", round(halves[0], 4), "the first 10:", round(halves[1], 4))

assert min(one) > 0.99, one
assert max(eight) < 0.6 and max(many) < 0.4, (eight, many)
assert abs(halves[0] - halves[1]) < 1e-6 and abs(halves[0] - eight[0]) > 1e-3, halves
print("ok: the exact map is scored far below 1, and one batch counts")
PY
