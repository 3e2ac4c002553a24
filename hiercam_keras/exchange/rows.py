"""Rows of other people's tables that are left out, with their numbers and reasons."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

from absl import logging

from hiercam_keras import wording
from hiercam_keras.errors import UserError

HEADER = ("table", "row", "kind", "reason", "found")
UNREAD, LEFT_OUT = "unread", "left out"
_SHOWN = 3  # rows that a message lists
_FEW = 20  # rows; in smaller tables one bad row is no large share
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True, slots=True)
class Unread:
    """A row that cannot be read.

    Attributes:
      number: line in the file where the row starts, from 1.
      reason: without values of the row, so that equal faults are counted together.
      table: name of the file.
      found: the value at fault; may be empty.
    """

    number: int
    reason: str
    table: str = ""
    found: str = ""


class RowLog:
    """Counts the rows of the tables of one data set, and keeps those left out.

    Attributes:
      unread: rows with a fault.
      left_out: rows of pictures that are valid and of no use, as blank ones.
    """

    def __init__(self):
        self.unread: list[Unread] = []
        self.left_out: list[Unread] = []
        self._rows: Counter[str] = Counter()
        self._bad: dict[str, list[Unread]] = {}

    def good(self, rows: Iterable[Row | Unread], table: str) -> Iterator[Row]:
        """Yields the rows that can be read, and keeps the others.

        Args:
          rows: of a table, which may be several files.
          table: its name in messages; the share of unread rows is of this table.
        """
        for row in rows:
            self._rows[table] += 1
            if isinstance(row, Unread):
                self.unread.append(row)
                self._bad.setdefault(table, []).append(row)
            else:
                yield row

    def leave_out(
        self, number: int, reason: str, table: str = "", found: str = ""
    ) -> None:
        """Keeps the row of a picture that is valid and of no use."""
        self.left_out.append(Unread(number, reason, table, found))

    def counts(self) -> dict[str, int]:
        """Numbers of rows by what they are and the reason, frequent ones first."""
        unread = Counter(f"rows ({row.reason})" for row in self.unread)
        left_out = Counter(f"pictures ({row.reason})" for row in self.left_out)
        return dict((unread + left_out).most_common())

    def check(self, share: float, place: str) -> None:
        """Warns of unread rows; too many of them are an error.

        Args:
          share: of the rows of a table that may be unread. A table may always have one.
          place: of the data set, for messages.

        Raises:
          UserError: a table has a larger share of unread rows.
        """
        for table, rows in self._bad.items():
            bad = len(rows)
            shown = "; ".join(
                f"line {row.number}: {row.reason}"
                + (f" ({row.found})" if row.found else "")
                for row in rows[:_SHOWN]
            )
            more = ", ..." if bad > _SHOWN else ""
            total = self._rows[table]
            text = (
                f"{bad} of {wording.count(total, 'row')} of {table} in {place} cannot "
                f"be read: {shown}{more}"
            )
            if bad > max(share * total, 1 if total > _FEW else 0):
                raise UserError(
                    f"{text}. Correct them, or allow a larger share with "
                    f"--config.data.max_unread_share (now {share:g})."
                )
            logging.warning("%s. They are left out", text)

    def table(self) -> list[tuple[str, int, str, str, str]]:
        """Cells of `HEADER` for each row left out, in the order of the tables."""
        rows = [(UNREAD, row) for row in self.unread]
        rows += [(LEFT_OUT, row) for row in self.left_out]
        rows.sort(key=lambda pair: (pair[1].table, pair[1].number))
        return [
            (row.table, row.number, kind, row.reason, row.found) for kind, row in rows
        ]
