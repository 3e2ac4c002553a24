"""Data room: the rows of a CSV table of images, checked one by one.

    path,kingdom,...,species[,x0,y0,x1,y1][,mask][,split][,example_id]

Every other column is a rank, coarse to fine, in the order of the header.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hiercam_keras.data.records import Box
from hiercam_keras.data.sources import inside
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.ranks import check_ranks

BOX = ("x0", "y0", "x1", "y1")
_PATHS = ("path", "image", "file", "filename")
_OTHERS = (*BOX, "mask", "split", "example_id")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# A rank names folders and stands in lists with commas and pluses.
_RANK = re.compile(r"[^\W_][\w .-]*")


class Row(NamedTuple):
    """One image of a table.

    Attributes:
      line: of the file, from 1.
      example_id: its column, else the path.
      path: relative to the images' root, with slashes.
      lineage: from the ranks' columns.
      box: pixels, x0, y0, x1, y1; None where the cells are empty.
      mask: relative like the path; "" for none.
      split: train, val or test; None where there is no such column.
    """

    line: int
    example_id: str
    path: str
    lineage: Lineage
    box: Box | None
    mask: str
    split: str | None


def read_rows(table: Path, ranks: Sequence[str] = ()) -> list[Row]:
    """Rows in the order of the file.

    Args:
      table: a CSV file in UTF-8, with or without a byte order mark.
      ranks: columns that are ranks, coarse to fine; empty: all columns that have no
        other meaning.

    Raises:
      UserError: with the file and the line, what is wrong with it.
    """
    cells = _cells(table)
    line, header = next(cells, (0, None))
    if header is None:
        raise UserError(f"{table} is empty: expected a header such as path,species.")
    columns = _columns(header, table)
    ranks = _ranks(columns, ranks, table)
    path_column = next(name for name in _PATHS if name in columns)
    rows: list[Row] = []
    lines: dict[str, int] = {}
    lineages: dict[tuple[str, ...], Lineage] = {}  # one object for equal ones
    for line, values in cells:
        if len(values) != len(columns):
            raise UserError(
                f"{table}, line {line}: {len(values)} cells, expected {len(columns)} "
                f"({','.join(columns)})."
            )
        cell = dict(zip(columns, (value.strip() for value in values), strict=True))
        try:
            row = _row(line, cell, ranks, path_column, lineages)
        except UserError as error:
            raise UserError(f"{table}, line {line}: {error}") from None
        before = lines.setdefault(row.example_id, line)
        if before != line:
            raise UserError(
                f"{table}, line {line}: the example_id "
                f"{inside.shown(row.example_id)} stands in line {before} already. One "
                "row an image."
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{table} has a header, but no rows.")
    return rows


def _cells(table: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every line that is not blank."""
    try:
        data = table.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the table {table}: {error.strerror or error}."
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{table}, line {line}: not UTF-8 (byte {data[error.start]:#04x}). Save "
            "the table as UTF-8."
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        # A quoted cell may span lines: told is the one where the row begins.
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{table}, line {line}: {error}.") from None
        if any(value.strip() for value in values):
            yield line, values


def _columns(header, table) -> list[str]:
    names = [name.strip().lower() for name in header]
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise UserError(
            f"{table}, line 1: no commas in the header {inside.shown(header[0])}. "
            "Separate the columns by commas."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{table}, line 1: the column {twice[0]!r} stands there twice.")
    found = [name for name in _PATHS if name in names]
    if len(found) != 1:
        raise UserError(
            f"{table}, line 1: expected one column of {', '.join(_PATHS)}, found "
            f"{', '.join(found) or 'none'} in {','.join(names)}."
        )
    boxes = [name for name in BOX if name in names]
    if boxes and len(boxes) < len(BOX):
        raise UserError(
            f"{table}, line 1: a box needs {', '.join(BOX)}, found {', '.join(boxes)}."
        )
    return names


def _ranks(columns, wanted, table) -> tuple[str, ...]:
    free = [name for name in columns if name not in (*_PATHS, *_OTHERS)]
    ranks = [str(rank).strip().lower() for rank in wanted] or free
    missing = [rank for rank in ranks if rank not in free]
    if missing or not ranks:
        what = f"no column {missing[0]!r}" if missing else "no column for a rank"
        raise UserError(
            f"{table}, line 1: {what}; expected ranks coarse to fine, as in "
            f"path,family,species. Its columns are {','.join(columns)}."
        )
    for rank in ranks:
        if not _RANK.fullmatch(rank):
            raise UserError(
                f"{table}, line 1: {inside.shown(rank)} cannot name a rank: use "
                "letters, digits, spaces, dots, - and _. data.ranks chooses columns."
            )
    return check_ranks(ranks)


def _row(line, cell, ranks, path_column, lineages) -> Row:
    empty = [name for name in (path_column, *ranks) if not cell[name]]
    if empty:
        raise UserError(
            f"the column {empty[0]!r} is empty. Fill it in, or drop the row."
        )
    path = inside.relative(cell[path_column])
    name = cell.get("example_id") or path
    taxa = tuple(cell[rank] for rank in ranks)
    if taxa not in lineages:
        lineages[taxa] = Lineage(taxa, ranks)
    split = cell.get("split")
    if split is not None and split.lower() not in _SPLITS:
        raise UserError(f"split is {split!r}, expected train, val or test.")
    return Row(
        line,
        inside.relative(name),
        path,
        lineages[taxa],
        _box(cell),
        inside.relative(cell["mask"]) if cell.get("mask") else "",
        None if split is None else _SPLITS[split.lower()],
    )


def _box(cell) -> Box | None:
    texts = [cell.get(name, "") for name in BOX]
    if not any(texts):
        return None
    try:
        box = tuple(float(text) for text in texts)
    except ValueError:
        box = (math.nan,) * 4
    if not all(math.isfinite(edge) for edge in box):
        raise UserError(f"the box is {','.join(texts)}, expected four numbers.")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise UserError(f"the box {','.join(texts)} has x1 <= x0 or y1 <= y0.")
    return box
