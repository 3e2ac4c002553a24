"""A small tree and small networks of runs, shared by the tests of exports."""

import numpy as np
import pytest
import small_tree

SIZE = (20, 18)  # not square, so that exchanged axes are seen


@pytest.fixture(scope="session")
def tree():
    return small_tree.tree()


@pytest.fixture(scope="session")
def photos():
    """uint8 (5, 20, 18, 3)."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (5, *SIZE, 3), dtype=np.uint8)
