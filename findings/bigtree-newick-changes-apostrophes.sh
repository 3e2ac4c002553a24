#!/usr/bin/env bash
# Guess: tree_to_newick doubles an apostrophe inside a quoted name, as Newick does, or refuses it;
#   newick_to_tree(tree_to_newick(tree)) has the names of the tree.
# Instead: every apostrophe becomes a double quote, in names and in attributes: Cooper's Hawk comes
#   back as Cooper"s Hawk, without a warning, and joins no table by name. Brackets, commas and
#   colons survive. The reader ends a name at the first apostrophe: the doubled one of a file that
#   another program wrote is refused. The semicolon at a tree's end becomes a letter of the root's
#   name.
# Seen with: bigtree 1.5.3, dendropy 5.1.3 for comparison.
# Hits: trees with common names (birds named after people), cultivars in quotes, or authors such as
#   O'Neill, that pass through Newick.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "bigtree==1.5.3" "DendroPy==5.1.3"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata

import dendropy
from bigtree import Node, newick_to_tree, preorder_iter, tree_to_newick

for name in ("bigtree", "dendropy"):
    print(name, importlib.metadata.version(name))

names = ["Cooper's Hawk", "Acer palmatum 'Katsura'", "Morus (Aves)", "Tyto alba, pale"]
children = [Node(name, author="O'Neill, 1969") for name in names]
root = Node("life", author="Linnaeus", children=children)
text = tree_to_newick(root, attr_list=["author"])
print("written:", text)
found = [(node.name, node.author) for node in preorder_iter(newick_to_tree(text))][1:]
for name, one in zip(names, found):
    print(f"expected {(name, root.children[0].author)}, found {one}")
expected = ['Cooper"s Hawk', 'Acer palmatum "Katsura"', "Morus (Aves)", "Tyto alba, pale"]
if found != [(name, 'O"Neill, 1969') for name in expected]:
    raise SystemExit(f"changed: {found}")

taxa = dendropy.TaxonNamespace(names)
star = dendropy.Tree(taxon_namespace=taxa)
for taxon in taxa:
    star.seed_node.new_child(taxon=taxon)
text = star.as_string("newick").strip()
again = dendropy.Tree.get(data=text, schema="newick").taxon_namespace.labels()
end = newick_to_tree("(Pica,Corvus)Corvidae;").name
print("the root of (Pica,Corvus)Corvidae; is", end)
print("dendropy writes:", text, "equal after a pass:", again == names)
assert again == names
try:
    tree = newick_to_tree(text.removesuffix(";"))
    print("bigtree reads:", [node.name for node in preorder_iter(tree)])
except ValueError as error:
    print("bigtree reads: ValueError", str(error)[:80])
else:
    raise SystemExit("changed: doubled apostrophes are read")
if end != "Corvidae;":
    raise SystemExit(f"changed: the root is {end}")
PY
