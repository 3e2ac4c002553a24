#!/usr/bin/env bash
# Guess: classes that no calibration picture has are an error, or keep their column; labels that are
#   not 0 and 1 are an error, or are mapped as scikit-learn does. Probabilities lie in 0 to 1.
# Instead: VennAbersCalibrator.predict_proba(p_cal, y_cal, p_test) has one column for each label
#   that occurs in y_cal. Without class 2 of 5 the result is n x 4 and column 2 is class 3: argmax
#   is right for the classes before the gap and wrong after it. With two labels left, column 1 of
#   p_cal is the score even where the labels are 0 and 4, and labels are added up as numbers:
#   classes 1 and 2 have "probabilities" from -55 to 56. There is no warning; only the
#   attribute `classes` says which labels were seen.
# Seen with: venn-abers 1.5.4.
# Hits: calibration of a network's softmax over species, where a rare one is missing from the
#   calibration pictures; labels that count from 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "venn-abers==1.5.4" "scikit-learn==1.9.1" "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import numpy as np
from venn_abers import VennAbersCalibrator

for name in ("venn-abers", "scikit-learn", "numpy"):
    print(name, importlib.metadata.version(name))

rng = np.random.default_rng(0)


def softmax_of(labels, classes):
    logits = rng.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += 3
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def accuracy(probabilities):
    return [round(float((probabilities.argmax(axis=1)[y == k] == k).mean()), 2) for k in range(5)]


y_cal, y = np.arange(600) % 5, np.arange(500) % 5
p_cal, p = softmax_of(y_cal, 5), softmax_of(y, 5)
calibrator = VennAbersCalibrator()
all_five = calibrator.predict_proba(p_cal=p_cal, y_cal=y_cal, p_test=p)
some = y_cal != 2
gap = calibrator.predict_proba(p_cal=p_cal[some], y_cal=y_cal[some], p_test=p)
print("right by class before:", accuracy(p))
print("all classes calibrated:", all_five.shape, accuracy(all_five))
print("without class 2: expected", p.shape, "found", gap.shape, accuracy(gap),
      "classes", calibrator.classes)
if min(accuracy(all_five)) < 0.7 or gap.shape != (500, 4):
    raise SystemExit(f"changed: {accuracy(all_five)}, {gap.shape}")
if min(accuracy(gap)[:2]) < 0.7 or max(accuracy(gap)[2:]) > 0.3:
    raise SystemExit(f"changed: {accuracy(gap)}")

ends = np.isin(y_cal, (0, 4))
two = calibrator.predict_proba(p_cal=p_cal[ends], y_cal=y_cal[ends], p_test=p)
print(f"classes 0 and 4 alone: {two.shape}, range {two.min():.2f} to {two.max():.2f}")

binary = y_cal < 2
scores = p_cal[binary][:, :2] / p_cal[binary][:, :2].sum(axis=1, keepdims=True)
test = p[y < 2][:, :2] / p[y < 2][:, :2].sum(axis=1, keepdims=True)
ranges = {}
for first in (0, 1):
    found = calibrator.predict_proba(p_cal=scores, y_cal=y_cal[binary] + first, p_test=test)
    ranges[first] = float(found.min()), float(found.max())
    print(f"labels {first} and {first + 1}: probabilities from {ranges[first][0]:.2f} "
          f"to {ranges[first][1]:.2f}")
if not (0 <= ranges[0][0] and ranges[0][1] <= 1 and ranges[1][0] < 0 and ranges[1][1] > 1):
    raise SystemExit(f"changed: {ranges}")
if two.shape != (500, 2) or two.max() <= 1:
    raise SystemExit(f"changed: {two.shape}, {two.max()}")
print("ok: a column is the n-th label that occurs, not the class")
PY
