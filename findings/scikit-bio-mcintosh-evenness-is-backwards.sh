#!/usr/bin/env bash
# Guess: mcintosh_e is McIntosh's evenness as in the paper it names, (N - U) / (N - N / sqrt(S)) with
#   U = sqrt(sum n^2): 1 for four species of 25, near 0 where one species has all but three records.
# Instead: it is U over the largest U that S species can have, so it falls with evenness: 1.0 for the
#   community of 97, 1, 1, 1, which is as uneven as can be, and 0.52 for 25, 25, 25, 25. pielou_e and
#   heip_e of the same package order the communities the other way. The formula is in its docs.
# Seen with: scikit-bio 0.7.4.
# Hits: evenness of the species at camera sites; sites in the order of evenness come out backwards.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "scikit-bio==0.7.4" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import importlib.metadata
import math

import numpy as np
from skbio.diversity import alpha

print("scikit-bio", importlib.metadata.version("scikit-bio"))
sites = {
    "even": [25, 25, 25, 25],
    "less even": [40, 30, 20, 10],
    "uneven": [70, 20, 5, 5],
    "most uneven": [97, 1, 1, 1],
}


def evenness(counts):
    total, species = sum(counts), len(counts)
    largest = math.sqrt(sum(n * n for n in counts))
    return (total - largest) / (total - total / math.sqrt(species))


rows = []
print("site          expected  mcintosh_e  pielou_e  heip_e")
for name, counts in sites.items():
    found = [float(f(np.array(counts))) for f in (alpha.mcintosh_e, alpha.pielou_e, alpha.heip_e)]
    rows.append([evenness(counts), *found])
    print(f"{name:12} {rows[-1][0]:9.3f} {found[0]:11.3f} {found[1]:9.3f} {found[2]:7.3f}")

expected, found, pielou, heip = (list(column) for column in zip(*rows))
for column in (expected, pielou, heip):
    assert math.isclose(column[0], 1) and column == sorted(column, reverse=True), column
# 25, 25, 25, 25: U = 50, the largest U of 100 records and 4 species is sqrt(97^2 + 3).
if not math.isclose(found[0], 50 / math.sqrt(97**2 + 3)) or not math.isclose(found[3], 1):
    raise SystemExit(f"changed: {found}")
if found != sorted(found):
    raise SystemExit(f"changed: mcintosh_e does not rise with unevenness: {found}")
print("ok: mcintosh_e is largest for the most uneven site")
PY
