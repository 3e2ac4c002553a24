#!/usr/bin/env bash
# Guess: root_at_midpoint moves the root and no leaf: the distances between leaves stay, and the two
#   that are farthest apart are equally far from the root.
# Instead: where the midpoint is on the branch of a leaf, and the leaf comes first of the two, a part of
#   its branch is counted twice: (a:10,(b:1,c:1):1); becomes (a:11,(c:1,b:1):5);, and a is 17 from b
#   where it was 12. With the children exchanged it is right. root_with_outgroup("a",
#   outgroup_branch_length=6) does the same.
# Seen with: Biopython 1.88.
# Hits: gene trees and phylogenies without an outgroup, rooted before distances or depths are read.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "biopython==1.88" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import io
import itertools
import math
import random

from Bio import Phylo

print("biopython", importlib.metadata.version("biopython"))


def read(newick):
    return Phylo.read(io.StringIO(newick), "newick")


def rooted(newick):
    tree = read(newick)
    tree.root_at_midpoint()
    return read(tree.format("newick"))


def distances(tree):
    names = sorted(leaf.name for leaf in tree.get_terminals())
    return {pair: tree.distance(*pair) for pair in itertools.combinations(names, 2)}


found = {}
for newick in ("(a:10,(b:1,c:1):1);", "((b:1,c:1):1,a:10);"):
    tree = rooted(newick)
    found[newick] = tree.distance("a", "b"), tree.distance("a")
    print(newick, "becomes", tree.format("newick").strip())
    print("   a to b, a to the root: expected (12, 6), found", found[newick])
    assert read(newick).distance("a", "b") == 10 + 1 + 1
if list(found.values()) != [(17, 11), (12, 6)]:
    raise SystemExit(f"changed: {found}")


def grow(rng, names):
    length = rng.randint(1, 20)
    if len(names) == 1:
        return f"{names[0]}:{length}"
    cut = rng.randint(1, len(names) - 1)
    return f"({grow(rng, names[:cut])},{grow(rng, names[cut:])}):{length}"


def double(tree):
    """Is the midpoint on the branch of the first leaf of a farthest pair?"""
    between = distances(tree)
    first, longest = next(
        (leaf, max(between.values()))
        for leaf in tree.get_terminals()
        if max(between.values()) in [one for pair, one in between.items() if leaf.name in pair]
    )
    length = first.branch_length
    if first in tree.root.clades:  # one branch on both sides of the old root
        length = sum(child.branch_length for child in tree.root.clades)
    return length > longest / 2


rng = random.Random(0)
changed = 0
for _ in range(300):
    newick = grow(rng, list("abcd")).rpartition(":")[0] + ";"
    before, after = distances(read(newick)), distances(rooted(newick))
    differ = any(not math.isclose(before[pair], after[pair], abs_tol=1e-3) for pair in before)
    if differ != double(read(newick)):
        raise SystemExit(f"changed: {newick}, longer: {differ}")
    changed += differ
tree = read("(a:10,(b:1,c:1):1);")
tree.root_with_outgroup("a", outgroup_branch_length=6)
print(f"distances change in {changed} of 300 random trees; root_with_outgroup: a to b "
      f"{tree.distance('a', 'b')}")
if not changed or tree.distance("a", "b") != 6 + 11 + 1:
    raise SystemExit("changed: random trees or root_with_outgroup keep their distances")
print("ok: the root at the midpoint lengthens a leaf")
PY
