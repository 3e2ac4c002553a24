"""Scientific names as databases write them: what rank they reach, genus and epithet."""

import re
from typing import NamedTuple

_GENUS = re.compile(r"[A-ZÀ-Þ][a-zß-ÿ]+(-[A-Za-zß-ÿ]+)?")
_EPITHET = re.compile(r"[a-zß-ÿ]+(-[a-zß-ÿ]+)*")
_OPEN = {"sp", "sp.", "spp", "spp.", "cf", "cf.", "aff", "aff.", "indet.", "ssp."}
# Ranks at which a name holds a genus and an epithet.
_SPECIFIC = {
    *("species", "subspecies", "infraspecies", "infraspecificname"),
    *("variety", "varietas", "form", "forma", "cultivar", "subvariety", "morph"),
}
_HYBRID = ("hybrid", "nothospecies", "genushybrid", "nothogenus")


class Name(NamedTuple):
    """A scientific name in parts.

    Attributes:
      rank: "species" for a name with an epithet (also of a subspecies), "hybrid", or
        the coarser rank; "genus or above" where that is not stated.
      genus: "" above genus.
      epithet: of the species; "" above species.
    """

    rank: str
    genus: str = ""
    epithet: str = ""


def parse(text: str, rank: str = "") -> Name | None:
    """The parts of a name, with or without author and year; None if it is none.

    Args:
      text: "Anas crecca", "Anas crecca Linnaeus, 1758", "Ardea sp.", "Aves".
      rank: as the database states it, in any letter case; "" if it does not.
    """
    rank = rank.strip().lower()
    words = [word for word in text.split() if not word.startswith("(")]
    if not words or not _GENUS.fullmatch(words[0]):
        return None
    if rank in _HYBRID or "×" in text or "x" in words[1:]:
        return Name("hybrid")
    if rank and rank not in _SPECIFIC:
        return Name(rank, words[0] if rank in ("genus", "subgenus") else "")
    if len(words) > 1 and words[1] not in _OPEN and _EPITHET.fullmatch(words[1]):
        return Name("species", words[0], words[1])
    if rank in _SPECIFIC and rank != "species":
        return None
    return Name("genus" if len(words) > 1 else "genus or above", words[0])
