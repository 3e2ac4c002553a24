#!/usr/bin/env bash
# Guess: f1_score(average="macro") is scikit-learn's macro F1 with an interval around it.
# Instead: the mean is taken over the ids 0 .. largest id, and an id that no row has counts as 0.
#   With ids 1 to 4 a classifier that is always right has a macro F1 of 0.8 and an interval up to
#   0.88; with ids 101 to 104 it has 4/105. The bootstrap is as wrong. Macro precision
#   and recall take the ids that occur, and are right, but a class that is predicted once and has
#   no true row makes macro recall NaN, where scikit-learn counts it as 0.
# Seen with: confidenceinterval 1.0.5, scikit-learn 1.9.1 as the reference.
# Hits: species ids that begin at 1, have gaps, or are cut to the species of one site. Number the
#   classes 0 .. n - 1 first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "confidenceinterval==1.0.5" "scikit-learn==1.9.1" "scipy==1.17.1" "statsmodels==0.15.0" \
    "pandas==3.1.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata
import math

import confidenceinterval
import numpy as np
from sklearn import metrics

for name in ("confidenceinterval", "scikit-learn"):
    print(name, importlib.metadata.version(name))
scores = ("f1_score", "precision_score", "recall_score")


def both(name, truth, answers):
    value, interval = getattr(confidenceinterval, name)(truth, answers, average="macro")
    expected = getattr(metrics, name)(truth, answers, average="macro")
    low, high = interval
    print(f"  {name:15} expected {expected:.4f}, found {value:.4f} ({low:.4f} to {high:.4f})")
    return expected, value, high


classes = np.repeat(np.arange(4), 25)
for first, f1 in ((0, 4 / 4), (1, 4 / 5), (101, 4 / 105)):
    print(f"always right, ids {first} .. {first + 3}")
    found = {name: both(name, classes + first, classes + first) for name in scores}
    if any(not math.isclose(found[name][1], 1, abs_tol=1e-6) for name in scores[1:]):
        raise SystemExit("changed: macro precision or recall is not 1")
    if not math.isclose(found["f1_score"][1], f1, abs_tol=1e-6):
        raise SystemExit(f"changed: macro F1 is not {f1}")
    if first and found["f1_score"][2] > 0.9:
        raise SystemExit("changed: the interval of macro F1 reaches 0.9")

value, (low, high) = confidenceinterval.f1_score(
    classes + 1, classes + 1, average="macro", method="bootstrap_percentile", n_resamples=200
)
print(f"bootstrap, ids 1 .. 4: {value:.4f} ({low:.4f} to {high:.4f})")
if high > 0.81:
    raise SystemExit("changed: the bootstrap's interval reaches 0.81")

print("one row of 100 is taken for a class 4 that no row has, ids 0 .. 4")
answers = classes.copy()
answers[0] = 4
expected, value, _ = both("recall_score", classes, answers)
if not math.isclose(expected, 3.96 / 5) or not math.isnan(value):
    raise SystemExit("changed: macro recall is not NaN")
print("ok: macro F1 is a mean over ids that do not occur")
PY
