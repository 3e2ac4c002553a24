#!/usr/bin/env bash
# Guess: test_osrt is Hayter's one-sided test against an ordered alternative: means that fall
#   where they were expected to rise give no evidence, so p is about 1.
# Instead: it takes the absolute value of each difference and Tukey's distribution. Rising and
#   falling means have one and the same p, that of the two-sided Tukey test.
# Seen with: scikit-posthocs 0.17.1, scipy 1.17.1.
# Hits: trends of counts or activity along dose, age, distance or years.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "scikit-posthocs==0.17.1" "scipy==1.17.1"
cd "$work"
cat > osrt.py <<'PY'
from importlib.metadata import version

import numpy as np
from scikit_posthocs import test_osrt as osrt
from scipy.stats import tukey_hsd

low, middle, high = (np.arange(8.0) + shift for shift in (0, 2, 4))
rising, falling = [low, middle, high], [high, middle, low]
p = {name: float(osrt(data)[0]) for name, data in (("rise", rising), ("fall", falling))}
tukey = float(tukey_hsd(*rising).pvalue[0, 2])
print("scikit-posthocs", version("scikit-posthocs"))
print(f"p against rising means: {p['rise']:.5f} where they rise, {p['fall']:.5f} where they fall")
print(f"Tukey's two-sided test of the outer groups: {tukey:.5f}")
assert p["rise"] == p["fall"] < 0.05, p
assert np.isclose(p["rise"], tukey, rtol=1e-6), (p, tukey)
PY
"$work/venv/bin/python" -W ignore osrt.py
echo "ok: the one-sided test has no direction"
