#!/usr/bin/env bash
# Guess: integrated gradients of a uint8 photograph against a uint8 gray baseline add up to
#   score(photograph) - score(baseline), as they do for the same values in float32.
# Instead: photograph minus baseline is taken in uint8 and wraps modulo 256. Each pixel that is
#   darker than the baseline is multiplied by a difference of up to +255: its attribution has
#   the wrong sign and size, and the path leaves 0 .. 255. No error, no warning, a plausible map.
#   With the default baseline 0 nothing wraps, which is why it is not noticed.
# Seen with: saliency 0.2.1 (PAIR), NumPy 2.4.6.
# Hits: who hands over pictures as Pillow or OpenCV reads them and chooses a baseline (gray,
#   white, mean color or blurred), as papers on baselines advise.
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

for name in ("saliency", "numpy"):
    print(name, importlib.metadata.version(name))

rng = np.random.default_rng(0)
weights = rng.normal(size=(16, 16, 3))
photo = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
gray = np.full_like(photo, 128)
largest = []


def linear(images, call_model_args=None, expected_keys=None):
    largest.append(float(np.max(images)))
    gradients = np.broadcast_to(weights, np.shape(images)).copy()
    return {saliency.INPUT_OUTPUT_GRADIENTS: gradients}


def attribution(image, baseline):
    largest.clear()
    return saliency.IntegratedGradients().GetMask(
        image, linear, x_baseline=baseline, x_steps=50, batch_size=10
    )


truth = float((weights * (photo.astype(float) - gray)).sum())
floats = attribution(photo.astype(np.float32), gray.astype(np.float32))
bytes_ = attribution(photo, gray)
brightest = max(largest)
black = attribution(photo, np.zeros_like(photo))
darker = photo < gray
wrong = np.sign(bytes_) != np.sign(floats)
print(f"score(photo) - score(gray)    {truth:12.2f}")
print(f"sum of attributions, float32  {floats.sum():12.2f}")
print(f"sum of attributions, uint8    {bytes_.sum():12.2f}")
print(f"wrong sign: {wrong[darker].mean():.0%} of the darker values, "
      f"{wrong[photo > gray].mean():.0%} of the brighter; "
      f"brightest value given to the model: {brightest:.0f}")
print(f"baseline 0, uint8             {black.sum():12.2f} (right: "
      f"{(weights * photo).sum():.2f})")

if abs(floats.sum() - truth) > 1e-2 * abs(truth):
    raise SystemExit("changed: float32 is no longer complete")
if abs(bytes_.sum() - truth) < abs(truth) or wrong[darker].mean() < 0.99:
    raise SystemExit("changed: uint8 does not wrap any more")
if abs(black.sum() - (weights * photo).sum()) > 1:
    raise SystemExit("changed: baseline 0 is wrong now")
EOF
