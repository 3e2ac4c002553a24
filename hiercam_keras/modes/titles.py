"""Titles of pages and cards: what a reader calls the data and the network."""

import re
from collections.abc import Sequence
from typing import Any

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
      place: of the data, with its digest in the name; None if a config has the name.
    """
    if place is None:
        return wording.spaced(name)
    parts = [part for part in re.split(r"[/\\]", place) if part not in ("", ".", "..")]
    own = _stem(_DIGEST.sub("", name))
    above = [_stem(part) for part in reversed(parts[:-1])]
    found = (one for one in (own, *above) if one.casefold() not in _PLAIN)
    return wording.spaced(next(found, own))


def of_images(data: Any) -> str:
    """What a reader calls the images of a run.

    Args:
      data: `load.RunData`.
    """
    root = None if data.source is None else str(data.source.root)
    return of_data(data.data_name, root if data.run.imported else data.run.data_dir)


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


def of_comparison(data: str, noun: str, questions: Sequence[Any]) -> str:
    """Title of a comparison.

    Args:
      data, noun: see `of_network`.
      questions: with `rank` and `name`, which is used where a rank is asked for twice.
    """
    ranks = [one.rank for one in questions]
    if len(set(ranks)) == len(ranks):
        return f"{data}: {_taxa(noun, ranks)}, compared"
    return f"{data}: {wording.listed(one.name for one in questions)}, compared"


def _taxa(noun: str, ranks: Sequence[str]) -> str:
    taxa = wording.listed(wording.plural(wording.spaced(rank)) for rank in ranks)
    return taxa if noun in ("", _OBJECT) else f"{noun} {taxa}"


def _stem(name: str) -> str:
    found = _TABLE.search(name)
    return name[: found.start()] if found and found.end() == len(name) else name
