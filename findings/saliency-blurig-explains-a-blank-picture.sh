#!/usr/bin/env bash
# Guess: BlurIG integrates from the picture to its blurred self and needs no baseline color. A
#   picture of one color does not change when it is blurred, so its map is zero everywhere.
# Instead: the blur continues the picture with zeros beyond its edge. The path ends in a picture
#   that darkens towards its edges, so a blank picture gets a map that holds most of the score
#   at its default max_sigma=50, and at max_sigma=10 the map is a bright frame.
# Seen with: saliency 0.2.1 (PAIR), SciPy 1.17.1, NumPy 2.4.6.
# Hits: XAI studies with BlurIG on small pictures or crops: border artifacts, and maps whose
#   energy follows the mean color of the picture.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "saliency==0.2.1" "scipy==1.17.1" "scikit-image==0.26.0" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata

import numpy as np
import saliency.core as saliency

for name in ("saliency", "scipy", "numpy"):
    print(name, importlib.metadata.version(name))


def mean_score(images, call_model_args=None, expected_keys=None):
    """Score: the mean of all values. Its gradient is 1/size everywhere."""
    images = np.asarray(images)
    size = np.prod(images.shape[-3:])
    return {saliency.INPUT_OUTPUT_GRADIENTS: np.full_like(images, 1 / size)}


blank = np.ones((64, 64, 3), np.float32)
share = {}
for sigma in (10, 50):
    heat = saliency.BlurIG().GetMask(
        blank, mean_score, max_sigma=sigma, steps=100, batch_size=20
    ).sum(axis=-1)
    frame = heat.sum() - heat[8:-8, 8:-8].sum()
    share[sigma] = float(heat.sum())
    print(f"max_sigma {sigma}: the map of a blank picture sums to {heat.sum():.3f} of its "
          f"score 1.000; corner / center = {heat[0, 0] / heat[32, 32]:.1f}; "
          f"frame of 8 px (44 % of the area) holds {frame / heat.sum():.0%}")
normalized = saliency.BlurIG().GetMask(
    blank * 0, mean_score, max_sigma=50, steps=100, batch_size=20
)
print("the same for a blank picture of color 0:", float(np.abs(normalized).sum()))

if not (share[50] > 0.6 and share[10] > 0.15 and not normalized.any()):
    raise SystemExit(f"changed: {share}, {np.abs(normalized).sum()}")
EOF
