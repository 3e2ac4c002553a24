#!/usr/bin/env bash
# Guess: DistanceTreeConstructor().upgma() is UPGMA: the distance of two clusters is the mean over all
#   pairs of their members.
# Instead: it is WPGMA: the two parts of a cluster count alike, however many members each has. Where a
#   and b are joined, then c, and d is 10, 10 and 16 away, the root is at 13 / 2 in place of 12 / 2.
#   A species with many samples weighs as one sample, and the order of joining changes: of 200 random
#   matrices of ten names 197 have other heights, and 63 have other clades.
# Seen with: Biopython 1.88; SciPy 1.17.1's average (UPGMA) and weighted (WPGMA) for comparison.
# Hits: trees from distances between sequences or embeddings, in the lessons that teach UPGMA too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "biopython==1.88" "scipy==1.17.1" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import numpy as np
from Bio.Phylo.TreeConstruction import DistanceMatrix, DistanceTreeConstructor
from scipy.cluster.hierarchy import average, to_tree, weighted
from scipy.spatial.distance import squareform

for name in ("biopython", "scipy"):
    print(name, importlib.metadata.version(name))


def by_biopython(matrix, names):
    rows = [row[: i + 1] for i, row in enumerate(matrix.tolist())]
    tree = DistanceTreeConstructor().upgma(DistanceMatrix(names, rows))
    heights = {}
    for clade in tree.get_nonterminals():
        leaf = clade.get_terminals()[0]
        members = frozenset(names.index(one.name) for one in clade.get_terminals())
        heights[members] = clade.distance(leaf)
    return heights


def by_scipy(method, matrix):
    _, nodes = to_tree(method(squareform(matrix)), rd=True)
    return {frozenset(node.pre_order()): node.dist / 2 for node in nodes if not node.is_leaf()}


def same(one, other):
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) < 1e-4 for key in one)


names = list("abcd")
matrix = np.array([[0, 2, 4, 10], [2, 0, 4, 10], [4, 4, 0, 16], [10, 10, 16, 0]], float)
root = frozenset(range(4))
found = by_biopython(matrix, names)[root]
print("expected", (10 + 10 + 16) / 3 / 2, "SciPy's average", by_scipy(average, matrix)[root],
      "weighted", by_scipy(weighted, matrix)[root], "found", round(found, 4))
if abs(found - ((10 + 10) / 2 + 16) / 2 / 2) > 1e-6:
    raise SystemExit(f"changed: {found}")
assert abs(by_scipy(average, matrix)[root] - 6) < 1e-12

rng = np.random.default_rng(0)
counts = dict.fromkeys(("weighted", "average", "clades of average"), 0)
for _ in range(200):
    matrix = squareform(rng.uniform(1, 10, 45).round(3))
    found = by_biopython(matrix, list("abcdefghij"))
    upgma = by_scipy(average, matrix)
    counts["weighted"] += same(found, by_scipy(weighted, matrix))
    counts["average"] += same(found, upgma)
    counts["clades of average"] += found.keys() == upgma.keys()
print("of 200 random matrices Biopython equals:", counts)
if counts["weighted"] < 190 or counts["average"] > 20 or counts["clades of average"] > 150:
    raise SystemExit("changed: upgma is not WPGMA")
print("ok: upgma is WPGMA")
PY
