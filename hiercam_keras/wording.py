"""Numbers in sentences: counts with their nouns, no negative zero, intervals."""

import math

_IRREGULAR = {
    "genus": "genera",
    "phylum": "phyla",
    "taxon": "taxa",
    "class": "classes",
    "epoch": "epochs",
}
_INVARIANT = ("species", "series")


def plural(noun: str) -> str:
    """The plural of an English noun, of a rank too: `family` -> `families`."""
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


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `1 species`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def number(value: float, form: str = "{:.3g}") -> str:
    """A value by a format, without the sign of a zero: never `-0.00` or `+0.0`.

    A dash where it is not known.
    """
    if not math.isfinite(value):
        return "–"
    text = form.format(value)
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def interval(low: float, high: float, form: str = "{:.3g}") -> str:
    """` (1.10 to 1.30)`; "" where it is not known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f" ({number(low, form)} to {number(high, form)})"


def too_few(groups: int, noun: str = "species") -> str:
    """What is said in place of a claim about too few groups."""
    return f"too few {plural(noun)} to say (n = {groups})"
