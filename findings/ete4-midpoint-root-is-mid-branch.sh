#!/usr/bin/env bash
# Guess: set_outgroup(get_midpoint_outgroup()), the way to a root at the midpoint, puts it where the two
#   leaves that are farthest apart are equally far.
# Instead: it finds the right branch and puts the root in the middle of it: ((a:1,b:1):1,c:9); becomes
#   (c:4.5,(a:1,b:1):5.5);, with c at 4.5 and a at 6.5 in place of 5.5 and 5.5. The distances between
#   leaves stay. set_outgroup(node, dist=5.5) puts it right, if one knows the number.
# Seen with: ete4 4.4.0.
# Hits: depths, root-to-leaf distances and clocks of trees without an outgroup.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "ete4==4.4.0"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import random

from ete4 import Tree

print("ete4", importlib.metadata.version("ete4"))


def depths(tree):
    return {leaf.name: round(tree.get_distance(tree, leaf), 6) for leaf in tree.leaves()}


def rooted(newick, place=None):
    tree = Tree(newick)
    tree.set_outgroup(tree.get_midpoint_outgroup(), dist=place)
    return tree


newick = "((a:1,b:1):1,c:9);"  # the longest path, c to a, is 9 + 1 + 1 = 11
found, placed = depths(rooted(newick)), depths(rooted(newick, 5.5))
print(newick, "becomes", rooted(newick).write())
print("   depths expected", dict.fromkeys("abc", 5.5), "found", found, "with dist=5.5", placed)
if found != {"c": 4.5, "a": 6.5, "b": 6.5}:
    raise SystemExit(f"changed: {found}")
if placed != {"c": 5.5, "a": 5.5, "b": 5.5}:
    raise SystemExit(f"changed: with dist {placed}")


def grow(rng, names):
    length = rng.randint(1, 20)
    if len(names) == 1:
        return f"{names[0]}:{length}"
    cut = rng.randint(1, len(names) - 1)
    return f"({grow(rng, names[:cut])},{grow(rng, names[cut:])}):{length}"


rng = random.Random(0)
right = total = 0
worst = 0.0
for _ in range(200):
    newick = grow(rng, list("abcde")).rpartition(":")[0] + ";"
    tree = Tree(newick)
    longest = max(tree.get_distance(a, b) for a in tree.leaves() for b in tree.leaves())
    if tree.get_midpoint_outgroup() is tree:
        continue  # the root is the midpoint already
    total += 1
    ratio = max(depths(rooted(newick)).values()) / (longest / 2)
    right += abs(ratio - 1) < 1e-6
    worst = max(worst, ratio)
print(f"{right} of {total} random trees have their root at the midpoint; the deepest leaf is up to "
      f"{worst:.2f} times too deep")
if right > total / 3:
    raise SystemExit("changed: many roots are at the midpoint")
print("ok: the root is in the middle of a branch")
PY
