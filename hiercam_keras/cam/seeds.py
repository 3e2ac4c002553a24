"""Random streams of pictures, which do not depend on the batch that they are in."""

import hashlib
from collections.abc import Iterable

import numpy as np


def of_ids(example_ids: Iterable[str]) -> np.ndarray:
    """One seed for each picture, uint32 (B,): see `BaseExplainer.__call__`."""
    digests = (hashlib.sha256(one.encode()).digest()[:4] for one in example_ids)
    return np.array([int.from_bytes(one, "big") for one in digests], np.uint32)
