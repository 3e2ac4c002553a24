"""Reads observation exports of iNaturalist: CSV files with one observation a row.

The export has a lineage only if the columns taxon_kingdom_name .. taxon_genus_name were
chosen; otherwise the program takes a lineage table. Source: the export form of
https://www.inaturalist.org/observations/export.
"""

from collections.abc import Iterator
from pathlib import Path

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.occurrences import RANKS, Media, Occurrence, coarser
from hiercam_keras.exchange.places import Place, fitting
from hiercam_keras.exchange.rows import Unread
from hiercam_keras.taxonomy.common_names import CommonName

_TAXA = {rank: f"taxon_{rank}_name" for rank in RANKS}
_NEEDED = ("id", "scientific_name")
_MARKS = ("quality_grade", "observed_on", "taxon_id", "iconic_taxon_name", "image_url")


class Export:
    """An export, streamed.

    Attributes:
      path: of the file.
      header: its columns.

    Raises:
      UserError: it is no export.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._place = Place(self.path.parent, self.path.name)
        self.header = header_of(self.path)
        missing = [name for name in _NEEDED if name not in self.header]
        if missing:
            raise UserError(
                f"{self.path} is no export of iNaturalist: it has no column "
                f"{missing[0]}, found {', '.join(self.header[:8]) or 'nothing'}."
            )

    @property
    def table(self) -> str:
        """Name of the file."""
        return self.path.name

    def occurrences(self) -> Iterator[Occurrence | Unread]:
        """The observations."""
        seen: set[str] = set()
        with self._place.open(self.table) as file:
            delimiter = csv_files.delimiter_of(file.readline())
        rows = self._place.rows(self.table, delimiter=delimiter)
        next(rows)
        for row in rows:
            fault = fitting(row, len(self.header), self.table)
            if fault:
                yield fault
                continue
            cells = dict(zip(self.header, map(str.strip, row.cells), strict=True))
            key = cells["id"]
            if not key:
                yield Unread(row.line, "it has no id", self.table)
            elif key in seen:
                yield Unread(row.line, "its id occurs before", self.table, key)
            elif not cells["scientific_name"]:
                yield Unread(row.line, "scientific_name is empty", self.table, key)
            else:
                seen.add(key)
                yield _occurrence(row.line, cells)


def is_export(header: list[str]) -> bool:
    """Whether the columns are those of an export."""
    marked = sum(name in header for name in _MARKS)
    return all(name in header for name in _NEEDED) and marked > 0


def header_of(path: Path) -> list[str]:
    """The columns of a table separated by commas or tabs; empty for an empty file."""
    place = Place(Path(path).parent, Path(path).name)
    with place.open(Path(path).name) as file:
        line = file.readline()
    delimiter = csv_files.delimiter_of(line)
    first = next(csv_files.stream([line], delimiter), None)
    return [cell.strip() for cell in first.cells] if first else []


def _occurrence(number: int, cells: dict[str, str]) -> Occurrence:
    owner = Media("", cells.get("user_name") or cells.get("user_login", ""))
    owner = owner._replace(licence=cells.get("license", ""))
    url = cells.get("image_url", "")
    return Occurrence(
        number,
        cells["id"],
        cells["scientific_name"],
        cells.get("taxon_rank", "").lower(),
        coarser(cells, _TAXA),
        "",
        (owner._replace(file=url),) if url else (),
        owner,
        common_names=(CommonName(cells.get("common_name", "")),),
    )
