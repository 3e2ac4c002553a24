#!/usr/bin/env bash
# Guess: Taxonomy.from_newick reads a tree without names of inner nodes, as most trees are, or refuses
#   it because every node needs an id.
# Instead: names become ids without a check that they differ. All nameless nodes are one node "", with
#   the children of the last: ((a,b),(c,d))r; has the leaves c, d, c, d, written back as
#   ((d,c),(d,c))r;. Support values do the same: 90 is the parent of a, b, c and d. len() is still 7,
#   and no warning is given. to_newick also leaves out the blanks of names.
# Seen with: taxonomy 0.10.6; dendropy 5.1.3 reads what it writes.
# Hits: phylogenies, and trees from clustering, that are read for common ancestors or pruned. Name
#   every inner node before.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "taxonomy==0.10.6" "DendroPy==5.1.3"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import dendropy
from taxonomy import Taxonomy

for name in ("taxonomy", "DendroPy"):
    print(name, importlib.metadata.version(name))


def leaves(newick):
    tree = dendropy.Tree.get(data=newick, schema="newick", suppress_internal_node_taxa=True)
    return sorted(leaf.taxon.label for leaf in tree.leaf_node_iter())


def written(newick):
    tree = Taxonomy.from_newick(newick)
    return tree, tree.to_newick().decode()


named, text = written("((a,b)x,(c,d)y)r;")
print("inner names:   ", text, leaves(text))
assert leaves(text) == list("abcd"), text
assert named.lca("a", "b").id == "x" and named.lca("a", "c").id == "r"

tree, text = written("((a,b),(c,d))r;")
print("no inner names:", text, "nodes:", len(tree))
print("   expected the leaves", list("abcd"), "found", [one.id for one in tree.descendants("")])
if text != "((d:1,c:1):1,(d:1,c:1):1)r;" or len(tree) != 7:
    raise SystemExit(f"changed: {text}")

tree, text = written("((a,b)90,(c,d)90)r;")
found = {name: tree.lca("a", name).id for name in "bcd"}
print("support values:", text)
print("   common ancestor with a: expected", {"b": "90", "c": "r", "d": "r"}, "found", found)
if found != {"b": "90", "c": "90", "d": "90"} or "a" in text:
    raise SystemExit("changed: nodes with one support are kept apart")

tree, text = written("(('Pica pica','Pica nuttalli')Pica,Morus)Aves;")
print("blanks:        ", text)
if leaves(text) != ["Morus", "Picanuttalli", "Picapica"]:
    raise SystemExit("changed: blanks are written")
print("ok: nodes without names of their own are one node")
PY
