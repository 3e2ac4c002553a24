"""Common (vernacular) names of taxa: their languages, and which one is shown.

A taxon has one common name, and several taxa may share one: there are many robins.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from absl import logging

from hiercam_keras import wording
from hiercam_keras.taxonomy.lineage import Lineage, full_name, spelled
from hiercam_keras.taxonomy.rank_columns import level

Key = TypeVar("Key", bound=Hashable)
LANGUAGE = "eng"  # where none is chosen
_SHOWN = 5  # languages that a message lists

# ISO 639-3, 639-1 and 639-2/B codes of a language, its English name, and its own name
# where that is in Latin letters. Others match as they are written.
_LANGUAGES = """
afr af afrikaans|ara ar arabic|bul bg bulgarian|cat ca catalan català
ces cs cze czech čeština|cym cy wel welsh cymraeg|dan da danish dansk
deu de ger german deutsch|ell el gre greek|eng en english|est et estonian eesti
eus eu baq basque euskara|fas fa per persian|fin fi finnish suomi
fra fr fre french français francais|gle ga irish gaeilge|glg gl galician galego
heb he hebrew|hin hi hindi|hrv hr croatian hrvatski|hun hu hungarian magyar
ind id indonesian|isl is ice icelandic íslenska|ita it italian italiano
jpn ja japanese|kor ko korean|lav lv latvian latviešu|lit lt lithuanian lietuvių
msa ms may malay|nld nl dut dutch nederlands
nor no nob nb nno nn norwegian norsk|pol pl polish polski
por pt portuguese português portugues|ron ro rum romanian română|rus ru russian
slk sk slo slovak slovenčina|slv sl slovenian slovenščina
spa es spanish español espanol castellano|srp sr serbian|swa sw swahili kiswahili
swe sv swedish svenska|tha th thai|tur tr turkish türkçe|ukr uk ukrainian
vie vi vietnamese|zho zh chi chinese
"""
_CODES = {
    word: words.split()[0]
    for words in _LANGUAGES.replace("\n", "|").split("|")
    for word in words.split()
}
_SHORT = 3  # letters of a code at most, which alone may have another meaning
_AMBIGUOUS = ("id", "no")  # "name_id" holds identifiers, "name no" numbers
_SEPARATORS = re.compile(r"[\s_\-()\[\]:.]+")
_HEAD = re.compile(r"(?:common|vernacular) ?names?\b *(.*)")
_NAME = ("name", "names")
# "com name" is a column of eBird.
_KINDS = frozenset(("common", "com", "vernacular", "local", "trivial", "popular"))
_REMARKS = frozenset(("preferred", "primary", *_KINDS, *_NAME))


class CommonName(NamedTuple):
    """A common name as a data set has it.

    Attributes:
      name: such as "grey heron".
      language: a code or name; "" if it is not stated.
      preferred: whether the data set prefers it to others of the language.
    """

    name: str
    language: str = ""
    preferred: bool = False


def language_code(text: str) -> str:
    """One code for all that name a language: "eng" for en, en-GB, eng and English."""
    words = text.casefold().replace("_", "-").split("-")
    return _CODES.get(words[0].strip(), words[0].strip())


def column_language(column: str) -> str | None:
    """The language of a column's common names, by the name of the column.

    Such columns are "common_name", "vernacularName", "com name", "local_names", with a
    language or not ("common_name_nl"), and a language with or without the word name:
    "english", "English name", "name_en".

    Returns:
      A code of `language_code`; "" if the column has no language; None if its name is
      not one of common names.
    """
    spaced = " ".join(_SEPARATORS.sub(" ", column.casefold()).split())
    if head := _HEAD.match(spaced):
        return language_code(head[1])
    words = spaced.split()
    if words[1:2] and words[1] in _NAME and len(words[0]) > _SHORT:
        words = words[:2] if words[0] in _CODES else words  # "english name avilist"
    tongues = [word for word in words if word in _CODES and word not in _REMARKS]
    if len(tongues) > 1 or {*words} - {*tongues} - _REMARKS:
        return None
    if any(word in _NAME for word in words):
        named = len(tongues) == 1 and tongues[0] not in _AMBIGUOUS
        if named or not _KINDS.isdisjoint(words):
            return language_code("".join(tongues))
        return None
    is_alone = words == tongues and len(spaced) > _SHORT
    return _CODES[tongues[0]] if is_alone else None


def chosen_column(columns: Iterable[str], language: str) -> str | None:
    """The column of common names in a language, else the first without a language.

    Args:
      columns: names of a table.
      language: see `language_code`.
    """
    tongues = {one: column_language(one) for one in columns}
    wanted = language_code(language)
    found = [one for one, tongue in tongues.items() if tongue == wanted]
    found += [one for one, tongue in tongues.items() if tongue == ""]
    return next(iter(found), None)


def are_names(
    rows: Iterable[Mapping[str, str]], ranks: Sequence[str], column: str
) -> bool:
    """Whether each finest taxon of a table has one value of a column at most.

    Otherwise the values divide the taxa, as those of a finer rank do. False without
    ranks.

    Args:
      rows: cells by column.
      ranks: columns of the taxa.
      column: that may have common names.
    """
    seen: dict[tuple[str, ...], str] = {}
    return bool(ranks) and all(
        seen.setdefault(tuple(cells[rank] for rank in ranks), cells[column])
        == cells[column]
        for cells in rows
        if cells[column]
    )


class Collected(Generic[Key]):
    """The common names that the rows of a data set give to its taxa.

    Args:
      language: that is shown; see `language_code`.
    """

    def __init__(self, language: str):
        self._wanted = language_code(language)
        self._counts: dict[Key, Counter[CommonName]] = defaultdict(Counter)

    def add(self, key: Key, *names: CommonName) -> None:
        """Adds names of the taxon with this key; empty ones do not count."""
        for one in names:
            name = " ".join("".join(map(_printable, one.name)).split())
            if name:
                self._counts[key][one._replace(name=name)] += 1

    def chosen(self, place: str) -> dict[Key, str]:
        """The name of each taxon in the language; logs if there are only other ones.

        Names without a language count if there is none in it. Of several a preferred
        one is chosen, then the most frequent, then the first in the alphabet.

        Args:
          place: of the data set, for messages.
        """
        found = {}
        for key, counts in self._counts.items():
            own = [one for one in counts if language_code(one.language) == self._wanted]
            own = own or [one for one in counts if not one.language]
            if own:
                best = min(own, key=lambda one: _order(one, counts))  # noqa: B023
                found[key] = best.name
        if self._counts and not found:
            others = Counter(
                one.language for counts in self._counts.values() for one in counts
            )
            shown = ", ".join(name for name, _ in others.most_common(_SHOWN))
            logging.warning(
                "%s has no common names in the language %r, but in %s: choose one with "
                "--config.data.language",
                place,
                self._wanted,
                shown,
            )
        elif found:
            taxa = wording.count(len(found), "taxon")
            logging.info("%s: common names of %s", place, taxa)
        return found


class Taxon(NamedTuple):
    """A taxon by its scientific name; `rank` is "" if it is not stated."""

    name: str
    rank: str = ""


def of_lineages(
    lineages: Iterable[Lineage], by_taxon: Mapping[Taxon, str]
) -> dict[tuple[str, ...], str]:
    """The common names of the taxa of some lineages, by lineage prefix.

    Taxa are matched by whole name ("Ardea cinerea", never the epithet). A name of two
    taxa of one rank (homonyms) does not say which it is, and is left out.

    Args:
      lineages: of the images.
      by_taxon: common name by scientific name.
    """
    wanted = {
        (spelled(taxon.name), _meaning(taxon.rank)): common
        for taxon, common in by_taxon.items()
    }
    places: dict[tuple, set[tuple[str, ...]]] = defaultdict(set)
    for lineage in dict.fromkeys(lineages):
        for depth, rank in enumerate(lineage.ranks, start=1):
            prefix = lineage.taxa[:depth]
            if not prefix[-1]:
                continue
            name = spelled(full_name(prefix, lineage.ranks))
            for key in ((name, _meaning(rank)), (name, "")):
                if key in wanted:
                    places[(*key, depth)].add(prefix)
                    break
    return {
        next(iter(prefixes)): wanted[key[:2]]
        for key, prefixes in places.items()
        if len(prefixes) == 1
    }


def by_taxon(
    names: Mapping[tuple[str, ...], str], ranks: Sequence[str]
) -> dict[Taxon, str]:
    """Common names by scientific name, of those by lineage prefix."""
    ranks = tuple(ranks)
    return {
        Taxon(full_name(prefix, ranks), ranks[len(prefix) - 1]): name
        for prefix, name in names.items()
    }


def titled(name: str, common: str) -> str:
    """A scientific name with a common name in brackets; without one the name alone."""
    same = spelled(common) == spelled(name)
    return f"{name} ({common})" if common and not same else name


def _meaning(rank: str) -> int | str:
    depth = level(rank)
    return spelled(rank) if depth is None else depth


def _order(one: CommonName, counts: Counter[CommonName]) -> tuple:
    return not one.preferred, -counts[one], one.name


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else " "
