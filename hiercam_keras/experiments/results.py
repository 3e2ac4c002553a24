"""A table with intervals, as CSV, as JSON and in Markdown.

Each table states its claim and its answer. The answer is computed from the intervals of
the table, so the two cannot contradict each other.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiercam_keras import tables, wording, workdir
from hiercam_keras.metrics.resampling import Estimate

OURS, ORIGINAL = "our question", "the original study, in our words"

# Columns of an `Estimate` in CSV, after its value.
_PARTS = ("low", "high", "n", "groups")

Cell = str | int | float | Estimate | None


@dataclasses.dataclass(frozen=True)
class Result:
    """Rows of cells; an `Estimate` becomes five columns in CSV.

    Attributes:
      name: of the files.
      title: above it.
      claim: the sentence or question that is tested.
      header, rows: cells by column.
      answer: the result, computed from the intervals.
      note: how to read the table.
      figure: file name of a figure below it, "" for none.
      short: the answer in a few words, for the top of the page; "" for none.
      source: where the question comes from, always paraphrased.
      missing: expected effects that were not found, one computed sentence each.
    """

    name: str
    title: str
    claim: str
    header: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    answer: str
    note: str = ""
    figure: str = ""
    short: str = ""
    source: str = OURS
    missing: tuple[str, ...] = ()


def write(table: Result, folder: Path) -> None:
    """Writes <name>.csv and <name>.json."""
    wide = [
        column
        for place, name in enumerate(table.header)
        for column in (
            (name, *(f"{name} {part}" for part in _PARTS))
            if _has(table, place)
            else (name,)
        )
    ]
    rows = [
        [
            value
            for place, cell in enumerate(row)
            for value in _spread(cell, _has(table, place))
        ]
        for row in table.rows
    ]
    tables.write_csv(folder / f"{table.name}.csv", wide, rows)
    about = {
        "title": table.title,
        "claim": table.claim,
        "source": table.source,
        "answer": table.answer,
        "rows": [
            dict(zip(table.header, map(_json, row), strict=True)) for row in table.rows
        ],
    }
    workdir.write_json(folder / f"{table.name}.json", about)


def _has(table: Result, place: int) -> bool:
    return any(isinstance(row[place], Estimate) for row in table.rows)


def _spread(cell: Cell, wide: bool) -> tuple:
    if isinstance(cell, Estimate):
        return cell.value, *(getattr(cell, part) for part in _PARTS)
    return (cell, *[None] * len(_PARTS)) if wide else (cell,)


def _json(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        return {name: _json(getattr(cell, name)) for name in ("value", *_PARTS)}
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell


def markdown(table: Result) -> str:
    """The table under its title, with claim, answer and note."""
    said = f"*{table.source[:1].upper()}{table.source[1:]}:* {table.claim}"
    lines = [f"## {table.title}", "", said, ""]
    lines += ["| " + " | ".join(map(escape, table.header)) + " |"]
    numeric = [
        all(not isinstance(row[i], str) for row in table.rows)
        for i in range(len(table.header))
    ]
    lines += ["|" + "|".join("---:" if right else "---" for right in numeric) + "|"]
    lines += ["| " + " | ".join(map(text, row)) + " |" for row in table.rows]
    lines += ["", f"**{table.answer}**"]
    if table.note:
        lines += ["", table.note]
    if table.figure:
        lines += ["", f"![{table.title}]({table.figure})"]
    return "\n".join(lines)


def text(cell: Cell) -> str:
    """Text of a cell: `1.23 (1.10 to 1.35)`, or `1.23 (n = 5)` without an interval.

    n is the number of species, the groups of an interval.
    """
    if isinstance(cell, Estimate):
        if math.isnan(cell.low):
            counted = f" (n = {cell.groups})" if math.isfinite(cell.value) else ""
            return number(cell.value) + counted
        return f"{number(cell.value)} ({number(cell.low)} to {number(cell.high)})"
    if cell is None:
        return ""
    return number(cell) if isinstance(cell, float) else escape(str(cell))


def number(value: float) -> str:
    """Three decimals below 1, two above; a dash for NaN."""
    return wording.number(value, "{:.3f}" if abs(value) < 1 else "{:.2f}")


def escape(words: str) -> str:
    """Escapes text for a Markdown table: names of folders are data."""
    for sign in "\\`*_[]<>|":
        words = words.replace(sign, "\\" + sign)
    return " ".join(words.split())


def verdict(found: Estimate, more: str, less: str, same: str) -> str:
    """`more`, `less` or `same` by the interval's sign, with the figure and interval.

    With too few species for an interval the text is `wording.too_few`.
    """
    if found.too_few and math.isfinite(found.value):
        return f"not compared: {wording.too_few(found.groups)}"
    words = {1: more, -1: less, 0: same}[found.verdict]
    return f"{words} ({text(found).replace(' (', ', 95 % interval ').rstrip(')')})"


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
