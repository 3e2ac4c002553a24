#!/usr/bin/env bash
# Guess: Bio.Phylo.Consensus compares clades by the names of their leaves: of two trees with (a,b) and
#   three with (a,c) the majority has (a,c) with 60, the strict consensus neither.
# Instead: a clade is the places of its leaves in its own tree, read from left to right. (a,b) and (a,c)
#   are both the first two of five: the consensus has (a,b) with 100, from the first tree's names, and
#   so has the strict one. The same trees in another order of leaves give another answer. The order
#   of leaves means nothing in Newick. get_support, which takes names, gives 40.
# Seen with: Biopython 1.88; dendropy 5.1.3 for comparison.
# Hits: consensus of bootstrap trees, of posterior samples, or of trees of several genes: support of
#   100 for clades that most trees do not have.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    "biopython==1.88" "DendroPy==5.1.3" "numpy==2.4.6"
cd "$work"
"$work/venv/bin/python" - <<'PY'
import importlib.metadata
import io

import dendropy
from Bio import Phylo
from Bio.Phylo import Consensus

for name in ("biopython", "DendroPy"):
    print(name, importlib.metadata.version(name))


def read(newicks):
    return [Phylo.read(io.StringIO(newick), "newick") for newick in newicks]


def clades(tree):
    inner = tree.get_nonterminals()[1:]
    names = ["".join(sorted(leaf.name for leaf in clade.get_terminals())) for clade in inner]
    return {name: clade.confidence for name, clade in zip(names, inner)}


def by_dendropy(newicks):
    trees = dendropy.TreeList.get(
        data="".join(newicks), schema="newick", rooting="force-rooted"
    )
    nodes = trees.consensus(min_freq=0.5).preorder_internal_node_iter(exclude_seed_node=True)
    return {"".join(sorted(leaf.taxon.label for leaf in node.leaf_iter())) for node in nodes}


newicks = ["((a,b),c,d,e);"] * 2 + ["((a,c),b,d,e);"] * 3
majority = clades(Consensus.majority_consensus(read(newicks), cutoff=0.5))
strict = clades(Consensus.strict_consensus(read(newicks)))
print(newicks)
print("   majority: expected {'ac': 60.0}, found", majority, "dendropy", by_dendropy(newicks))
print("   strict:   expected {}, found", strict)
if majority != {"ab": 100} or list(strict) != ["ab"]:
    raise SystemExit("changed: clades are compared by name")
assert by_dendropy(newicks) == {"ac"}

turned = ["((a,b),c,d,e);"] * 2 + ["(b,d,e,(a,c));"] * 3  # the same trees, leaves exchanged
found = clades(Consensus.majority_consensus(read(turned), cutoff=0.5))
print(turned)
print("   majority: expected {'ac': 60.0}, found", found, "dendropy", by_dendropy(turned))
if found != {"de": 60}:
    raise SystemExit("changed: the order of leaves has another effect")
assert by_dendropy(turned) == {"ac"}

support = clades(Consensus.get_support(read(newicks)[0], read(newicks)))
print("get_support of (a,b): expected 40, found", support)
if support != {"ab": 40}:
    raise SystemExit("changed: get_support")
print("ok: a clade is a place in a file")
PY
