#!/usr/bin/env bash
# Guess: the Brunner-Munzel test of two samples that do not overlap has the smallest p-value of all.
# Instead: it has none: 1 .. 5 against 11 .. 15 has p = NaN, as have 50 values against 50 others, for
#   each alternative. The variance of the ranks is 0, the statistic infinite, its degrees of freedom
#   are 0 / 0. One value of overlap makes p small again; distribution="normal" gives 0, mannwhitneyu
#   the 2 of 252 orders.
# Seen with: SciPy 1.17.1 and 1.18.1.
# Hits: tables of tests by species, site or layer: p < 0.05 is False for the clearest differences,
#   scores that separate two classes wholly among them. Take mannwhitneyu or a permutation there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata

import numpy as np
from scipy import stats

for name in ("scipy", "numpy"):
    print(name, importlib.metadata.version(name))
SIDES = "two-sided", "less", "greater"


def tests(x, y):
    return [float(stats.brunnermunzel(x, y, alternative=side).pvalue) for side in SIDES]


print("p of", SIDES)
for size in (5, 50):
    x = np.arange(size)
    for title, y in (("apart", x + 2 * size), ("one overlaps", np.r_[x[-1] - 0.5, x[1:] + size])):
        found = tests(x, y)
        print(f"  {size} and {size}, {title}:", found)
        if title == "apart" and not np.isnan(found).all():
            raise SystemExit("changed: separated samples have a p-value")
        if title != "apart" and not found[0] < 0.01:
            raise SystemExit("changed: one value of overlap has no small p-value")

x, y = np.arange(5), np.arange(5) + 10
exact = stats.mannwhitneyu(x, y, method="exact").pvalue
normal = stats.brunnermunzel(x, y, distribution="normal").pvalue
print(f"5 and 5, apart: mannwhitneyu {exact:.6f} (2 / 252 = {2 / 252:.6f}), normal {normal}")
if not np.isclose(exact, 2 / 252) or normal != 0:
    raise SystemExit("changed: mannwhitneyu or the normal distribution")
below = [p < 0.05 for p in (tests(x, y)[0], tests(x, np.r_[3.5, y[1:]])[0])]
print("p < 0.05 of apart and of one overlaps:", below)
if below != [False, True]:
    raise SystemExit("changed: the clearest difference is below 0.05")
print("ok: samples that do not overlap have no p-value")
PY
