"""Titles of pages and cards: what a reader calls the data and the network."""

import re
from collections.abc import Sequence

from hiercam_keras import wording

_DIGEST = re.compile(r"-[0-9a-f]{6}$")
_TABLE = re.compile(r"\.(csv|tsv|txt|json|zip)", re.IGNORECASE)
# Folders and files that are called so say nothing of what is in them.
_PLAIN = frozenset(
    "image images img imgs picture pictures photo photos data dataset datasets table "
    "tables label labels annotations metadata media observations occurrences train "
    "training test val".split()
)
_OBJECT = "object"  # data.noun that says nothing, too


def of_data(name: str, place: str | None) -> str:
    """What a reader calls a data set: the name of its folder or table.

    Args:
      name: names the run folders, such as "norway_birds-1a2b3c".
      place: of the data, whose digest is in the name; None if the name is a config's.
    """
    if place is None:
        return wording.spaced(name)
    parts = [part for part in re.split(r"[/\\]", place) if part not in ("", ".", "..")]
    own = _stem(_DIGEST.sub("", name))
    above = [_stem(part) for part in reversed(parts[:-1])]
    found = (one for one in (own, *above) if one.casefold() not in _PLAIN)
    return wording.spaced(next(found, own))


def of_network(data: str, noun: str, ranks: Sequence[str]) -> str:
    """Title of a network: "norway birds: a network for bird families and species".

    Args:
      data: see `of_data`.
      noun: what pictures show, `config.data.noun`.
      ranks: of the heads.
    """
    return f"{data}: a network for {_taxa(noun, ranks)}"


def of_guide(data: str, noun: str, rank: str) -> str:
    """Title of a field guide; see `of_network`."""
    return f"{data}: a field guide to {_taxa(noun, [rank])}"


def of_comparison(
    data: str, noun: str, ranks: Sequence[str], names: Sequence[str]
) -> str:
    """Title of a comparison of several questions.

    Args:
      data, noun: see `of_network`.
      ranks: that are asked for, one for each question.
      names: of the questions, used where a rank is asked for twice.
    """
    if len(set(ranks)) == len(ranks):
        return f"{data}: {_taxa(noun, ranks)}, compared"
    return f"{data}: {wording.listed(names)}, compared"


def _taxa(noun: str, ranks: Sequence[str]) -> str:
    taxa = wording.listed(wording.plural(wording.spaced(rank)) for rank in ranks)
    return taxa if noun in ("", _OBJECT) else f"{noun} {taxa}"


def _stem(name: str) -> str:
    found = _TABLE.search(name)
    return name[: found.start()] if found and found.end() == len(name) else name
