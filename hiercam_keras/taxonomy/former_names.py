"""What taxa of a former taxonomy are in that of a table (`name_table`)."""

from collections.abc import Iterable

from hiercam_keras.taxonomy import matching
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.name_table import NameTable, name_of
from hiercam_keras.taxonomy.naming import UnknownTaxonError
from hiercam_keras.taxonomy.translation import Translation
from hiercam_keras.taxonomy.tree import Taxonomy


class FormerNames:
    """The lineages of a table for taxa by their former names.

    Args:
      table: with the former names.
      translation: of a network's lineages by the table; their coarser taxa are former
        names, too. None without.

    Attributes:
      about: name of the table's taxonomy.
    """

    def __init__(self, table: NameTable, translation: Translation | None = None):
        self.about = str(table.about)
        self._table = table
        self._new = {} if translation is None else translation.lineages
        self._old = Taxonomy(self._new) if self._new else None

    def find(self, taxon: str | Lineage) -> tuple[Lineage, ...]:
        """Lineages of the table for a former taxon; () if it is not known.

        A species has one. A coarser taxon has those of all its former members, which
        may be of several taxa now.

        Raises:
          UserError: several taxa have the name.
        """
        name = taxon if isinstance(taxon, str) else name_of(taxon)
        entry = self._table.find(name)
        if entry is not None:
            return (entry.lineage,)
        return _distinct(self._members(taxon) or self._table.of_genus(name))

    def _members(self, taxon: str | Lineage) -> list[Lineage | None]:
        """New lineages of all that was in a taxon of the former tree."""
        if self._old is None:
            return []
        try:
            rank, label = matching.find_taxon(self._old, taxon)
        except UnknownTaxonError:
            return []
        members = self._old.descendants(rank, label, self._old.finest)
        prefixes = {self._old.prefixes(self._old.finest)[one] for one in members}
        return [new for old, new in self._new.items() if old.taxa in prefixes]


def _distinct(lineages: Iterable[Lineage | None]) -> tuple[Lineage, ...]:
    return tuple(one for one in dict.fromkeys(lineages) if one is not None)
