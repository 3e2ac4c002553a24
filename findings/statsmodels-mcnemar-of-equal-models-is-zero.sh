#!/usr/bin/env bash
# Guess: two classifiers that answer every picture alike cannot differ: McNemar's p-value is 1,
#   or NaN for the chi-square form, whose statistic is 0/0.
# Instead: mcnemar(table, exact=False) gives statistic inf and p = 0.0, the strongest evidence
#   there is for a difference. Edwards' correction takes 1 from |b - c| without stopping at 0, so
#   that b = c gets (0 - 1)**2 / (b + c): p = 0.48 for 1 and 1, 0.75 for 5 and 5, and 0 for 0 and
#   0. NumPy warns of a division; correction=False says NaN, exact=True (the default) 1.0.
# Seen with: statsmodels 0.14.4 and 0.15.0.
# Hits: comparisons rank by rank or species by species with exact=False for speed or by habit:
#   where both models are right on everything, Holm's method starts from p = 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "statsmodels==0.15.0" "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'EOF'
import importlib.metadata

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

for name in ("statsmodels", "scipy", "numpy"):
    print(name, importlib.metadata.version(name))

p = {}
for apart in (0, 1, 5):
    table = [[100, apart], [apart, 20]]
    p[apart] = [
        float(mcnemar(table, **options).pvalue)
        for options in ({"exact": True}, {"exact": False}, {"exact": False, "correction": False})
    ]
    print(f"each model alone right on {apart}: exact {p[apart][0]:.3f}, "
          f"chi-square corrected {p[apart][1]:.3f}, uncorrected {p[apart][2]:.3f}")
reject, corrected, *_ = multipletests([p[0][1], 0.04, 0.5], method="holm")
print("Holm with the equal models first:", reject, corrected)

if not all(p[n][0] == 1 for n in p) or p[0][1] != 0 or not reject[0]:
    raise SystemExit(f"changed: {p}")
if not 0.4 < p[1][1] < 0.5 or not 0.7 < p[5][1] < 0.8 or p[5][2] != 1:
    raise SystemExit(f"changed: {p}")
EOF
