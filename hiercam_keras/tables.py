"""Tables as CSV files and as text for a terminal.

A spreadsheet runs a cell that starts with = + - or @ as a formula, and taxon names come
from folders that anyone may name. Such text is written with an apostrophe before it,
which spreadsheets show as text; `read_csv` takes it off again.
"""

import csv
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hiercam_keras import csv_files, wording
from hiercam_keras.workdir import write_text

# Apostrophes in front count, so that reading takes off exactly what writing put on.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def safe_cell(value: Any) -> Any:
    """A value as it may stand in a CSV file that a spreadsheet opens.

    Text that could run as a formula gets an apostrophe in front; None and NaN are
    empty; floats are written to 6 significant digits; anything else stays.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if _FORMULA.match(value) else value
    if hasattr(value, "item"):  # NumPy scalars
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value if isinstance(value, int) else safe_cell(str(value))


def write_csv(
    path: str | os.PathLike,
    header: Sequence[str],
    rows: Sequence[Sequence[Any] | Mapping[str, Any]],
) -> Path:
    """Writes a table as UTF-8 CSV, atomically and safe to open in a spreadsheet.

    Args:
      path: where; the folder is made.
      header: names of the columns.
      rows: sequences of cells, or mappings from column to cell (missing: empty).

    Raises:
      ValueError: a row that has not one cell per column.
    """
    buffer = io.StringIO()
    _write_row(buffer, header)
    for number, row in enumerate(rows, 1):
        cells = _cells(row, header)
        if len(cells) != len(header):
            raise ValueError(
                f"row {number} has {len(cells)} cells, expected {len(header)}: {header}"
            )
        _write_row(buffer, cells)
    write_text(path, buffer.getvalue())
    return Path(path)


def read_csv(path: str | os.PathLike) -> dict[str, list[str]]:
    """Reads what `write_csv` wrote: column -> cells as text, apostrophes taken off.

    Raises:
      UserError: a file that is missing or no CSV table.
    """
    table = csv_files.read(path, exact=True)
    columns: dict[str, list[str]] = {_unsafe(name): [] for name in table.columns}
    for _, row in table.rows():
        for cells, cell in zip(columns.values(), row.values(), strict=True):
            cells.append(_unsafe(cell))
    return columns


def read_log(path: str | os.PathLike) -> dict[str, list[float]]:
    """Reads a log.csv of training: column -> floats, NaN where a cell is no number."""
    columns = read_csv(path)
    return {name: [_number(cell) for cell in cells] for name, cells in columns.items()}


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any] | Mapping[str, Any]],
    digits: int = 3,
) -> str:
    """A table as aligned text: numbers to the right, names to the left.

    Control characters in a name are replaced, so that none can steer the terminal.
    Returns lines without a final newline.
    """
    table = [[_text(cell, digits) for cell in _cells(row, header)] for row in rows]
    numeric = [
        all(_is_number(_cells(row, header)[i]) for row in rows)
        for i in range(len(header))
    ]
    titles = [_text(name, digits) for name in header]
    widths = [max(len(row[i]) for row in [titles, *table]) for i in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [titles, ["-" * width for width in widths], *table]
    ]
    return "\n".join(lines)


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with None for NaN and infinity, which JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _write_row(buffer: io.StringIO, cells: Sequence[Any]) -> None:
    cells = [safe_cell(cell) for cell in cells]
    # Not every Python quotes a carriage return by itself, and bare it ends the line.
    bare = any("\r" in str(cell) for cell in cells)
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    csv.writer(buffer, lineterminator="\n", quoting=quoting).writerow(cells)


def _cells(row: Sequence[Any] | Mapping[str, Any], header: Sequence[str]) -> list[Any]:
    if isinstance(row, Mapping):
        return [row.get(name) for name in header]
    return list(row)


def _unsafe(cell: str) -> str:
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_number(value: Any) -> bool:
    return value is None or not isinstance(value, str)


def _text(value: Any, digits: int) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return wording.number(value, f"{{:.{digits}f}}")
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))
