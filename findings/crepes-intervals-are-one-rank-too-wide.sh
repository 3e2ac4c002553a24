#!/usr/bin/env bash
# Guess: a split conformal interval at confidence 0.9 from 9 residuals is the largest of them, the
#   9th of 9, since 0.9 (9 + 1) = 9; from 19 it is the 18th.
# Instead: the rank is int((1 - confidence) (n + 1)), and (1 - 0.9) 10 is 0.9999999999999998 in
#   floats. Nine residuals have an infinite interval, with the warning of too few examples; at
#   each n with a whole 0.9 (n + 1) or 0.8 (n + 1) it is one rank too wide. 0.95 and 0.99 are right.
# Seen with: crepes 0.9.1.
# Hits: Mondrian regressors with small bins, widths compared between packages.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "crepes==0.9.1" "scikit-learn==1.9.1" "numpy==2.4.6"
cd "$work"
cat > ranks.py <<'PY'
from fractions import Fraction
from importlib.metadata import version
from math import ceil, inf
from warnings import simplefilter

import numpy as np
from crepes import ConformalRegressor

simplefilter("ignore")  # after the import, which sets a filter of its own


def rank(n, confidence):
    """The rank of the residual that is the half width of the interval from n residuals."""
    fitted = ConformalRegressor().fit(np.arange(1, n + 1.0))
    return float(fitted.predict_int(np.zeros(1), confidence=confidence)[0, 1])


print("crepes", version("crepes"))
for confidence, wrong in (("0.8", 40), ("0.9", 20), ("0.95", 0), ("0.99", 0)):
    wide = []
    for n in range(1, 200):
        exact = ceil(Fraction(confidence) * (n + 1))
        exact = exact if exact <= n else inf
        if (found := rank(n, float(confidence))) != exact:
            wide.append((n, exact, found))
    print(confidence, len(wide), "of 199 sizes differ; size, rank, found:", wide[:3])
    assert len(wide) == wrong, (confidence, len(wide))
assert rank(9, 0.9) == inf and rank(19, 0.9) == 19
PY
"$work/venv/bin/python" -W ignore ranks.py
echo "ok: intervals at 0.8 and 0.9 are one rank too wide"
