"""Common names from the columns of tables, and from tables of their own.

    scientific_name,common_name
    Ardea cinerea,grey heron

A table of images or of lineages has them in a column (`common_name`, `vernacularName`,
`common_name_en`, or the one that data.common_names names). data.common_names may also
be the path of such a table, or of a Darwin Core archive of taxa with vernacular names,
as checklists are published.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from hiercam_keras import csv_files
from hiercam_keras.cache_folder import expanded
from hiercam_keras.csv_files import Table
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import darwin_core, rows
from hiercam_keras.taxonomy import common_names, rank_columns
from hiercam_keras.taxonomy.common_names import Collected, CommonName, Taxon
from hiercam_keras.taxonomy.lineage import Lineage

AUTO, NONE = "auto", "none"
_KEYS = ("scientific_name", "scientificname", "name", "taxon", "species")
_TABLES = (".csv", ".tsv", ".txt", ".zip")


class Choice(NamedTuple):
    """Which common names are shown.

    Attributes:
      column: data.common_names: AUTO, NONE, a column, or the path of a table.
      language: data.language.
    """

    column: str = AUTO
    language: str = common_names.LANGUAGE

    @classmethod
    def of(cls, data_config: Any) -> "Choice":
        """The choice of a config's `data`."""
        column = str(data_config.get("common_names", AUTO)).strip()
        return cls(
            column or NONE, str(data_config.get("language", common_names.LANGUAGE))
        )

    @property
    def path(self) -> Path | None:
        """The table that is named; None where a column is."""
        if self.column.lower().endswith(_TABLES):
            return expanded(self.column)
        return None


class Columns(NamedTuple):
    """The columns of a table with common names.

    Attributes:
      taken: all of them, which are no ranks.
      shown: the one with the names that are shown; None if none is in the language.
    """

    taken: tuple[str, ...] = ()
    shown: str | None = None


def columns_of(
    table: Table,
    free: Sequence[str],
    wanted: Sequence[str],
    choice: Choice,
    classes: bool = False,
) -> Columns:
    """Finds the columns of common names.

    A column with such a name is one if the table has other ranks, and each of their
    finest taxa has one name at most; otherwise it may name finer taxa itself.

    Args:
      table: an open table.
      free: columns without another meaning.
      wanted: data.ranks, which are not taken.
      choice: of the config.
      classes: see `rank_columns.choose`.

    Raises:
      UserError: the column that data.common_names names is not there.
    """
    found = [name for name in free if _is_one(name) and name not in wanted]
    named = " ".join(choice.column.lower().split())
    if choice.path is None and named not in (AUTO, NONE):
        shown = next(iter(table.find([named])), None)
        if shown is None or shown not in free:
            raise UserError(
                f"{table.path}, line 1: no column {choice.column!r}, which "
                f"data.common_names names. Its columns are {','.join(table.columns)}."
            )
        return Columns(tuple(dict.fromkeys((shown, *found))), shown)
    if not found:
        return Columns()
    others = [name for name in free if name not in found]
    ranks = _ranks(table, others, wanted, classes)
    rows = [cells for _, cells in table.rows()]
    found = [name for name in found if common_names.are_names(rows, ranks, name)]
    if named == NONE or choice.path is not None:
        return Columns(tuple(found))
    shown = common_names.chosen_column(found, choice.language)
    if found and shown is None:
        logging.info(
            "%s: the common names of %s are in other languages than %s: choose one "
            "with --config.data.language",
            table.path,
            ", ".join(found),
            choice.language,
        )
    return Columns(tuple(found), shown)


def _is_one(name: str) -> bool:
    return common_names.column_language(name) is not None


def _ranks(
    table: Table, free: Sequence[str], wanted: Sequence[str], classes: bool
) -> tuple[str, ...]:
    if not free:
        return ()
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for _, cells in table.rows():
        counts[tuple(cells[name] for name in free)] += 1
    if not counts:
        return ()
    wanted = [name for name in wanted if name in free]
    return rank_columns.choose(free, counts, wanted, classes).ranks


def of_source(
    stated: Mapping[tuple[str, ...], str],
    lineages: Iterable[Lineage],
    data_config: Any,
) -> dict[tuple[str, ...], str]:
    """The common names of a data set, with those of the table of data.common_names.

    Args:
      stated: by lineage prefix, as the data set itself has them.
      lineages: of its images.
      data_config: the config's `data`.

    Raises:
      UserError: the table is missing or has no such columns.
    """
    choice = Choice.of(data_config)
    if choice.column == NONE:
        return {}
    if choice.path is None:
        return dict(stated)
    named = common_names.of_lineages(lineages, read(choice.path, choice.language))
    if not named:
        logging.warning("%s names no taxon of these images", choice.path)
    return {**stated, **named}


def read(path: Path, language: str) -> dict[Taxon, str]:
    """The common names of a table or of an archive of taxa, by scientific name.

    Args:
      path: of the CSV table or Darwin Core archive.
      language: see `Choice`.

    Raises:
      UserError: it is missing, or has no columns of names.
    """
    if not path.exists():
        raise UserError(
            f"data.common_names is {path}, which does not exist. Expected auto, none, "
            "a column of the data's table, or the path of a table with the columns "
            "scientific_name and common_name."
        )
    names: Collected[Taxon] = Collected(language)
    if darwin_core.is_archive(path):
        _add_archive(names, path)
    else:
        _add_table(names, path, language)
    return names.chosen(str(path))


def _add_archive(names: Collected[Taxon], path: Path) -> None:
    archive, log = darwin_core.Archive(path, "taxon"), rows.RowLog()
    taxa = {}
    for key, taxon, common in log.good(archive.taxa(), archive.table):
        taxa[key] = taxon
        names.add(taxon, common)
    for key, common in log.good(archive.common_names(), "vernacular names"):
        if key in taxa:
            names.add(taxa[key], common)
    log.check(1.0, str(path))


def _add_table(names: Collected[Taxon], path: Path, language: str) -> None:
    table = csv_files.read(path)
    keys = table.find(_KEYS)
    column = common_names.chosen_column(table.columns, language)
    if not keys or column is None or keys[0] == column:
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}: expected "
            "scientific_name and common_name (or common_name_en)."
        )
    rank = next(iter(table.find(["taxonrank", "rank"])), None)
    tongue = next(iter(table.find(["language"])), None)
    for _, cells in table.rows():
        taxon = Taxon(cells[keys[0]], cells[rank] if rank else "")
        names.add(taxon, CommonName(cells[column], cells[tongue] if tongue else ""))
