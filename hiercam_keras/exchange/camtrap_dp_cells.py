"""Cells of the tables of Camtrap DP packages, each of them checked.

Every function takes the cells of a row by column; a cell that cannot be read raises a
`Fault`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from hiercam_keras.exchange.detections import EDGE_SLACK, RelativeBox

BOX = ("bboxX", "bboxY", "bboxWidth", "bboxHeight")


class Fault(Exception):
    """A cell that cannot be read: the reason, and the cell."""


def box(cells: Mapping[str, str]) -> RelativeBox | None:
    """The box as x0, y0, x1, y1, cut at the edge; None where there is none."""
    texts = [cells.get(name, "") for name in BOX]
    if not any(texts):
        return None
    for name, text in zip(BOX, texts, strict=True):
        if not text:
            raise Fault("its box is not complete", f"no {name}")
    x, y, width, height = (share(cells, name) for name in BOX)
    if not (width and height) or max(x, y) >= 1:
        raise Fault("its box is empty", ", ".join(texts))
    if max(x + width, y + height) > 1 + EDGE_SLACK:
        raise Fault("its box reaches beyond the edge", ", ".join(texts))
    return x, y, min(x + width, 1.0), min(y + height, 1.0)


def share(cells: Mapping[str, str], name: str) -> float | None:
    """A number in 0..1; None for an empty cell."""
    text = cells.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise Fault(f"{name} is no number", text) from None
    if not 0 <= number <= 1:
        raise Fault(f"{name} is not between 0 and 1", text)
    return number


def filled(cells: Mapping[str, str], name: str) -> str:
    """The text of a cell that must not be empty."""
    if not cells[name]:
        raise Fault(f"{name} is empty")
    return cells[name]


def new(cells: Mapping[str, str], name: str, seen: set[str]) -> str:
    """An id that is not in `seen`, to which it is added."""
    text = filled(cells, name)
    if text in seen:
        raise Fault(f"its {name} occurs before", text)
    seen.add(text)
    return text


def known(cells: Mapping[str, str], name: str, known: Collection[str]) -> str:
    """The id of a deployment that can be read."""
    text = filled(cells, name)
    if text not in known:
        raise Fault(f"its {name} is not among the deployments", text)
    return text


def one_of(cells: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """A word of a vocabulary."""
    text = filled(cells, name)
    if text not in allowed:
        raise Fault(f"{name} is none of {', '.join(allowed)}", text)
    return text


def time(cells: Mapping[str, str], name: str) -> datetime:
    """A time with an offset from UTC."""
    text = filled(cells, name)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Fault(f"{name} is no time as in 2020-05-30T02:57:37Z", text) from None
    if found.tzinfo is None:
        raise Fault(f"{name} has no offset from UTC", text)
    return found
