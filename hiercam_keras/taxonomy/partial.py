"""Partial lineages: of objects that are identified to a coarser rank than others.

A network is trained on the tree of the lineages that reach its finest head. A partial
lineage has the labels of its taxa in this tree, as far down as the tree has them.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import MISSING, Lineage
from hiercam_keras.taxonomy.source import TaxonomySource
from hiercam_keras.taxonomy.tree import Taxonomy


class Truth(Protocol):
    """Gives the labels of lineages; a `Taxonomy` that has all of their taxa is one."""

    def labels(self, lineages: Iterable[Lineage | None], rank: str) -> np.ndarray:
        """Labels at `rank`: int32 (N,), -1 for none."""


def tree_of(
    lineages: Iterable[Lineage | None], rank: str, source: TaxonomySource | None = None
) -> Taxonomy:
    """The tree of the lineages that have a taxon at `rank`, with its source.

    Raises:
      UserError: there are none.
    """
    reaching = [one for one in lineages if one is not None and one.has(rank)]
    if not reaching:
        raise UserError(
            f"no image is identified to the rank {rank!r}: name a coarser one with "
            "--rank."
        )
    return Taxonomy(reaching, source)


def counts(lineages: Iterable[Lineage | None]) -> dict[str, int]:
    """Number of lineages by their finest rank with a taxon, coarse to fine."""
    known = [one for one in lineages if one is not None]
    found = Counter(one.finest for one in known)
    ranks = known[0].ranks if known else ()
    return {rank: found[rank] for rank in ranks if found[rank]}


def sentences(lineages: Iterable[Lineage | None], noun: str = "image") -> list[str]:
    """How many objects are identified to which rank, and how many skip which.

    Empty if all are identified to the finest rank and have all others.
    """
    known = [one for one in lineages if one is not None]
    found, lines = counts(known), []
    if any(one.is_partial for one in known):
        shown = ", ".join(f"{found[rank]} to {rank}" for rank in reversed(found))
        lines.append(f"{noun}s by the finest rank that they are identified to: {shown}")
    skipped = Counter(
        rank
        for one in known
        for rank, taxon in zip(one.ranks, one.taxa, strict=True)
        if taxon == MISSING and one.ranks.index(rank) < one.ranks.index(one.finest)
    )
    if skipped:
        ranks = [rank for rank in known[0].ranks if skipped[rank]]
        shown = ", ".join(f"{skipped[rank]} have no {rank}" for rank in ranks)
        lines.append(f"{noun}s of taxa that skip a rank: {shown}")
    return lines


def completed(lineages: Iterable[Lineage]) -> dict[Lineage, Lineage]:
    """Fills taxa that are missing above others, where the other lineages know them.

    A genus without a family gets that of the lineages with the same genus, if they
    agree. What is still missing is a gap.

    Args:
      lineages: all of the same ranks.

    Returns:
      The lineage to use for each of those given.
    """
    lineages = list(dict.fromkeys(lineages))
    # rank and name -> what the lineages with this taxon have above it
    above: dict[tuple[int, str], set[tuple[str, ...]]] = defaultdict(set)
    for one in lineages:
        for depth, taxon in enumerate(one.taxa):
            if taxon != MISSING:
                above[depth, taxon].add(one.taxa[:depth])
    return {one: _completed(one, above) for one in lineages}


def _completed(
    one: Lineage, above: Mapping[tuple[int, str], set[tuple[str, ...]]]
) -> Lineage:
    for depth in reversed(range(len(one.taxa))):
        taxon, own = one.taxa[depth], one.taxa[:depth]
        if taxon == MISSING or MISSING not in own:
            continue
        fuller = {other for other in above[depth, taxon] if _fills(other, own)}
        if not fuller:
            continue
        best = min(fuller, key=lambda other: (other.count(MISSING), other))
        if all(_fills(best, other) for other in fuller - {best}):
            return dataclasses.replace(one, taxa=(*best, *one.taxa[depth:]))
    return one


def _fills(other: Sequence[str], own: Sequence[str]) -> bool:
    """Whether `other` has all taxa of `own`, and more."""
    same = all(o in (MISSING, a) for a, o in zip(other, own, strict=True))
    return same and tuple(other) != tuple(own)


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """Labels of one head for objects that are identified to its rank or a coarser one.

    0 .. L-1 are the taxa of the head; those of the coarser ranks follow, coarse to
    fine. -1 is no label: the head learns nothing from the object.

    Attributes:
      ranks: of the head and those above that have taxa, coarse to fine.
      parents: for each rank above, coarse to fine, the label of each taxon of the head
        there: int32 (L,), -1 at a gap.
      sizes: number of taxa of each rank.
    """

    ranks: tuple[str, ...]
    parents: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, taxonomy: Taxonomy, rank: str) -> "LabelSpace":
        """The labels of a head at `rank`."""
        known = taxonomy.ranks[: taxonomy.ranks.index(rank) + 1]
        ranks = tuple(one for one in known if taxonomy.num_labels(one))
        return cls(
            ranks,
            tuple(taxonomy.parents(rank, one) for one in ranks[:-1]),
            tuple(taxonomy.num_labels(one) for one in ranks),
        )

    @property
    def num_taxa(self) -> int:
        """Number of taxa of the head, L."""
        return self.sizes[-1]

    @property
    def size(self) -> int:
        """Number of labels, those of all ranks."""
        return sum(self.sizes)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First label of each rank above the head's, coarse to fine."""
        starts = np.cumsum([self.num_taxa, *self.sizes[:-1]])
        return tuple(int(start) for start in starts[:-1])

    def labels(self, lineages: Sequence[Lineage | None], truth: Truth) -> np.ndarray:
        """Labels of the finest known taxa, as far as they say something: int32 (N,).

        A taxon with all taxa of the head below it says nothing, nor does one without
        any. An object that is identified below the head's rank, and skips it (a gap),
        has no label.

        Args:
          lineages: of the objects.
          truth: gives their labels in the tree of the head.
        """
        found = np.array(truth.labels(lineages, self.ranks[-1]), np.int32)
        coarser = [one is None or self._is_coarser(one) for one in lineages]
        open_ = np.array(coarser, bool) & (found < 0)
        for rank, parents, size, offset in zip(
            self.ranks, self.parents, self.sizes, self.offsets, strict=False
        ):
            at_rank = np.asarray(truth.labels(lineages, rank))
            below = np.bincount(parents[parents >= 0], minlength=size)
            says = (below > 0) & (below < self.num_taxa)
            has = open_ & (at_rank >= 0)
            has[has] = says[at_rank[has]]
            found[has] = offset + at_rank[has]
        return found

    def _is_coarser(self, lineage: Lineage) -> bool:
        """Whether an object is identified to a coarser rank than the head's."""
        ranks = lineage.ranks
        return ranks.index(lineage.finest) < ranks.index(self.ranks[-1])
