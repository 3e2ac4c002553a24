"""Writes tables as CSV files and as text for a terminal.

Spreadsheets evaluate a cell that starts with = + - or @ as a formula, and taxon names
come from untrusted folder names. Such text is written with a leading apostrophe, which
makes spreadsheets treat it as text; `read_csv` removes the apostrophe.
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

# Also matches text with leading apostrophes, so that reading inverts writing.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def safe_cell(value: Any) -> Any:
    """Converts a value to a CSV cell that is safe to open in a spreadsheet.

    Text that could be a formula gets a leading apostrophe. None and NaN become empty,
    bool becomes 0 or 1, and floats have 6 significant digits. Other objects are
    converted to text.
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
      path: of the file; missing folders are created.
      header: names of the columns.
      rows: sequences of cells, or mappings from column to cell (missing: empty).

    Returns:
      The path.

    Raises:
      ValueError: a row does not have one cell for each column.
      UserError: the file cannot be written.
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
    """Reads a file of `write_csv`: cells as text by column, without apostrophes.

    Raises:
      UserError: the file is missing or no CSV table.
    """
    table = csv_files.read(path, exact=True)
    columns: dict[str, list[str]] = {_unsafe(name): [] for name in table.columns}
    for _, row in table.rows():
        for cells, cell in zip(columns.values(), row.values(), strict=True):
            cells.append(_unsafe(cell))
    return columns


def read_log(path: str | os.PathLike) -> dict[str, list[float]]:
    """Reads a training log: floats by column, NaN for cells that are no numbers.

    Raises UserError as `read_csv`.
    """
    columns = read_csv(path)
    return {name: [_number(cell) for cell in cells] for name, cells in columns.items()}


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any] | Mapping[str, Any]],
    digits: int = 3,
) -> str:
    """Formats a table as text, with numbers right-aligned and names left-aligned.

    Control characters are replaced, so that names cannot control the terminal.

    Args:
      header: names of the columns.
      rows: as for `write_csv`.
      digits: decimals of floats.

    Returns:
      Lines without a final newline.
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
    # Some Python versions do not quote a carriage return, which would end the line.
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
