#!/usr/bin/env bash
# Guess: a name with an apostrophe is written in quotes, with the apostrophe doubled: 'Cooper''s Hawk'.
# Instead: the apostrophe is doubled, the quotes are left out: Cooper''s_Hawk. They come only where
#   the name has a bracket, comma or underscore, too. scikit-bio reads its own file. Without a
#   warning dendropy and ete4 find Cooper''s Hawk, and Biopython "s Hawk", so that the name joins
#   no table; a name that begins with an apostrophe is no Newick for dendropy.
# Seen with: scikit-bio 0.7.4; dendropy 5.1.3, Biopython 1.88 and ete4 4.4.0 read its files.
# Hits: trees with common names (birds named after people), cultivars, authors such as O'Neill, that
#   go from scikit-bio to another program.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "scikit-bio==0.7.4" "DendroPy==5.1.3" "biopython==1.88" "ete4==4.4.0"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import io

import dendropy
from Bio import Phylo
from ete4 import Tree
from skbio import TreeNode

for name in ("scikit-bio", "dendropy", "biopython", "ete4"):
    print(name, importlib.metadata.version(name))


def by_dendropy(text):
    taxa = dendropy.Tree.get(data=text, schema="newick").leaf_node_iter()
    return [leaf.taxon.label for leaf in taxa]


def by_biopython(text):
    leaves = Phylo.read(io.StringIO(text), "newick").get_terminals()
    return [leaf.name.replace("_", " ") for leaf in leaves]


def by_ete(text):
    return [leaf.name.replace("_", " ") for leaf in Tree(text, parser=1)]


def by_scikit_bio(text):
    return [leaf.name for leaf in TreeNode.read(io.StringIO(text), format="newick").tips()]


names = ["Cooper's Hawk", "O'Neill", "Lark (Thekla's)"]
tree = TreeNode("life", children=[TreeNode(name, length=1.0) for name in names])
text = str(tree).strip()
print("written:", text)
found = {}
for read in (by_scikit_bio, by_dendropy, by_biopython, by_ete):
    found[read.__name__] = read(text)
    print(f"{read.__name__}: {found[read.__name__]}")
quoted = "('Cooper''s Hawk':1.0,'O''Neill':1.0,'Lark (Thekla''s)':1.0)life;"
for read in (by_scikit_bio, by_dendropy, by_biopython, by_ete):
    assert read(quoted) == names, (read, read(quoted))
print("all read the quoted form as it was meant:", quoted)

doubled = ["Cooper''s Hawk", "O''Neill", "Lark (Thekla's)"]
expected = "(Cooper''s_Hawk:1.0,O''Neill:1.0,'Lark (Thekla''s)':1.0)life;"
if text != expected or found["by_scikit_bio"] != names:
    raise SystemExit("changed: apostrophes are quoted")
if found["by_dendropy"] != doubled or found["by_biopython"][:2] != ["s Hawk", "Neill"]:
    raise SystemExit(f"changed: {found}")
first = str(TreeNode(children=[TreeNode("'Katsura'"), TreeNode("other")])).strip()
try:
    by_dendropy(first)
except dendropy.dataio.newickreader.NewickReader.NewickReaderMalformedStatementError:
    print("dendropy does not read", first)
else:
    raise SystemExit(f"changed: dendropy reads {first}")
PY
