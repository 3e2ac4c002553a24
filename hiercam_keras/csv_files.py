"""Reads CSV files of programs and of spreadsheets.

Spreadsheets start a file with a byte order mark or `sep=;`, write UTF-16 with tabs
("Unicode text"), use semicolons where the comma is the decimal sign, append empty
columns, omit empty cells at the end of a row, and keep blanks and letter case of header
names. Statistics programs write NA into an empty cell. All of this is read. An encoding
other than UTF-8 or UTF-16 is an error, because it cannot be detected reliably.
"""

import codecs
import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from absl import logging

from hiercam_keras import file_names, wording
from hiercam_keras.errors import UserError

MISSING = frozenset({"NA", "NaN", "<NA>"})  # of R, numpy and pandas
DELIMITERS = (",", ";", "\t", "|")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SEPARATOR_LINE = re.compile(r"\s*\"?sep=(.)\"?[ \t]*(\r\n|\r|\n)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV file with a header.

    Attributes:
      path: of the file.
      columns: names of the header in lower case, with blanks normalized; unchanged if
        `exact`. A column without a name is called "unnamed column 2", by its position
        from 1; empty names at the end are dropped.
      delimiter: between cells.
      exact: whether rows must have all cells, and are returned unchanged.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    exact: bool
    _text: str = dataclasses.field(repr=False)

    def find(self, names: Iterable[str]) -> list[str]:
        """Columns with one of the names, in the order of `names`.

        Ignores letter case; blanks, hyphens and underscores are equivalent.
        """
        by_key = {_key(column): column for column in self.columns}
        found = (by_key.get(_key(name)) for name in names)
        return list(dict.fromkeys(column for column in found if column is not None))

    def rows(self, blank: bool = False) -> Iterator[tuple[int, dict[str, str]]]:
        """Yields (line number, cell by column) of each row.

        Cells are stripped, rows without a filled cell are skipped, and cells of
        `MISSING` are empty and counted in the log, unless the table is `exact`. The
        line number is that of the row's first line, from 1.

        Args:
          blank: whether to keep rows without a filled cell, for tables in which the
            number of rows matters. In a table with one column these are empty lines;
            those at the end are skipped.

        Raises:
          UserError: a row has more cells than the header (`exact`: another number), or
            is no valid CSV.
        """
        width = len(self.columns)
        cells = _cells(self.path, self._text, self.delimiter, blank and width == 1)
        next(cells)
        missing = 0
        for line, values in cells:
            if not self.exact:
                values = [value.strip() for value in values]
                missing += sum(value in MISSING for value in values)
                values = ["" if value in MISSING else value for value in values]
                if not any(values) and not blank:
                    continue
                while len(values) > width and not values[-1]:
                    values.pop()
                values += [""] * (width - len(values))
            if len(values) != width:
                raise UserError(
                    f"{self.path}, line {line}: {len(values)} cells, expected {width} "
                    f"({','.join(self.columns)})."
                )
            yield line, dict(zip(self.columns, values, strict=True))
        if missing:
            logging.info(
                "%s: %s that are NA or NaN are read as empty",
                self.path,
                wording.count(missing, "cell"),
            )

    def number(self, text: str) -> float:
        """Parses a number; accepts a decimal comma unless the delimiter is a comma.

        Raises:
          ValueError: the text is no number.
        """
        return float(text if self.delimiter == "," else text.replace(",", "."))


class Streamed(NamedTuple):
    """One row of a file that is read row by row.

    Attributes:
      line: number of its first line, from 1.
      cells: as they are in the file; empty if there is a fault.
      fault: why it is no valid row; "" if it is one.
    """

    line: int
    cells: list[str]
    fault: str


def stream(
    lines: Iterable[str], delimiter: str = ",", quote: str = '"'
) -> Iterator[Streamed]:
    """Yields the rows of a table of any length; an invalid one does not end it.

    Args:
      lines: of the file, opened with newline="" and errors="surrogateescape".
      delimiter: between cells.
      quote: around cells; "" if there are no quotes, so that each line is a row.
    """
    if not quote:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\r\n")
            if line:
                yield _checked(number, line.split(delimiter))
        return
    reader = csv.reader(lines, delimiter=delimiter, quotechar=quote, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Streamed(line, [], f"it is no valid CSV: {error}")
            continue
        if cells:
            yield _checked(line, cells)


def split_line(text: str) -> list[str]:
    """The cells of one line with commas, such as the value of a flag; blanks after a
    comma are skipped.

    Raises:
      ValueError: quotes are not around whole cells.
    """
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error


def read_header(path: str | os.PathLike) -> list[str]:
    """Column names of a table of any length, as its first line has them.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            first = file.readline().rstrip("\r\n")
    except OSError as error:
        raise UserError(
            f"cannot read the table {file_names.in_full(path)}: "
            f"{error.strerror or error}."
        ) from error
    return [name.strip().strip('"') for name in first.split(delimiter_of(first))]


def delimiter_of(header: str) -> str:
    """The delimiter that divides the line of a header into the most cells."""
    return max(DELIMITERS, key=header.count)


def _checked(line: int, cells: list[str]) -> Streamed:
    text = "".join(cells)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return Streamed(line, [], "it is not UTF-8")
    return Streamed(line, cells, "")


def read(path: str | os.PathLike, exact: bool = False) -> Table:
    """Opens a CSV file and reads its header.

    Args:
      path: UTF-8 with or without a byte order mark, or UTF-16 with one. The delimiter
        is given by `sep=`, or is the comma, semicolon, tab or bar that divides the
        header into the most cells.
      exact: for files of this program: names and cells are unchanged, and each row has
        all cells.

    Raises:
      UserError: the file cannot be read, is empty or is not UTF-8, or a column name
        occurs twice. The message names file and line.
    """
    path = Path(path)
    text, delimiter = _decoded(path), None
    if match := _SEPARATOR_LINE.match(text):
        delimiter = match[1]
        # The line is kept as a blank line, so that line numbers remain correct.
        text = match[2] + text[match.end() :]
    delimiter = delimiter or _delimiter(path, text)
    line, header = next(_cells(path, text, delimiter), (0, None))
    if header is None:
        raise UserError(f"{path} is empty, expected a CSV table with a header.")
    columns = header if exact else _names(header)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UserError(
            f"{path}, line {line}: the column {twice[0]!r} occurs twice. Rename or "
            "remove one."
        )
    return Table(path, tuple(columns), delimiter, exact, text)


def _decoded(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the table {file_names.in_full(path)}: "
            f"{error.strerror or error}."
        ) from error
    encoding = "utf-16" if data.startswith(_UTF16) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte {data[error.start]:#04x}). Save "
            "the table as UTF-8."
        ) from None


def _delimiter(path: Path, text: str) -> str:
    """The delimiter that divides the header into the most cells; by default a comma."""

    def cells(delimiter: str) -> int:
        try:
            return max(1, len(next(_cells(path, text, delimiter), (0, []))[1]))
        except UserError:  # invalid quotes with this delimiter
            return 0

    return max(DELIMITERS, key=cells)


def _cells(
    path: Path, text: str, delimiter: str, empty: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, cells) of each row that is not empty; the first is the header.

    With `empty`, empty lines between rows are yielded as rows without cells.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first = True
    waiting: list[int] = []  # line numbers of empty lines since the last row
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, line {line}: {error}.") from None
        if not any(value.strip() for value in values) and first:
            continue
        first = False
        if values:
            yield from ((number, []) for number in waiting)
            yield line, values
            waiting = []
        elif empty:
            waiting.append(line)


def _names(header: list[str]) -> list[str]:
    header = [" ".join(name.split()).lower() for name in header]
    while len(header) > 1 and not header[-1]:
        header.pop()
    return [name or f"unnamed column {i}" for i, name in enumerate(header, 1)]


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
