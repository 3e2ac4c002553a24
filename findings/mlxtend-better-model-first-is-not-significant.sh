#!/usr/bin/env bash
# Guess: proportion_difference(a, b, n) tests whether two accuracies differ: the p-value is the same
#   for (a, b) and (b, a), 1 for equal accuracies, small for a large difference.
# Instead: the p-value is the normal distribution's area below z, whatever the sign. 0.95 against
#   0.80 on 200 pictures each has z = 4.7 and p = 0.999998, exchanged it has p = 0.000002; equal
#   accuracies have p = 0.5, and 0.84 against 0.92 of 100 is "significant" with 0.040 where the
#   two-sided test says 0.079. The user guide tests for a difference and rejects for z above 1.96 or
#   for p below alpha, two rules that exclude each other; its one example names the worse model
#   first, where p is small.
# Seen with: mlxtend 0.25.0.
# Hits: comparisons of classifiers on two test sets (sites, years): whether a new model that is
#   better counts as different depends on the order of the arguments.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "mlxtend==0.25.0" "scikit-learn==1.9.1" "scipy==1.17.1" "numpy==2.4.6" "statsmodels==0.15.0"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

from mlxtend.evaluate import proportion_difference
from statsmodels.stats.proportion import test_proportions_2indep

for name in ("mlxtend", "statsmodels", "scipy", "numpy"):
    print(name, importlib.metadata.version(name))


def both(first, second, n):
    z, p = (float(x) for x in proportion_difference(first, second, n))
    counts = (round(first * n), n, round(second * n), n)
    expected = test_proportions_2indep(*counts, method="wald", correction=False)
    print(f"{first} against {second} of {n}: z {z:.2f}, p {p:.6f}; "
          f"expected (two-sided) {expected.pvalue:.6f}")
    return p, float(expected.pvalue)


better_first = both(0.95, 0.80, 200)
worse_first = both(0.80, 0.95, 200)
equal = both(0.90, 0.90, 200)
border = both(0.84, 0.92, 100)

assert better_first[1] < 1e-4 and abs(better_first[1] - worse_first[1]) < 1e-12
if not (better_first[0] > 0.9999 and worse_first[0] < 1e-4 and equal[0] == 0.5):
    raise SystemExit(f"changed: {better_first}, {worse_first}, {equal}")
if not border[0] < 0.05 < border[1]:
    raise SystemExit(f"changed: {border}")
print("ok: the better model first is never significant")
PY
