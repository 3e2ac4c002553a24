"""Images of taxa that no training image shows: no model can be right about them."""

from collections.abc import Mapping, Sequence

import numpy as np

from hiercam_keras import wording
from hiercam_keras.data.records import Record
from hiercam_keras.runs.truth import Trained
from hiercam_keras.taxonomy.tree import Taxonomy


def count(
    train: Sequence[Record], asked: Sequence[Record], rank: str, taxonomy: Taxonomy
) -> int:
    """How many of the asked images have a taxon at `rank` without a training image."""
    labels = Trained(taxonomy)
    known = labels.labels([record.lineage for record in train], rank)
    truth = labels.labels([record.lineage for record in asked], rank)
    return int(np.sum(~np.isin(truth[truth >= 0], known)))


def sentence(found: Mapping[str, int], total: int, what: str = "picture") -> str:
    """What is said of the images that `count` counts; "" where there are none.

    Args:
      found: rank -> images.
      total: all images.
      what: noun of an image.
    """
    parts = [f"{n} at {rank}" for rank, n in found.items() if n]
    if not parts:
        return ""
    shown = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return (
        f"Of {wording.count(total, what)}, {shown} cannot be answered right: no "
        "training image is of their taxon."
    )


def of_split(
    train: Sequence[Record],
    asked: Sequence[Record],
    ranks: Sequence[str],
    taxonomy: Taxonomy,
    what: str = "picture",
) -> str:
    """`sentence` of all ranks, coarse to fine."""
    found = {
        rank: count(train, asked, rank, taxonomy)
        for rank in taxonomy.ranks
        if rank in ranks
    }
    return sentence(found, len(asked), what)
