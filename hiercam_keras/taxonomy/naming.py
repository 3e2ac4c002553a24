"""Unique display names of taxa, and look-up of taxa by name."""

import collections
import difflib
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.common_names import titled
from hiercam_keras.taxonomy.lineage import display_name, spelled

if TYPE_CHECKING:
    from hiercam_keras.taxonomy.tree import Taxonomy

_SHOWN = 5  # names that an error message lists


def unique_names(
    prefixes: Sequence[tuple[str, ...]], ranks: Sequence[str]
) -> tuple[str, ...]:
    """Unique display names of the taxa of one rank, in the order of `prefixes`.

    Homonyms get the name of the nearest ancestor that distinguishes all of them in
    brackets, "Morus (Sulidae)" and "Morus (Moraceae)"; if no single rank does, the
    whole lineage above.

    Args:
      prefixes: lineage prefixes of one rank.
      ranks: coarse to fine.
    """
    ranks = tuple(ranks)
    names = [display_name(prefix, ranks) for prefix in prefixes]
    for members in _repeated(names):
        labels = _qualifiers([prefixes[i] for i in members])
        for i, qualifier in zip(members, labels, strict=True):
            names[i] = f"{names[i]} ({qualifier})"
    # A taxon may itself be called "Morus (Sulidae)", or have a slash in its name.
    for members in _repeated(names):
        for i in members:
            names[i] = "/".join(prefixes[i])
    while repeated := _repeated(names):
        for i in (i for members in repeated for i in members):
            names[i] = f"{names[i]} #{i}"
    return tuple(names)


class UnknownTaxonError(UserError):
    """No taxon has the name."""


def find_taxon(taxonomy: "Taxonomy", name: str, rank: str | None) -> tuple[str, int]:
    """Returns (rank, label) of a taxon; see `Taxonomy.find`."""
    wanted = unicodedata.normalize("NFC", str(name)).strip()
    ranks = taxonomy.ranks if rank is None else (rank,)
    same: tuple[Callable[[str], str], ...] = (str, str.casefold)
    for spelling in same:
        for candidates in (_own_names, _plain_names, _paths, _titles):
            hits = [
                (at, label)
                for at in ranks
                for label, known in enumerate(candidates(taxonomy, at))
                if spelling(known) == spelling(wanted)
            ]
            if len(hits) == 1:
                return hits[0]
            if hits:
                raise UserError(_ambiguous(taxonomy, name, hits))
    hits = list(_of_common_name(taxonomy, ranks, wanted))
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise UserError(_ambiguous(taxonomy, name, hits))
    raise UnknownTaxonError(_unknown(taxonomy, name, wanted, ranks))


def suggestions(
    taxonomy: "Taxonomy", name: str, ranks: Sequence[str] | None = None
) -> list[str]:
    """Names of the taxonomy that an unknown name may have been meant for."""
    ranks = ranks or taxonomy.ranks
    # "robin" alone is no common name, but a part of several.
    hits = _of_common_name(taxonomy, ranks, name, part=True)
    hints = [_title(taxonomy, *hit) for hit in itertools.islice(hits, _SHOWN)]
    if hints:
        return hints
    # An epithet alone does not name a species, but suggests candidates.
    hints = [
        own
        for rank in ranks
        for own, prefix in zip(
            taxonomy.names(rank), taxonomy.prefixes(rank), strict=True
        )
        if prefix[-1].casefold() == name.casefold()
    ]
    if not hints:
        by_key = {}
        for rank in ranks:
            titles, prefixes = taxonomy.titles(rank), taxonomy.prefixes(rank)
            for own, title, prefix in zip(
                taxonomy.names(rank), titles, prefixes, strict=True
            ):
                by_key[taxonomy.common_names.get(prefix, own).casefold()] = title
                by_key[own.casefold()] = own
        close = difflib.get_close_matches(name.casefold(), list(by_key), n=3)
        hints = [by_key[key] for key in close]
    return hints[:_SHOWN]


def _own_names(taxonomy: "Taxonomy", rank: str) -> Iterable[str]:
    return taxonomy.names(rank)


def _plain_names(taxonomy: "Taxonomy", rank: str) -> Iterable[str]:
    return (display_name(p, taxonomy.ranks) for p in taxonomy.prefixes(rank))


def _paths(taxonomy: "Taxonomy", rank: str) -> Iterable[str]:
    return ("/".join(prefix) for prefix in taxonomy.prefixes(rank))


def _titles(taxonomy: "Taxonomy", rank: str) -> Iterable[str]:
    return taxonomy.titles(rank)


def _of_common_name(
    taxonomy: "Taxonomy", ranks: Iterable[str], name: str, part: bool = False
) -> Iterator[tuple[str, int]]:
    """(rank, label) of the taxa with a common name; with `part`, of those that have
    all words of `name` in theirs. Blanks, hyphens and commas are equal."""
    wanted = _words(name)
    if not wanted or not taxonomy.common_names:
        return
    for rank in ranks:
        for label, prefix in enumerate(taxonomy.prefixes(rank)):
            words = _words(taxonomy.common_names.get(prefix, ""))
            if words == wanted or (part and set(wanted) <= set(words)):
                yield rank, label


def _words(name: str) -> list[str]:
    name = name.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return spelled(name.replace("-", " ").replace(",", " ")).split()


def _title(taxonomy: "Taxonomy", rank: str, label: int) -> str:
    return titled(taxonomy.names(rank)[label], taxonomy.common_name(rank, label))


def _repeated(names: Sequence[str]) -> list[list[int]]:
    """Groups of positions of equal names, for names that occur more than once."""
    places = collections.defaultdict(list)
    for i, name in enumerate(names):
        places[name].append(i)
    return [members for members in places.values() if len(members) > 1]


def _qualifiers(prefixes: Sequence[tuple[str, ...]]) -> list[str]:
    """Names of the nearest ancestors that all differ, or else whole lineages above."""
    depth = len(prefixes[0])
    for level in range(depth - 2, -1, -1):
        labels = [prefix[level] for prefix in prefixes]
        if all(labels) and len(set(labels)) == len(labels):
            return labels
    return ["/".join(prefix[:-1]) for prefix in prefixes]


def _ambiguous(taxonomy: "Taxonomy", name: str, hits: list[tuple[str, int]]) -> str:
    shown = []
    for rank, label in hits:
        common = taxonomy.common_name(rank, label)
        which = f"{rank}, {common}" if common else rank
        shown.append(f"{taxonomy.names(rank)[label]!r} ({which})")
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    ways = []
    if len({taxonomy.names(rank)[label] for rank, label in hits}) > 1:
        ways.append("use one of these names")
    if len({rank for rank, _ in hits}) > 1:
        ways.append("give its rank with --target_rank")
    return (
        f"taxon {name!r} is ambiguous: it may be {', '.join(shown[:_SHOWN])}{more}. "
        f"Please {' or '.join(ways) or 'name its whole lineage'}."
    )


def _unknown(taxonomy: "Taxonomy", name: str, wanted: str, ranks: Sequence[str]) -> str:
    known = sum(taxonomy.num_labels(rank) for rank in ranks)
    common = " or common names" if taxonomy.common_names else ""
    hints = suggestions(taxonomy, wanted, ranks)
    hint = f" Did you mean {' or '.join(map(repr, hints))}?" if hints else ""
    at = f" at rank {ranks[0]!r}" if len(ranks) == 1 else ""
    return (
        f"unknown taxon {name!r}{at}: none of the {known} names{common} has it.{hint} "
        "Expected a name such as 'Accipiter nisus', or a lineage with slashes from "
        f"{taxonomy.ranks[0]} down."
    )
