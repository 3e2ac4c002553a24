"""Finds names that occur twice in a tree: homonyms, or errors in lineages.

One name under two parents may be correct (the genus Morus exists for birds and for
trees). One binomial under two parents, or two spellings of a name, is almost always an
error; it would be trained as two taxa.
"""

from collections import defaultdict
from typing import NamedTuple

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import full_name, spelled
from hiercam_keras.taxonomy.tree import Taxonomy

CHOICES = ("error", "keep")
_SHOWN = 5  # names that a message lists
_BINOMIALS = ("species", "subspecies", "taxon", "scientific name", "scientificname")


class Homonym(NamedTuple):
    """Taxa of one rank with the same name.

    Attributes:
      rank: of the taxa.
      prefixes: their lineages down to `rank`, two or more.
      kind: "spelling" if the names differ in letter case, blanks, underscores or
        Unicode form; "binomial" if it is the name of a species; "name" otherwise.
    """

    rank: str
    prefixes: tuple[tuple[str, ...], ...]
    kind: str

    def __str__(self) -> str:
        names = list(dict.fromkeys(prefix[-1] for prefix in self.prefixes))
        places = ["/".join(prefix) for prefix in self.prefixes]
        if self.kind == "spelling":
            spelled = " and ".join(map(repr, names))
            return f"the {self.rank} is spelled {spelled} ({' and '.join(places)})"
        return f"the {self.rank} {names[0]!r} is in {' and in '.join(places)}"


def find(taxonomy: Taxonomy) -> list[Homonym]:
    """The homonyms of a tree, coarse to fine.

    Equal taxa below two spellings of one parent are not reported again.
    """
    found = []
    spelled_twice: set[tuple[str, ...]] = set()  # normalized prefixes
    for rank in taxonomy.ranks:
        groups = defaultdict(list)
        for prefix in taxonomy.prefixes(rank):
            groups[spelled(full_name(prefix, taxonomy.ranks))].append(prefix)
        for members in groups.values():
            paths = {tuple(map(spelled, prefix)) for prefix in members}
            above = {path[:depth] for path in paths for depth in range(len(path))}
            if len(members) == 1 or (len(paths) == 1 and above & spelled_twice):
                continue
            kind = _kind(members, rank, taxonomy.ranks)
            if kind == "spelling":
                spelled_twice |= paths
            found.append(Homonym(rank, tuple(members), kind))
    return found


def check(taxonomy: Taxonomy, homonyms: str, where: str) -> str:
    """Describes names that occur twice, for the log; "" if there are none.

    Args:
      taxonomy: the tree.
      homonyms: "error", or "keep" to accept all names as they are.
      where: description of the data, for the message.

    Raises:
      UserError: with "error", a binomial occurs under two parents or a name has two
        spellings; or `homonyms` is neither value.
    """
    if homonyms not in CHOICES:
        raise UserError(f"data.homonyms is {homonyms!r}: use {' or '.join(CHOICES)}.")
    found = find(taxonomy)
    wrong = [one for one in found if one.kind != "name"]
    if wrong and homonyms == "error":
        raise UserError(
            f"{where}: {_listed(wrong)}. Each would be trained as several taxa: "
            "correct the lineages, or use --config.data.homonyms=keep if they are "
            "right."
        )
    if not found:
        return ""
    return f"{where}: names of several taxa, which are kept apart: {_listed(found)}"


def _listed(found: list[Homonym]) -> str:
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(map(str, found[:_SHOWN])) + more


def _kind(members: list[tuple[str, ...]], rank: str, ranks: tuple[str, ...]) -> str:
    if len({prefix[-1] for prefix in members}) > 1:
        return "spelling"
    binomial = rank in _BINOMIALS and " " in full_name(members[0], ranks)
    return "binomial" if binomial else "name"
