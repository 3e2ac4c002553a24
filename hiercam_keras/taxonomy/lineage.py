"""One class's place in the tree, and its parsing from a folder name."""

import dataclasses
import unicodedata

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS, check_ranks, rank_depth

_FIELDS = ("id", *DEFAULT_RANKS[:-1], "epithet")
OTHER = "other"  # the taxon, at every rank, of what has no lineage
_UNNAMED = " sp."
# Columns that hold a part of a name alone, in Darwin Core's words, too.
_EPITHETS = {
    "epithet": "species",
    "specificepithet": "species",
    "infraspecificepithet": "subspecies",
}


def unnamed_below(taxon: str) -> str:
    """What a taxon below `taxon` is called where nothing finer is known of it."""
    return taxon if taxon.endswith(_UNNAMED) else f"{taxon}{_UNNAMED}"


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The taxa of one class from the coarsest rank to the finest.

    Names are kept as they are but for Unicode: they are brought to NFC, since file
    systems differ in the form that they hand back.

    Attributes:
      taxa: one name per rank, coarse to fine; a species is its epithet alone.
      ranks: names of the ranks, as many as taxa; in lower case.
      class_id: the id of the source, when there is one. Never used as a label.

    Raises:
      UserError: numbers of taxa and ranks differ, a name is empty or not text, or a
        rank is there twice.
    """

    taxa: tuple[str, ...]
    ranks: tuple[str, ...] = DEFAULT_RANKS
    class_id: str | None = None

    def __post_init__(self):
        taxa = tuple(unicodedata.normalize("NFC", str(taxon)) for taxon in self.taxa)
        ranks = check_ranks(self.ranks)
        if len(taxa) != len(ranks):
            raise UserError(
                f"lineage {'/'.join(taxa)!r} has {len(taxa)} taxa, expected "
                f"{len(ranks)} ({', '.join(ranks)})."
            )
        for taxon, rank in zip(taxa, ranks, strict=True):
            _check_name(taxon, rank, taxa)
        object.__setattr__(self, "taxa", taxa)
        object.__setattr__(self, "ranks", ranks)

    def prefix(self, rank: str) -> tuple[str, ...]:
        """The taxa from the coarsest rank down to `rank`: the class at that rank."""
        return self.taxa[: rank_depth(rank, self.ranks)]

    def display_name(self, rank: str) -> str:
        """What people call the taxon: a species is a binomial ("Accipiter nisus")."""
        return display_name(self.prefix(rank), self.ranks)


def spelled(name: str) -> str:
    """A name as it is compared: letter case, blanks, underscores and how accents are
    encoded do not matter."""
    name = unicodedata.normalize("NFC", name)  # macOS has folders in NFD
    return " ".join(name.replace("_", " ").casefold().split())


def display_name(prefix: tuple[str, ...], ranks: tuple[str, ...]) -> str:
    """Name of the taxon at the end of a lineage prefix; not always unique.

    A species is its genus and its epithet, a subspecies its genus, species and
    epithet. A table with binomials in its species column keeps them, and so do taxa
    that have no name of their own ("Corvidae sp.", "other").
    """
    own = prefix[-1]
    if own.endswith(_UNNAMED) or set(prefix) == {OTHER}:
        return own
    named = dict(zip(ranks, prefix, strict=False))
    last = ranks[len(prefix) - 1]
    if last not in ("species", "subspecies"):
        return own
    for above in ("species", "genus") if last == "subspecies" else ("genus",):
        head = named.get(above)
        if head is not None and not own.startswith(head + " "):
            own = f"{head} {own}"
    return own


def full_name(prefix: tuple[str, ...], ranks: tuple[str, ...]) -> str:
    """The name by which a taxon is known anywhere: of a species the binomial.

    Names with a blank are complete at any rank, as in a column `scientific name`.
    """
    own = prefix[-1].replace("_", " ")
    ranks = tuple(_EPITHETS.get(rank, rank) for rank in ranks)
    return own if " " in own else display_name(prefix, ranks)


def is_inat(name: str) -> bool:
    """Whether a text is an iNaturalist folder name."""
    try:
        parse_class_name(name)
    except UserError:
        return False
    return True


def parse_class_name(name: str) -> Lineage:
    """Lineage of an iNaturalist folder name.

    Args:
      name: "{id}_{Kingdom}_{Phylum}_{Class}_{Order}_{Family}_{Genus}_{epithet}".

    Raises:
      UserError: the name has another number of fields, an empty one, or no id.
    """
    fields = name.split("_")
    expected = f"expected {len(_FIELDS)} ({', '.join(_FIELDS)})"
    remedy = "Rename it, or point --data_dir at the folder above."
    if len(fields) != len(_FIELDS):
        count = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
        raise UserError(f"folder {name!r} has {count}, {expected}. {remedy}")
    for field, label in zip(fields, _FIELDS, strict=True):
        if not field.strip():
            raise UserError(f"folder {name!r} has no {label}, {expected}. {remedy}")
    # Eight fields without an id, as of a subspecies, would shift every rank by one.
    if not any(char.isdigit() for char in fields[0]):
        raise UserError(
            f"folder {name!r} starts with {fields[0]!r}, expected an id with digits, "
            f"as in 03113_Animalia_..._gentilis. {remedy}"
        )
    try:
        return Lineage(tuple(fields[1:]), DEFAULT_RANKS, fields[0])
    except UserError as error:
        raise UserError(f"folder {name!r}: {error}") from error


def _check_name(taxon: str, rank: str, taxa: tuple[str, ...]) -> None:
    """Refuses what would break a file that is written one name a line, in UTF-8."""
    if not taxon.strip():
        raise UserError(
            f"lineage {'/'.join(taxa)!r} has an empty {rank}: every rank needs a name. "
            "Fill it in, or leave that class out."
        )
    # Cc: control characters; Cs: surrogates, from bytes that are not UTF-8.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in taxon):
        raise UserError(
            f"{rank} {taxon!r} holds a control character or is not UTF-8. Rename it."
        )
