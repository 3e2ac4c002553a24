"""Common (vernacular) names of taxa: their languages, and which one is shown.

A taxon has one common name, and several taxa may share one: there are many robins.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from absl import logging

from hiercam_keras import wording
from hiercam_keras.taxonomy.lineage import Lineage, full_name, spelled
from hiercam_keras.taxonomy.rank_columns import level

Key = TypeVar("Key", bound=Hashable)
_SHOWN = 5  # languages that a message lists

# ISO 639-3, 639-1 and 639-2/B codes and the English name of a language. Others match
# as they are written.
_LANGUAGES = """
afr af afrikaans|ara ar arabic|bul bg bulgarian|cat ca catalan|ces cs cze czech
cym cy wel welsh|dan da danish|deu de ger german|ell el gre greek|eng en english
est et estonian|eus eu baq basque|fas fa per persian|fin fi finnish|fra fr fre french
gle ga irish|glg gl galician|heb he hebrew|hin hi hindi|hrv hr croatian
hun hu hungarian|ind id indonesian|isl is ice icelandic|ita it italian|jpn ja japanese
kor ko korean|lav lv latvian|lit lt lithuanian|msa ms may malay|nld nl dut dutch
nor no nob nb nno nn norwegian|pol pl polish|por pt portuguese|ron ro rum romanian
rus ru russian|slk sk slo slovak|slv sl slovenian|spa es spanish|srp sr serbian
swa sw swahili|swe sv swedish|tha th thai|tur tr turkish|ukr uk ukrainian
vie vi vietnamese|zho zh chi chinese
"""
_CODES = {
    word: words.split()[0]
    for words in _LANGUAGES.replace("\n", "|").split("|")
    for word in words.split()
}


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
