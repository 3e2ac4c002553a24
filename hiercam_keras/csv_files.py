"""The one reader of CSV files: as programs write them, and as spreadsheets do.

Spreadsheets begin a file with a byte order mark or with `sep=;`, write UTF-16 with tabs
("Unicode text"), separate cells by semicolons where the comma is the decimal sign,
append empty columns, leave out empty cells at the end of a row, and keep the blanks and
the letter case of a header as somebody typed them. Statistics programs write NA into an
empty cell. All of this is read; text in another encoding than UTF-8 or UTF-16 is an
error, because its letters cannot be known.
"""

import codecs
import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

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
      columns: names as the header has them, without outer blanks. In lower case unless
        the table was read as `exact`. A column without a name that holds something is
        called "unnamed column 2", by its position from 1.
      delimiter: between cells.
      exact: whether rows must have all their cells, and may be blank.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    exact: bool
    _text: str = dataclasses.field(repr=False)

    def find(self, names: Iterable[str]) -> list[str]:
        """The columns that have one of these names, in the order of `names`.

        Letter case does not matter; blanks, hyphens and underscores are equal.
        """
        by_key = {_key(column): column for column in self.columns}
        found = (by_key.get(_key(name)) for name in names)
        return list(dict.fromkeys(column for column in found if column is not None))

    def rows(self, blank: bool = False) -> Iterator[tuple[int, dict[str, str]]]:
        """(line of the file, cell by column) of each row; cells without outer blanks.

        Rows without any filled cell are skipped unless the table is `exact`, which
        also keeps the blanks of cells. A row that spans lines has its first one. Cells
        of `MISSING` are empty, unless the table is `exact`; their number is logged.

        Args:
          blank: keep rows without any filled cell, where the number of rows counts. In
            a table of one column these are empty lines, but for those at the end.

        Raises:
          UserError: a row has more cells than the header, or is no CSV.
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
        """The number in a cell; with a decimal comma where commas do not delimit.

        Raises:
          ValueError: the text is no number.
        """
        return float(text if self.delimiter == "," else text.replace(",", "."))


def read(path: str | os.PathLike, exact: bool = False) -> Table:
    """Opens a CSV file and reads its header.

    Args:
      path: UTF-8 with or without a byte order mark, or UTF-16 with one. Cells are
        separated by commas, semicolons, tabs or bars, whichever the header has most.
      exact: for files that this program wrote: names and cells stay as they are, and
        each row has all its cells.

    Raises:
      UserError: with the file and the line: it cannot be read, is empty, is not UTF-8,
        or two columns have one name.
    """
    path = Path(path)
    text, delimiter = _decoded(path), None
    if match := _SEPARATOR_LINE.match(text):
        delimiter = match[1]
        # The line stays as a blank one, so that numbers of lines stay right.
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
    """The separator that divides the header into the most cells; a comma if none."""

    def cells(delimiter: str) -> int:
        try:
            return max(1, len(next(_cells(path, text, delimiter), (0, []))[1]))
        except UserError:  # quotes that end elsewhere with this separator
            return 0

    return max(DELIMITERS, key=cells)


def _cells(
    path: Path, text: str, delimiter: str, empty: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row that is no empty line; the first is the header.

    With `empty`, empty lines between rows are rows without cells.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    first = True
    waiting: list[int] = []  # empty lines, until a row follows them
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
