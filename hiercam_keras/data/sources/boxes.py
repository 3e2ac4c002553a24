"""Boxes of CSV files: finds their columns, checks them, converts them to pixels.

Tables hold x0,y0,x1,y1 or x,y,width,height, in pixels or relative to the image's sides.
The config names the convention and the units (data.boxes). With "auto" the header's
names and the numbers decide; another convention than the header's is used only if the
numbers are unambiguous, and it is logged.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging

from hiercam_keras.csv_files import Table
from hiercam_keras.data.records import Box
from hiercam_keras.errors import UserError

CONVENTIONS = ("xyxy", "xywh")
UNITS = ("pixels", "relative")
_COLUMNS = {
    "xyxy": (
        ("x0", "y0", "x1", "y1"),
        ("x1", "y1", "x2", "y2"),
        ("xmin", "ymin", "xmax", "ymax"),
        ("x_min", "y_min", "x_max", "y_max"),
        ("left", "top", "right", "bottom"),
    ),
    "xywh": (
        ("x", "y", "width", "height"),
        ("x", "y", "w", "h"),
        ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
        ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
        ("left", "top", "width", "height"),
    ),
}
_WORDS = {"xyxy": "x0,y0,x1,y1", "xywh": "x,y,width,height"}
_SLACK = 1.0  # px that a box may exceed the image: conventions differ by one
_SHARE_SLACK = 0.01  # the same for shares of a side
# Boxes that must contradict the header before another convention is used: fewer may be
# boxes that were drawn from another corner.
_CERTAIN, _CERTAIN_SHARE = 3, 0.1


class Options(NamedTuple):
    """The config's data.boxes: "auto", or one of CONVENTIONS and of UNITS."""

    convention: str = "auto"
    units: str = "auto"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Options":
        """The options of the config's `data`.

        Raises:
          UserError: a field has an unknown value.
        """
        section = config.get("boxes") or {}
        options = cls(*(section.get(name, "auto") for name in cls._fields))
        for name, known in zip(cls._fields, (CONVENTIONS, UNITS), strict=True):
            value = getattr(options, name)
            if value not in ("auto", *known):
                raise UserError(
                    f"data.boxes.{name} is {value!r}: use auto, {' or '.join(known)}."
                )
        return options


AUTO = Options()


class Columns(NamedTuple):
    """The four columns of a box, and the convention of their names."""

    names: tuple[str, ...]
    convention: str

    def numbers(self, table: Table, cells: Mapping[str, str]) -> Box | None:
        """The four numbers of a row, unconverted; None if all cells are empty.

        Raises:
          UserError: a cell is not a finite number.
        """
        texts = [cells[name] for name in self.names]
        if not any(texts):
            return None
        try:
            box = tuple(table.number(text) for text in texts)
        except ValueError:
            box = (math.nan,) * 4
        if not all(math.isfinite(edge) for edge in box):
            raise UserError(
                f"the box is {','.join(texts)}, expected four numbers "
                f"({','.join(self.names)})."
            )
        return box


class Row(NamedTuple):
    """A box in the convention of the file: line, example_id, four numbers."""

    line: int
    example_id: str
    numbers: Box


def find_columns(table: Table) -> Columns | None:
    """The columns of boxes; None if the table has none.

    Raises:
      UserError: some columns of a box are missing.
    """
    for convention, sets in _COLUMNS.items():
        for names in sets:
            found = table.find(names)
            if len(found) == len(names):
                return Columns(tuple(found), convention)
    first = _COLUMNS["xyxy"][0]
    if found := table.find(first):
        raise UserError(
            f"{table.path}, line 1: a box needs {', '.join(first)}, found "
            f"{', '.join(found)}."
        )
    return None


def in_pixels(
    rows: Sequence[Row],
    sizes: Mapping[str, tuple[int, int]],
    options: Options,
    named: str,
    where: str,
) -> list[Box | None]:
    """Converts boxes to x0,y0,x1,y1 in pixels of their images.

    Args:
      rows: boxes in the convention of the file.
      sizes: (width, height) of the images, before any EXIF rotation.
      options: convention and units, or auto.
      named: convention of the header's names.
      where: name of the file, for messages.

    Returns:
      A box for each row, None if the size of its image is unknown.

    Raises:
      UserError: a box has no area or is not inside its image, with its line.
    """
    known = [row for row in rows if row.example_id in sizes]
    if not known:
        return [None] * len(rows)
    units = options.units
    if units == "auto":
        units = "relative" if _are_shares(known) else "pixels"
    convention = options.convention if options.convention != "auto" else named
    wrong = _misfits(known, sizes, convention, units)
    other = next(one for one in CONVENTIONS if one != convention)
    certain = len(wrong) >= max(_CERTAIN, _CERTAIN_SHARE * len(known))
    if certain and options.convention == "auto":
        if not _misfits(known, sizes, other, units):
            convention, wrong = other, []
    if wrong:
        _refuse(wrong, known, sizes, (convention, units), where)
    guessed = units == "relative" != options.units or convention != named
    logging.log(
        logging.WARNING if guessed and options == AUTO else logging.INFO,
        "%s: %d boxes are read as %s %s (data.boxes.convention and data.boxes.units "
        "choose)",
        where,
        len(known),
        _WORDS[convention],
        "in pixels" if units == "pixels" else "relative to the image's sides",
    )
    return [
        _to_pixels(row.numbers, sizes[row.example_id], convention, units)
        if row.example_id in sizes
        else None
        for row in rows
    ]


def _are_shares(rows: Sequence[Row]) -> bool:
    """Whether no number exceeds 1; in pixels no box would be larger than one."""
    numbers = [number for row in rows for number in row.numbers]
    return -_SHARE_SLACK <= min(numbers) and max(numbers) <= 1 + _SHARE_SLACK


def _to_pixels(numbers: Box, size: tuple[int, int], convention: str, units: str) -> Box:
    a, b, c, d = numbers
    if convention == "xywh":
        c, d = a + c, b + d
    across, down = size if units == "relative" else (1, 1)
    return a * across, b * down, c * across, d * down


def _misfits(
    rows: Sequence[Row],
    sizes: Mapping[str, tuple[int, int]],
    convention: str,
    units: str,
) -> list[tuple[Row, str]]:
    """Rows that are invalid in this convention and these units, with the reason."""
    found = []
    for row in rows:
        size = sizes[row.example_id]
        slack = (_SLACK, _SLACK)
        if units == "relative":
            slack = tuple(max(_SLACK, _SHARE_SLACK * side) for side in size)
        why = _misfit(_to_pixels(row.numbers, size, convention, units), size, slack)
        if why:
            found.append((row, why))
    return found


def _misfit(box: Box, size: tuple[int, int], slack: tuple[float, float]) -> str:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return "has x1 <= x0 or y1 <= y0"
    width, height = size
    outside = x0 < -slack[0] or x1 > width + slack[0]
    if outside or y0 < -slack[1] or y1 > height + slack[1]:
        return f"is outside of the image, which has {width} x {height} pixels"
    if max(x1 - x0, y1 - y0) < 1:
        return "is smaller than a pixel"
    return ""


def _refuse(wrong, rows, sizes, read, where) -> None:
    (row, why), count = wrong[0], len(wrong)
    shown = ",".join(f"{number:g}" for number in row.numbers)
    better = [
        (convention, units)
        for convention in CONVENTIONS
        for units in UNITS
        if (convention, units) != read and not _misfits(rows, sizes, convention, units)
    ]
    remedy = "Correct it, or remove the row"
    if better:
        convention, units = better[0]
        remedy = (
            f"All boxes fit as {_WORDS[convention]} in {units} units: if so, "
            f"use --config.data.boxes.convention={convention} "
            f"--config.data.boxes.units={units}"
        )
    more = f" ({count} of {len(rows)} boxes do not fit)" if count > 1 else ""
    raise UserError(
        f"{where}, line {row.line}: the box {shown} of {row.example_id!r}, read as "
        f"{_WORDS[read[0]]} in {read[1]} units, {why}{more}. {remedy}."
    )
