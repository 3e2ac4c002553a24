"""A small tree and small networks of runs, shared by the tests of exports."""

import numpy as np
import pytest

RANKS = ("order", "family", "genus", "species")
# Two orders; only children at family (b) and at genus.
TREE = [
    ("A", "a", "g1", "x"),
    ("A", "a", "g1", "y"),
    ("A", "a", "g2", "x"),
    ("A", "c", "g3", "z"),
    ("A", "c", "g3", "w"),
    ("B", "b", "g4", "x"),
    ("B", "b", "g4", "v"),
]
SIZE = (20, 18)  # not square, so that exchanged axes are seen


@pytest.fixture(scope="session")
def tree():
    from hiercam_keras.taxonomy.lineage import Lineage
    from hiercam_keras.taxonomy.tree import Taxonomy

    return Taxonomy([Lineage(taxa, RANKS) for taxa in TREE])


@pytest.fixture(scope="session")
def photos():
    """uint8 (5, 20, 18, 3)."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
