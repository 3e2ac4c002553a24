"""The true labels of images in the taxonomy of a network that does not know all taxa.

An imported network may have other ranks than the images, and a trained one has no taxon
of which it saw no image: a label is -1 where the network has no taxon for an image at a
rank.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.data.records import Record
from hiercam_keras.taxonomy import matching
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

UNKNOWN = "the network does not know the taxon of"
UNTRAINED = "no training image shows the taxon of"
NOT_ALLOWED = "--allowed_taxa leaves out, or the network does not know, the taxon of"
_SHOWN = 5  # names that a sentence lists


class Truth:
    """Labels by name, see `taxonomy.matching`; used in place of a Taxonomy that knows
    every image.

    Args:
      taxonomy: of the network.
    """

    def __init__(self, taxonomy: Taxonomy):
        self.taxonomy = taxonomy
        self._found: dict[Lineage, dict[str, int]] = {}
        self._doubts: set[str] = set()

    @property
    def ranks(self) -> tuple[str, ...]:
        """Those of the network, coarse to fine."""
        return self.taxonomy.ranks

    def label(self, lineage: Lineage | None, rank: str) -> int:
        """Label at `rank`, -1 where the network does not know the taxon."""
        if lineage is None:
            return -1
        if lineage not in self._found:
            labels, doubts = matching.find(self.taxonomy, lineage)
            for doubt in doubts:
                if doubt not in self._doubts:
                    logging.warning("%s", doubt)
            self._doubts.update(doubts)
            self._found[lineage] = labels
        return self._found[lineage].get(rank, -1)

    def labels(self, lineages: Iterable[Lineage | None], rank: str) -> np.ndarray:
        """Labels at `rank`: int32 (N,), -1 for taxa that the network does not know."""
        return np.array([self.label(one, rank) for one in lineages], np.int32)

    def unknown(
        self, records: Sequence[Record], ranks: Iterable[str]
    ) -> dict[str, Counter[str]]:
        """rank -> name of the images' taxon -> images, of taxa that are not known.

        An image of a source without the rank counts by its finest taxon; one that is
        not identified down to the rank, or skips it, does not count.
        """
        found = {}
        for rank in ranks:
            labels = self.labels([record.lineage for record in records], rank)
            found[rank] = Counter(
                _name(record.lineage, rank)
                for record, label in zip(records, labels, strict=True)
                if label < 0 and not lacks(record.lineage, rank)
            )
        return found


class Trained(Truth):
    """Labels of images for a network with heads that leave out untrained taxa."""

    def __init__(self, taxonomy: Taxonomy):
        super().__init__(taxonomy)
        self._labels = {
            rank: {
                prefix: label for label, prefix in enumerate(taxonomy.prefixes(rank))
            }
            for rank in taxonomy.ranks
        }

    def label(self, lineage: Lineage | None, rank: str) -> int:
        """Label at `rank` of the very lineage; of one with other ranks, by name."""
        if lineage is None or lineage.ranks != self.ranks:
            return super().label(lineage, rank)
        return self._labels[rank].get(lineage.prefix(rank), -1)


def sentence(
    found: dict[str, Counter[str]],
    total: int,
    what: str = "image",
    reason: str = UNKNOWN,
    then: str = "are not counted at that rank",
) -> str:
    """What the network does not know; "" where it knows all.

    Args:
      found: of `Truth.unknown`.
      total: all images.
      what: noun of an image.
      reason: why the network cannot answer.
      then: what becomes of these images.
    """
    parts = []
    for rank, names in found.items():
        if not names:
            continue
        shown = ", ".join(name for name, _ in names.most_common(_SHOWN))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        parts.append(f"{names.total()} at {rank} ({shown}{more})")
    if not parts:
        return ""
    return f"Of {wording.count(total, what)}, {reason} {'; '.join(parts)}. They {then}."


def lacks(lineage: Lineage | None, rank: str) -> bool:
    """Whether the source has the rank, but no taxon for the image there."""
    known = lineage is not None and rank in lineage.ranks
    return known and not lineage.has(rank)


def _name(lineage: Lineage | None, rank: str) -> str:
    if lineage is None:
        return "unknown"
    if rank in lineage.ranks and lineage.has(rank):
        return lineage.display_name(rank)
    return lineage.display_name(lineage.finest)
