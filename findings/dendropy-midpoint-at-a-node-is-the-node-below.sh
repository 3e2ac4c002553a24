#!/usr/bin/env bash
# Guess: reroot_at_midpoint keeps the leaves and their distances also where the midpoint is a node, and
#   leaves an ultrametric tree as it is: its root is the midpoint.
# Instead: the root goes to the node below, on the way to one of the two farthest leaves. Where that is
#   a leaf, the leaf becomes the root and is a leaf no more: ((a:3,b:3):1,c:1); becomes (b:3,c:2)a;.
#   The ultrametric ((a:1,b:1):1,(c:1,d:1):1); becomes (a:1,b:1,(c:1,d:1):2);: a is 1 and c 3 from
#   the root, where each was 2. No warning is given.
# Seen with: DendroPy 5.1.3.
# Hits: ultrametric trees (dated ones, UPGMA) and trees with branches of length 1 (taxonomies), where
#   the midpoint is a node; measured lengths hardly ever meet it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "DendroPy==5.1.3"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import random

import dendropy

print("DendroPy", importlib.metadata.version("DendroPy"))


def read(newick):
    return dendropy.Tree.get(data=newick, schema="newick")


def rooted(newick):
    tree = read(newick)
    tree.reroot_at_midpoint()
    return tree.as_string("newick", suppress_rooting=True).strip()


def depths(newick):
    leaves = read(newick).leaf_node_iter()
    return {leaf.taxon.label: leaf.distance_from_root() for leaf in leaves}


cases = {  # the depths of the leaves at the midpoint, worked by hand, and those that are found
    "((a:3,b:3):1,c:1);": ({"a": 3, "b": 3, "c": 2}, {"b": 3, "c": 2}),
    "(a:1,b:1,c:1);": ({"a": 1, "b": 1, "c": 1}, {"a": 1, "c": 1}),
    "((a:1,b:1):1,(c:1,d:1):1);": (dict.fromkeys("abcd", 2), {"a": 1, "b": 1, "c": 3, "d": 3}),
    "((a:1,b:2):3,(c:4,d:5):6);": ({"a": 7, "b": 8, "c": 7, "d": 8},) * 2,  # on a branch: right
}
for newick, (expected, wrong) in cases.items():
    found = depths(rooted(newick))
    print(newick, "becomes", rooted(newick))
    print("   depths expected", expected, "found", found)
    same = sorted(found.values()) == sorted(wrong.values())  # which of equal leaves is no matter
    if not same or len(found) != len(wrong):
        raise SystemExit(f"changed: {found}")


def ultrametric(rng, names, age):
    if len(names) == 1:
        return names[0], 0
    cut = rng.randint(1, len(names) - 1)
    below = age - rng.randint(1, 5)
    parts = []
    for part in (names[:cut], names[cut:]):
        text, own = ultrametric(rng, part, below)
        parts.append(f"{text}:{age - own}")
    return f"({','.join(parts)})", age


rng = random.Random(0)
kept = lost = 0
for _ in range(200):
    newick = ultrametric(rng, list("abcde"), 30)[0] + ";"
    assert set(depths(newick).values()) == {30}, newick
    found = depths(rooted(newick))
    lost += len(found) < 5
    kept += len(found) == 5 and set(found.values()) == {30}
print(f"200 ultrametric trees: {kept} keep their root, {lost} lose a leaf")
if kept or not lost:
    raise SystemExit("changed: ultrametric trees keep their root or leaves")
print("ok: a midpoint at a node is taken for the node below")
PY
