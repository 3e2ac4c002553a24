"""A tree of seven species at four ranks, for tests that need no data set."""

from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "genus", "species")
# Two orders; an only child at family (b), at genus, and at species.
TAXA = [
    ("A", "a", "g1", "x"),
    ("A", "a", "g1", "y"),
    ("A", "a", "g2", "x"),
    ("A", "c", "g3", "z"),
    ("A", "c", "g3", "w"),
    ("B", "b", "g4", "x"),
    ("B", "b", "g4", "v"),
]


def tree() -> Taxonomy:
    """The taxonomy of the seven species."""
    return Taxonomy(Lineage(taxa, RANKS) for taxa in TAXA)
