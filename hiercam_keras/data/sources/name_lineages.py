"""Lineages of scientific names: from the columns next to them, or a lineage table.

Without a table a name needs the coarser taxa that most others have. A name that is not
one of a species, and has no rank of data.ranks below it, has a partial lineage down to
its rank if those are wanted, else none. What its columns do not say of the coarser taxa
comes from the other names with the same taxon.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from absl import logging

from hiercam_keras.data.sources.lineage_table import Lineages
from hiercam_keras.exchange import taxon_names
from hiercam_keras.taxonomy import rank_columns
from hiercam_keras.taxonomy.lineage import MISSING, Lineage
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

_UNSTATED = "genus or above"  # the rank of one word, see `taxon_names.parse`
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
    names: Iterable[Named],
    table: Lineages | None = None,
    wanted: Sequence[str] = (),
    partial: bool = False,
) -> dict[Named, Lineage | str]:
    """The lineage of each name, or the reason why it has none.

    Args:
      names: of the data set.
      table: of lineages by scientific name.
      wanted: data.ranks; empty: those that most names of species have.
      partial: whether a name of a coarser taxon has a partial lineage.
    """
    names = list(dict.fromkeys(names))
    found = _find(names, table, wanted)
    if not partial:
        return found
    whole = [one for one in found.values() if not isinstance(one, str)]
    whole += [] if table is None else table.by_key.values()
    if not whole:
        return found
    known = _Known(whole)
    for one, why in found.items():
        if isinstance(why, str):
            found[one] = known.part(one) or why
    return found


def _find(
    names: Sequence[Named], table: Lineages | None, wanted: Sequence[str]
) -> dict[Named, Lineage | str]:
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
            # Without an author and "sp.", which others do not write.
            taxa[parts.rank] = one.name.split()[0]
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


class _Known:
    """The taxa of whole lineages, by which names of coarser taxa are completed."""

    def __init__(self, lineages: Sequence[Lineage]):
        self._ranks = lineages[0].ranks
        self._paths: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
        for lineage in lineages:
            for depth, (rank, taxon) in enumerate(
                zip(self._ranks, lineage.taxa, strict=True), start=1
            ):
                if taxon != MISSING:
                    self._paths[rank, taxon].add(lineage.taxa[:depth])

    def part(self, one: Named) -> Lineage | None:
        """The partial lineage of a name that is of a coarser rank than a species.

        None if the name is of no such taxon, of several, or of one above all ranks.
        """
        parts = taxon_names.parse(one.name, one.rank)
        if parts is None or parts.rank in ("species", "hybrid"):
            return None
        taxa = _taxa(one)
        if parts.rank == _UNSTATED:
            taxa |= self._ranks_of(one.name)
        taxa = {rank: taxa[rank] for rank in self._ranks[:-1] if taxa.get(rank)}
        if not taxa:
            return None
        finest = list(taxa)[-1]
        depth = self._ranks.index(finest) + 1
        own = tuple(taxa.get(rank, MISSING) for rank in self._ranks[:depth])
        if MISSING in own:
            fuller = [
                path
                for path in self._paths[finest, taxa[finest]]
                if all(a in (MISSING, b) for a, b in zip(own, path, strict=True))
            ]
            if len(fuller) != 1:
                return None
            (own,) = fuller
        below = (MISSING,) * (len(self._ranks) - depth)
        return Lineage((*own, *below), self._ranks)

    def _ranks_of(self, name: str) -> dict[str, str]:
        """The rank of a name that is a taxon of a single rank here, with the name."""
        ranks = [rank for rank in self._ranks[:-1] if (rank, name) in self._paths]
        return {ranks[0]: name} if len(ranks) == 1 else {}
