"""Matches lineages of one source to labels of another taxonomy, by name.

Both may have different ranks and different taxa: a network with four ranks may be
evaluated on photographs with seven, and an unknown species may belong to a known
family.

Names are looked up at each rank that both have, starting at the finest. The first taxon
found determines the match. The taxonomy's own tree gives all labels above it, so the
labels of an image always form one path. If several taxa have the name, the one with the
fewest differing ancestors is used; a rank that one of the two lacks does not differ. If
ancestors of that taxon still differ, the name is either a homonym (the genus Morus of
birds and of trees) or has another position in the other classification (a genus moved
to another family). It counts as the same taxon if it is the binomial of a species or if
at least one ancestor agrees, because a genus name is unique within one code of
nomenclature.
"""

from collections.abc import Mapping
from typing import NamedTuple

from absl import logging

from hiercam_keras.taxonomy.lineage import Lineage, full_name, spelled
from hiercam_keras.taxonomy.naming import UnknownTaxonError
from hiercam_keras.taxonomy.rank_columns import level
from hiercam_keras.taxonomy.tree import Taxonomy


class Match(NamedTuple):
    """Labels of a taxonomy that match a lineage.

    Attributes:
      labels: label by rank of the taxonomy; -1 for unknown taxa.
      doubts: messages about contradictory or ambiguous names.
    """

    labels: dict[str, int]
    doubts: tuple[str, ...]


def find(taxonomy: Taxonomy, lineage: Lineage) -> Match:
    """Labels of a lineage, with messages about doubtful matches.

    Synonymous ranks ("species", "epithet") are treated as equal. If the two have no
    common rank, as for folders with plain names, names are looked up at all ranks.
    """
    common = common_ranks(taxonomy, lineage)
    doubts: list[str] = []
    hit = None
    for rank in reversed(common):
        hit = _at_rank(taxonomy, lineage, rank, common, doubts)
        if hit is not None:
            break
    if not common:
        hit = _anywhere(taxonomy, lineage, doubts)
    labels = dict.fromkeys(taxonomy.ranks, -1)
    if hit is not None:
        labels |= _path(taxonomy, *hit)
    return Match(labels, tuple(doubts))


def find_taxon(taxonomy: Taxonomy, taxon: str | Lineage) -> tuple[str, int]:
    """(rank, label) of a taxon by its name or lineage; logs doubtful matches.

    A lineage is that of its finest taxon. A species of a known genus is not found by
    its genus.

    Raises:
      UnknownTaxonError: the taxonomy does not have it.
      UserError: several taxa have the name.
    """
    if isinstance(taxon, str):
        return taxonomy.find(taxon)
    labels, doubts = find(taxonomy, taxon)
    if max(labels.values()) < 0 and not doubts and len(taxon.taxa) == 1:
        return taxonomy.find(taxon.taxa[0])  # a table of common names
    for doubt in doubts:
        logging.warning("%s", doubt)
    known = [rank for rank, label in labels.items() if label >= 0]
    theirs = common_ranks(taxonomy, taxon)
    wanted = [rank for rank, their in theirs.items() if their == taxon.ranks[-1]]
    if not known or (wanted and labels[wanted[0]] < 0):
        name = taxon.display_name(taxon.ranks[-1])
        raise UnknownTaxonError(f"unknown taxon {name!r}.")
    return known[-1], labels[known[-1]]


def common_ranks(taxonomy: Taxonomy, lineage: Lineage) -> dict[str, str]:
    """Ranks of the lineage by the equivalent rank of the taxonomy, coarse to fine.

    Synonymous ranks ("species", "epithet") are equivalent.
    """
    theirs = {_meaning(rank): rank for rank in lineage.ranks}
    return {
        rank: theirs[_meaning(rank)]
        for rank in taxonomy.ranks
        if _meaning(rank) in theirs
    }


def _meaning(rank: str) -> int | str:
    depth = level(rank)
    return spelled(rank) if depth is None else depth


def _name(lineage: Lineage, rank: str) -> str:
    return full_name(lineage.prefix(rank), lineage.ranks)


def _path(taxonomy: Taxonomy, rank: str, label: int) -> dict[str, int]:
    """Labels of a taxon and of all its ancestors, by rank."""
    above = taxonomy.ranks[: taxonomy.ranks.index(rank) + 1]
    return {one: int(taxonomy.parents(rank, one)[label]) for one in above}


def _at_rank(
    taxonomy: Taxonomy,
    lineage: Lineage,
    rank: str,
    common: Mapping[str, str],
    doubts: list[str],
) -> tuple[str, int] | None:
    """(rank, label) that matches the lineage's taxon at a rank; None if none does."""
    name = _name(lineage, common[rank])
    above = [one for one in common if one != rank and _is_above(taxonomy, one, rank)]
    candidates = []
    for label in taxonomy.by_name(rank).get(spelled(name), ()):
        differ, agree = [], 0
        for one in above:
            ours = int(taxonomy.parents(rank, one)[label])
            theirs = spelled(_name(lineage, common[one]))
            if ours < 0 or not theirs:
                continue
            if ours in taxonomy.by_name(one).get(theirs, ()):
                agree += 1
            else:
                differ.append(one)
        candidates.append((len(differ), label, differ, agree))
    if not candidates:
        return None
    fewest = min(candidates)[0]
    best = [one for one in candidates if one[0] == fewest]
    if len(best) > 1:
        places = [f"{taxonomy.names(rank)[one[1]]!r}" for one in best]
        doubts.append(
            f"the {rank} {name!r} may be {' or '.join(places)}: no rank above it says "
            "which, and it counts as unknown"
        )
        return None
    _, label, differ, agree = best[0]
    if differ:
        same = agree > 0 or (" " in name and not name.endswith(" sp."))
        at = differ[-1]
        ours = taxonomy.names(at)[int(taxonomy.parents(rank, at)[label])]
        doubts.append(
            f"the {rank} {name!r} is in the {at} {ours!r} here and in "
            f"{_name(lineage, common[at])!r} there: "
            + ("taken for the same taxon" if same else "taken for another taxon")
        )
        return (rank, label) if same else None
    return rank, label


def _is_above(taxonomy: Taxonomy, coarse: str, fine: str) -> bool:
    return taxonomy.ranks.index(coarse) < taxonomy.ranks.index(fine)


def _anywhere(
    taxonomy: Taxonomy, lineage: Lineage, doubts: list[str]
) -> tuple[str, int] | None:
    """(rank, label) of the finest name of a lineage that occurs at any rank."""
    for theirs in reversed(lineage.ranks):
        name = _name(lineage, theirs)
        hits = [
            (rank, label)
            for rank in taxonomy.ranks
            for label in taxonomy.by_name(rank).get(spelled(name), ())
        ]
        if not hits:
            continue
        path = _path(taxonomy, *hits[-1])
        if all(path[rank] == label for rank, label in hits):
            return hits[-1]  # taxa of this name on a single path
        places = ", ".join(f"{taxonomy.names(rank)[i]!r} ({rank})" for rank, i in hits)
        doubts.append(f"{name!r} may be {places}, and counts as unknown")
        return None
    return None
