"""Lineages of scientific names: from the columns next to them, or a lineage table.

Without a table a name needs the coarser taxa that most others have; a name that is not
one of a species, and has no rank of data.ranks below it, has no lineage.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from absl import logging

from hiercam_keras.data.sources.lineage_table import Lineages
from hiercam_keras.exchange import taxon_names
from hiercam_keras.taxonomy import rank_columns
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

_ABOVE = DEFAULT_RANKS[: DEFAULT_RANKS.index("genus")]


class Named(NamedTuple):
    """A name with what its data set says of it.

    Attributes:
      name: scientific name.
      rank: of the name; "" if it is not stated.
      taxa: (rank, taxon) pairs of coarser ranks that are known.
    """

    name: str
    rank: str = ""
    taxa: tuple[tuple[str, str], ...] = ()


def find(
    names: Iterable[Named], table: Lineages | None = None, wanted: Sequence[str] = ()
) -> dict[Named, Lineage | str]:
    """The lineage of each name, or the reason why it has none.

    Args:
      names: of the data set.
      table: of lineages by scientific name.
      wanted: data.ranks; empty: those that most names of species have.
    """
    names = list(dict.fromkeys(names))
    if table is not None:
        return {one: _listed(one, table) for one in names}
    taxa = {one: _taxa(one) for one in names}
    ranks = tuple(sorted(wanted, key=lambda rank: rank_columns.level(rank) or 0))
    if not ranks:
        ranks = _common([found for found in taxa.values() if "species" in found])
    if ranks:
        logging.info("ranks, coarse to fine: %s", ", ".join(ranks))
    return {one: _lineage(one, taxa[one], ranks) for one in names}


def _listed(one: Named, table: Lineages) -> Lineage | str:
    parts = taxon_names.parse(one.name, one.rank)
    names = [one.name]
    if parts is not None and parts.epithet:
        names.append(f"{parts.genus} {parts.epithet}")
    found = table.find(*names)
    if found is None:
        return f"{_reached(parts)}not in the lineage table"
    return found


def _taxa(one: Named) -> dict[str, str]:
    """Taxon by rank, as far as they are known."""
    taxa = {rank: taxon for rank, taxon in one.taxa if taxon}
    parts = taxon_names.parse(one.name, one.rank)
    if parts is not None and parts.rank == "species":
        taxa |= {"genus": parts.genus, "species": parts.epithet}
    elif parts is not None and parts.rank != "hybrid":
        taxa.pop("species", None)
        if parts.rank in _ABOVE:
            taxa[parts.rank] = one.name
        elif parts.rank == "genus":
            taxa["genus"] = parts.genus
    else:
        taxa.pop("species", None)
    return taxa


def _common(taxa: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The usual ranks that at least half of the species have."""
    counts = Counter(rank for found in taxa for rank in found)
    return tuple(
        rank for rank in DEFAULT_RANKS if 2 * counts[rank] >= max(1, len(taxa))
    )


def _lineage(
    one: Named, taxa: Mapping[str, str], ranks: Sequence[str]
) -> Lineage | str:
    missing = [rank for rank in ranks if not taxa.get(rank)]
    if not ranks or missing:
        reached = _reached(taxon_names.parse(one.name, one.rank)).removesuffix(", ")
        if reached and (not missing or missing[-1] == ranks[-1]):
            return reached
        return f"its {missing[0]} is not known"
    return Lineage(tuple(taxa[rank] for rank in ranks), tuple(ranks))


def _reached(parts: taxon_names.Name | None) -> str:
    """Why a name has no species, with a comma; "" if it has one."""
    if parts is None:
        return "its name is no scientific name, "
    if parts.rank == "species":
        return ""
    if parts.rank == "hybrid":
        return "a hybrid, "
    return f"identified only to {parts.rank}, "
