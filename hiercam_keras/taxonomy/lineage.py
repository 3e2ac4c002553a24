"""The lineage of a class, its names, and parsing from iNaturalist folder names."""

import dataclasses
import unicodedata

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS, check_ranks, rank_depth

_FIELDS = ("id", *DEFAULT_RANKS[:-1], "epithet")
MISSING = ""  # in place of a taxon
OTHER = "other"  # the taxon at every rank of classes without a lineage
UNNAMED = " sp."  # end of the name of an unknown taxon
# Columns that hold only the last part of a name; includes Darwin Core terms.
_EPITHETS = {
    "epithet": "species",
    "specificepithet": "species",
    "infraspecificepithet": "subspecies",
}


def unnamed_below(taxon: str) -> str:
    """Name of an unknown taxon below `taxon`: "Corvidae sp." for "Corvidae"."""
    return taxon if taxon.endswith(UNNAMED) else f"{taxon}{UNNAMED}"


def named(taxon: str) -> str:
    """The taxon that is named: "Corvidae" for "Corvidae sp.", "" for `OTHER`."""
    return "" if taxon == OTHER else taxon.removesuffix(UNNAMED)


@dataclasses.dataclass(frozen=True)
class Lineage:
    """The taxa of one class from the coarsest rank to the finest.

    Names are normalized to Unicode NFC, as file systems return different forms, and are
    otherwise unchanged. A rank may have no taxon (MISSING): between two taxa it is a
    gap, a rank that this branch of the tree does not have; below the last taxon the
    object is not identified further.

    Attributes:
      taxa: one name for each rank, coarse to fine, or MISSING; a species is its epithet
        alone.
      ranks: names of the ranks, in lower case.
      class_id: id of the class in its source, or None. Never used as a label.

    Raises:
      UserError: the numbers of taxa and ranks differ, there is no taxon at all, a name
        is blank or has control characters or bytes that are not UTF-8, or a rank occurs
        twice.
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
            if taxon != MISSING:
                _check_name(taxon, rank, taxa)
        if not any(taxa):
            raise UserError(
                f"a lineage has no taxon at any of {', '.join(ranks)}: expected one. "
                "Fill one in, or leave that class out."
            )
        object.__setattr__(self, "taxa", taxa)
        object.__setattr__(self, "ranks", ranks)

    @property
    def finest(self) -> str:
        """The finest rank with a taxon."""
        taxa = zip(self.ranks, self.taxa, strict=True)
        return [rank for rank, taxon in taxa if taxon != MISSING][-1]

    @property
    def path(self) -> str:
        """The taxa with slashes, down to the finest one; empty between two at a gap."""
        return "/".join(self.prefix(self.finest))

    @property
    def is_partial(self) -> bool:
        """Whether the object is not identified to the finest rank."""
        return self.taxa[-1] == MISSING

    def has(self, rank: str) -> bool:
        """Whether there is a taxon at `rank`."""
        return self.prefix(rank)[-1] != MISSING

    def prefix(self, rank: str) -> tuple[str, ...]:
        """The taxa from the coarsest rank to `rank`, which identify a class there."""
        return self.taxa[: rank_depth(rank, self.ranks)]

    def display_name(self, rank: str) -> str:
        """Display name of the taxon at `rank`, binomial for a species; "" for none."""
        return display_name(self.prefix(rank), self.ranks)


def spelled(name: str) -> str:
    """Normalizes a name for comparison.

    Letter case, repeated blanks, underscores and the Unicode form do not matter.
    """
    name = unicodedata.normalize("NFC", name)  # macOS returns folder names in NFD
    return " ".join(name.replace("_", " ").casefold().split())


def display_name(prefix: tuple[str, ...], ranks: tuple[str, ...]) -> str:
    """Display name of the last taxon of a lineage prefix; not always unique.

    It is "" where the last taxon is missing. A species is named by genus and epithet, a
    subspecies by genus, species and epithet. Names that already contain the genus are
    unchanged, as are placeholders ("Corvidae sp.", "other").
    """
    own = prefix[-1]
    if own == MISSING or own.endswith(UNNAMED) or set(prefix) == {OTHER}:
        return own
    named = dict(zip(ranks, prefix, strict=False))
    last = ranks[len(prefix) - 1]
    if last not in ("species", "subspecies"):
        return own
    for above in ("species", "genus") if last == "subspecies" else ("genus",):
        head = named.get(above)
        if head and not own.startswith(head + " "):
            own = f"{head} {own}"
    return own


def full_name(prefix: tuple[str, ...], ranks: tuple[str, ...]) -> str:
    """Name of a taxon independent of its source: the binomial for a species.

    A name that contains a blank is taken as complete at any rank, as in a column
    `scientific name`. Underscores count as blanks.
    """
    own = prefix[-1].replace("_", " ")
    ranks = tuple(_EPITHETS.get(rank, rank) for rank in ranks)
    return own if " " in own else display_name(prefix, ranks)


def is_inat(name: str) -> bool:
    """Whether `parse_class_name` accepts the text as an iNaturalist folder name."""
    try:
        parse_class_name(name)
    except UserError:
        return False
    return True


def parse_class_name(name: str, partial: bool = False) -> Lineage:
    """Parses the lineage of an iNaturalist folder name.

    Args:
      name: "{id}_{Kingdom}_{Phylum}_{Class}_{Order}_{Family}_{Genus}_{epithet}".
      partial: whether the last fields may be missing or empty.

    Raises:
      UserError: the name does not have 8 fields, or has an empty field or no id.
    """
    fields = name.split("_")
    num_taxa = len(fields) - 1
    if partial and 0 < num_taxa < len(_FIELDS):
        while num_taxa > 1 and not fields[num_taxa].strip():
            num_taxa -= 1
        fields = fields[: num_taxa + 1] + [MISSING] * (len(DEFAULT_RANKS) - num_taxa)
    expected = f"expected {len(_FIELDS)} ({', '.join(_FIELDS)})"
    remedy = "Rename it, or point --data_dir at the folder above."
    if len(fields) != len(_FIELDS):
        count = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
        raise UserError(f"folder {name!r} has {count}, {expected}. {remedy}")
    for field, label in zip(fields, _FIELDS, strict=True):
        if not field.strip() and not (partial and label in _FIELDS[num_taxa + 1 :]):
            raise UserError(f"folder {name!r} has no {label}, {expected}. {remedy}")
    # A subspecies without an id also has 8 fields; its ranks would be off by one.
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
    """Raises UserError for names that cannot be written as a line of UTF-8 text."""
    if not taxon.strip():
        raise UserError(
            f"lineage {'/'.join(taxa)!r} has a blank {rank}: expected a name. Fill it "
            "in, or leave that class out."
        )
    # Cc: control characters; Cs: surrogates, from bytes that are not UTF-8.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in taxon):
        raise UserError(
            f"{rank} {taxon!r} holds a control character or is not UTF-8. Rename it."
        )
