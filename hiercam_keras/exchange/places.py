"""Opens the tables of a package that is a folder or a zip archive."""

import contextlib
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TextIO

from hiercam_keras import csv_files, file_names
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.rows import Unread
from hiercam_keras.progress import progress

_BROKEN = (OSError, EOFError, zipfile.BadZipFile, RuntimeError)  # a password: Runtime


class Place:
    """A folder or a zip archive; its files may be in one folder inside.

    Args:
      path: of the folder or archive.
      marker: name of the file that has to be in it, such as datapackage.json.

    Raises:
      UserError: there is no such file.
    """

    def __init__(self, path: Path, marker: str):
        self.path = Path(path)
        self.is_zip = self.path.is_file()
        self.inner = ""
        with as_user_error(self.path):
            if self.is_zip:
                with zipfile.ZipFile(self.path) as archive:
                    self._sizes = {
                        one.filename: one.file_size for one in archive.infolist()
                    }
                inside = sorted(
                    (name for name in self._sizes if name.split("/")[-1] == marker),
                    key=lambda name: name.count("/"),
                )
                inside = [name for name in inside if name.count("/") < 2]
                if inside:
                    self.inner = inside[0].removesuffix(marker)
        if not self.has(marker):
            raise UserError(
                f"{file_names.in_full(self.path)} holds no {marker}: expected a folder "
                "or a zip archive with that file."
            )

    def has(self, name: str) -> bool:
        """Whether there is a file of this relative name."""
        if self.is_zip:
            return self.inner + name in self._sizes
        return (self.path / name).is_file()

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked."""
        if self.is_zip:
            return self._sizes[self.inner + name]
        return (self.path / name).stat().st_size

    @contextlib.contextmanager
    def open(self, name: str, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
        """Opens a file as text, bytes that are no text as lone surrogates.

        Raises:
          UserError: it is missing or damaged, its name leads out of the package, or
            the encoding is unknown.
        """
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "://" in name:
            raise UserError(
                f"{self.path} names the table {name!r}: expected a file in it. Put the "
                "tables into the package."
            )
        if not self.has(name):
            raise UserError(f"{self.path} names the table {name}, which it lacks.")
        with as_user_error(self.path), contextlib.ExitStack() as stack:
            if self.is_zip:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                file = stack.enter_context(archive.open(self.inner + name))
            else:
                file = stack.enter_context((self.path / name).open("rb"))
            if name.lower().endswith(".gz"):
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            try:
                text = io.TextIOWrapper(file, encoding, "surrogateescape", newline="")
            except LookupError:
                raise UserError(
                    f"{self.path}: the encoding {encoding!r} of {name} is unknown. "
                    "Save the table as UTF-8."
                ) from None
            yield stack.enter_context(text)

    def rows(
        self,
        name: str,
        encoding: str = "utf-8-sig",
        delimiter: str = ",",
        quote: str = '"',
    ) -> Iterator[csv_files.Streamed]:
        """Streams the rows of a table, with progress; see `csv_files.stream`.

        Raises:
          UserError: the file cannot be read, or the delimiter or quote is none.
        """
        if not delimiter or (quote and len(delimiter + quote) != 2):
            raise UserError(
                f"{self.path} gives {name} the delimiter {delimiter!r} and the quote "
                f"{quote!r}: expected one character each."
            )
        with self.open(name, encoding) as file:
            lines = progress(file, self.size(name), name, unit="B", count=len)
            yield from csv_files.stream(lines, delimiter, quote)


def fitting(
    row: csv_files.Streamed, width: int, table: str, least: int | None = None
) -> Unread | None:
    """The fault of a row as such, None for one with the right number of cells.

    Args:
      row: of the table.
      width: of the header.
      table: name of the file.
      least: number of cells that suffices; default: width.
    """
    if row.fault:
        return Unread(row.line, row.fault, table)
    least = width if least is None else least
    if not least <= len(row.cells) <= width:
        found = f"{len(row.cells)}, expected {width}"
        return Unread(row.line, "it has another number of cells", table, found)
    return None


@contextlib.contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """Turns the errors of missing and damaged files into a UserError."""
    try:
        yield
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}."
        ) from error
