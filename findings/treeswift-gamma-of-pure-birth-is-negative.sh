#!/usr/bin/env bash
# Guess: Tree.gamma_statistic() is the gamma of Pybus and Harvey (2000): a sum over the waiting times
#   between branchings, with the last wait up to the leaves; about normal (0, 1) for pure birth.
# Instead: it takes the distances of the branchings from the root for the waiting times, and does not
#   see the last wait. A comb of four leaves has -0.866 in place of -0.544; 200 pure-birth trees of
#   20 leaves have gamma near -3, each below the critical -1.645: all slow down, where one in twenty
#   should. Leaves that are a hundred times as long change nothing. dendropy agrees with the formula.
# Seen with: treeswift 1.1.51; dendropy 5.1.3 for comparison.
# Hits: tests for a slowdown of diversification on dated trees.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "treeswift==1.1.51" "DendroPy==5.1.3"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import math
import random
import statistics

import dendropy
import treeswift
from dendropy.calculate import treemeasure

for name in ("treeswift", "DendroPy"):
    print(name, importlib.metadata.version(name))


def by_formula(waits):
    """Gamma of an ultrametric tree from the waits with 2, 3 .. n lineages."""
    total = sum(k * wait for k, wait in enumerate(waits, 2))
    sums = [sum(k * wait for k, wait in enumerate(waits[:end], 2)) for end in range(1, len(waits))]
    n = len(waits) + 1
    return (statistics.mean(sums) - total / 2) / (total * math.sqrt(1 / (12 * (n - 2))))


def three(newick, waits):
    tree = dendropy.Tree.get(data=newick, schema="newick")
    other = treemeasure.pybus_harvey_gamma(tree, prec=1e-4)
    found = treeswift.read_tree_newick(newick).gamma_statistic()
    return by_formula(waits), other, found


def pure_birth(rng, leaves):
    """A Yule tree of rate 1 as Newick, and its waits."""
    waits = [rng.expovariate(k) for k in range(2, leaves + 1)]
    ages = [sum(waits[i:]) for i in range(leaves - 1)]
    lineages = [["", ages[0]], ["", ages[0]]]  # the text of a lineage is filled in at its end
    parts = [[0, 1]]
    for age in ages[1:]:
        chosen = rng.choice([i for i, one in enumerate(lineages) if len(one) == 2])
        lineages[chosen] += [age, len(parts)]
        parts.append([len(lineages), len(lineages) + 1])
        lineages += [["", age], ["", age]]

    def write(number):
        _, start, *split = lineages[number]
        if not split:
            return f"t{number}:{start}"
        return f"({','.join(write(i) for i in parts[split[1]])}):{start - split[0]}"

    return f"({write(0)},{write(1)});", waits


for end in (1, 100):
    comb = f"(((a:{end},b:{end}):1,c:{end + 1}):1,d:{end + 2});"
    right, other, found = three(comb, [1, 1, end])
    print(f"{comb} expected {right:.4f}, dendropy {other:.4f}, treeswift {found:.4f}")
    if abs(other - right) > 1e-9:
        raise SystemExit("changed: dendropy leaves the formula")
    if abs(found + math.sqrt(0.75)) > 1e-9:
        raise SystemExit("changed: treeswift is not at -0.8660")
assert abs(by_formula([1, 1, 1]) + 1 / (9 * math.sqrt(1 / 24))) < 1e-12  # (2 + 5) / 2 - 9 / 2

rng = random.Random(0)
rows = [three(*pure_birth(rng, 20)) for _ in range(200)]
for name, column in zip(("formula", "dendropy", "treeswift"), zip(*rows)):
    slow = sum(value < -1.645 for value in column)
    print(f"{name:9} mean {statistics.mean(column):6.3f}, {slow} of 200 below -1.645")
if max(abs(right - other) for right, other, _ in rows) > 1e-6:
    raise SystemExit("changed: dendropy leaves the formula")
if sum(row[2] < -1.645 for row in rows) < 195 or sum(row[0] < -1.645 for row in rows) > 25:
    raise SystemExit("changed: pure birth is not taken for a slowdown")
print("ok: pure-birth trees have a gamma near -3")
PY
