"""Formats numbers in sentences: counts with nouns, values and intervals."""

import math
import re
from collections.abc import Iterable

_IRREGULAR = {
    "genus": "genera",
    "phylum": "phyla",
    "taxon": "taxa",
    "class": "classes",
    "epoch": "epochs",
}
_INVARIANT = ("species", "series")


def plural(noun: str) -> str:
    """Plural of an English noun, including ranks: `family` -> `families`."""
    *before, last = noun.split(" ")
    for singular, several in _IRREGULAR.items():
        if last.endswith(singular):  # subgenus, superclass
            last = last.removesuffix(singular) + several
            return " ".join([*before, last])
    if last.endswith(_INVARIANT):
        return noun
    if last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return noun + ("es" if last.endswith(("s", "x", "ch", "sh")) else "s")


def spaced(name: str) -> str:
    """A name from a table in a sentence: `bill_and_tail` -> `bill and tail`."""
    return name.replace("_", " ")


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 image`, `2 images`, `1 species`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def of_kind(number: int, kind: str) -> str:
    """A number of things of a kind named in the plural: `1 hidden file`, `2 pictures
    (blank)`."""
    if number == 1:
        kind = re.sub(r"\b(file|folder|picture|row|link)s\b", r"\1", kind, count=1)
    return f"{number} {kind}"


def listed(parts: Iterable[str]) -> str:
    """Parts of a sentence: `a`, `a and b`, `a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def number(value: float, form: str = "{:.3g}") -> str:
    """Formats a value, without a sign for zero: never `-0.00` or `+0.0`.

    A value that is not finite becomes a dash.
    """
    if not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def interval(low: float, high: float, form: str = "{:.3g}") -> str:
    """An interval with a leading blank, ` (1.10 to 1.30)`; "" if it is not finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f" ({number(low, form)} to {number(high, form)})"


def too_few(groups: int, noun: str = "species") -> str:
    """Text that replaces a claim if there are too few groups."""
    return f"too few {plural(noun)} to say (n = {groups})"
