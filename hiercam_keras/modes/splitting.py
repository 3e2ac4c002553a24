"""Train, val and test as an experiment's config says."""

from collections.abc import Sequence
from typing import Any

from hiercam_keras.data import duplicates, splits
from hiercam_keras.data.records import Record


def make_split(
    records: Sequence[Record], config: Any, together: bool = True
) -> splits.Split:
    """Train, val and test by data.split_seed, else by the experiment's seed.

    Models of several seeds on one split answer for the same test images.

    Args:
      records: of the images.
      config: the experiment's.
      together: whether exact copies of an image are in one part.
    """
    copies = duplicates.exact_copies(records) if together else ()
    seed = config.data.split_seed
    seed = config.seed if seed < 0 else seed
    fractions = config.data.fractions
    return splits.split_records(records, seed, fractions, duplicates.groups(copies))
