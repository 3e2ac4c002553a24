"""Lineages of classes from a CSV table: a key column, and a column for each rank.

    folder,family,genus,species
    ALBATROSS,Diomedeidae,Diomedea,exulans

The key is the name of a class folder, a label of metadata, or a scientific name
(`scientific_name`). A column `class` is a rank; it is the key only if it is the first
column and there is no other key column. A class that is identified only to a coarser
rank has empty cells at the finer ones, and one that skips a rank has one there.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hiercam_keras import csv_files
from hiercam_keras.csv_files import Table
from hiercam_keras.data.sources import common_names
from hiercam_keras.data.sources import table as table_lib
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import partial
from hiercam_keras.taxonomy.common_names import Collected, CommonName
from hiercam_keras.taxonomy.lineage import Lineage, spelled

KEYS = ("folder", "label", "cub_category")
_NAMES = ("scientific_name", "scientificname")  # keys where there is no other
_CLASS = "class"


class Lineages(NamedTuple):
    """A lineage table.

    Attributes:
      path: of the table.
      key: name of its key column.
      by_key: lineage of each class.
      common_names: of its taxa, by lineage prefix.
    """

    path: Path
    key: str
    by_key: dict[str, Lineage]
    common_names: Mapping[tuple[str, ...], str] = MappingProxyType({})

    def find(self, *names: str) -> Lineage | None:
        """The lineage of the first of these names that the table has.

        An exact match is preferred; otherwise letter case, blanks, underscores and
        Unicode normalization do not matter.
        """
        for name in names:
            if name in self.by_key:
                return self.by_key[name]
        by_spelling = {spelled(key): lineage for key, lineage in self.by_key.items()}
        found = (by_spelling.get(spelled(name)) for name in names)
        return next((one for one in found if one is not None), None)


def read(
    path: Path,
    wanted: tuple[str, ...] = (),
    names: common_names.Choice = common_names.Choice(),  # noqa: B008 - a frozen value
) -> Lineages:
    """Reads a lineage table.

    Args:
      path: a CSV file (`csv_files`).
      wanted: columns that are ranks; empty: chosen by names and values.
      names: which column holds the common names.

    Raises:
      UserError: there is no key column or no rank, a row has no key or no taxon, or a
        class has two lineages.
    """
    table = csv_files.read(path)
    key = _key(table)
    free = [name for name in table.columns if name != key]
    common = common_names.columns_of(table, free, wanted, names, classes=True)
    free = [name for name in free if name not in common.taken]
    collected: Collected[tuple[str, ...]] = Collected(names.language)
    named: list[tuple[Lineage, CommonName]] = []
    ranks = table_lib.choose_ranks(table, free, wanted, classes=True).ranks
    by_key: dict[str, Lineage] = {}
    for line, cells in table.rows():
        empty = None if any(cells[rank] for rank in ranks) else ranks[-1]
        empty = empty if cells[key] else key
        if empty is not None:
            raise UserError(
                f"{path}, line {line}: the column {empty!r} is empty. Fill it in, or "
                "drop the row."
            )
        try:
            lineage = Lineage(tuple(cells[rank] for rank in ranks), ranks)
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
        if by_key.setdefault(cells[key], lineage) != lineage:
            raise UserError(
                f"{path}, line {line}: {cells[key]!r} has another lineage than in an "
                "earlier line. One row a class."
            )
        if common.shown:
            named.append((lineage, CommonName(cells[common.shown])))
    whole = partial.completed(by_key.values())
    for lineage, name in named:
        collected.add(whole[lineage].prefix(lineage.finest), name)
    return Lineages(
        path,
        key,
        {name: whole[one] for name, one in by_key.items()},
        collected.chosen(str(path)),
    )


def _key(table: Table) -> str:
    found = table.find(KEYS)
    if found:
        return found[0]
    if names := table.find(_NAMES):
        return names[0]
    if table.columns[0] == _CLASS and len(table.columns) > 1:
        return _CLASS
    raise UserError(
        f"{table.path} has the columns {', '.join(table.columns)}: expected a key "
        "column folder (the names of the class folders, or labels), and a column for "
        "each rank, as in folder,family,species."
    )
