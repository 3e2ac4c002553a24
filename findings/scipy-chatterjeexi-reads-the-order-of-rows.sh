#!/usr/bin/env bash
# Guess: ties in x cost chatterjeexi some power at most: its help says that they are broken
#   arbitrarily, which in the paper is at random. A coin does not depend on anything.
# Instead: ties keep the order of the rows. In a table that is sorted by y, a constant x has xi = 0.99
#   with p = 4e-162, and random integers below 10 have 0.82 with p = 2e-112; the same rows in a random
#   order have p = 0.44 and 0.36. x without ties is unharmed. No warning; y may have ties or not.
# Seen with: SciPy 1.17.1, NumPy 2.4.6.
# Hits: dependence on counts, ratings, classes or rounded scores in tables that are sorted, or that
#   come class by class as folders do. Shuffle the rows before, several times, and average.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import warnings

import numpy as np
from scipy import stats

warnings.simplefilter("error")
for name in ("scipy", "numpy"):
    print(name, importlib.metadata.version(name))
rng = np.random.default_rng(0)
y = np.sort(rng.normal(size=300))
species = np.repeat(np.arange(30), 10)  # rows class by class, with ties
xs = {
    "constant": np.ones(300),
    "coin": rng.integers(0, 2, 300),
    "below 10": rng.integers(0, 10, 300),
    "without ties": rng.normal(size=300),
}
found = {}
for name, x in xs.items():
    order = rng.permutation(300)
    results = (
        stats.chatterjeexi(x, y),
        stats.chatterjeexi(x, species),
        stats.chatterjeexi(x[order], y[order]),
    )
    found[name] = [(float(one.statistic), float(one.pvalue)) for one in results]
    cells = ", ".join(f"xi = {xi:5.2f} (p = {p:.2g})" for xi, p in found[name])
    print(f"x {name}: sorted, class by class, shuffled: {cells}")

tied = [found[name] for name in ("constant", "coin", "below 10")]
if not all(p < 1e-50 for rows in tied for _, p in rows[:2]):
    raise SystemExit("changed: the order of the rows does not count")
if not all(rows[2][1] > 0.01 for rows in tied) or found["without ties"][0][1] < 0.01:
    raise SystemExit("changed: shuffled rows or x without ties depend on y")
PY
