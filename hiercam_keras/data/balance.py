"""How far a split with groups is from the wanted fractions, overall and by species."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hiercam_keras import tables, wording
from hiercam_keras.data import dealing
from hiercam_keras.data.records import Record
from hiercam_keras.data.splits import NAMES, Split

HEADER = ("taxon", "images", "groups", *NAMES, "deviation")


@dataclass(frozen=True)
class Row:
    """One species, or all of them.

    Attributes:
      taxa: its lineage; () for all images.
      name: for messages, the binomial of a species.
      groups: number of groups; an image without one counts as a group.
      images: by part, in the order of `NAMES`.
      deviation: largest difference of a part's share from its fraction, 0 .. 1.
    """

    taxa: tuple[str, ...]
    name: str
    groups: int
    images: tuple[int, int, int]
    deviation: float

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the images, by part."""
        total = sum(self.images)
        return tuple(count / total for count in self.images)

    @property
    def counted(self) -> str:
        """Its images and groups in words."""
        images = wording.count(sum(self.images), "image")
        return f"{images} in {wording.count(self.groups, 'group')}"

    @property
    def cells(self) -> list:
        """The row of `HEADER`."""
        name = "/".join(self.taxa) or "all"
        return [name, sum(self.images), self.groups, *self.images, self.deviation]


@dataclass(frozen=True)
class Balance:
    """The species sorted by lineage, and all images together."""

    whole: Row
    species: tuple[Row, ...]
    fractions: tuple[float, ...]
    rank: str

    @property
    def worst(self) -> Row:
        """The species with the largest deviation."""
        return max(self.species, key=lambda row: row.deviation)

    @property
    def single(self) -> list[str]:
        """Names of the species that are in one group each."""
        return [row.name for row in self._single()]

    def _single(self) -> list[Row]:
        return [row for row in self.species if row.groups == 1]

    def sentence(self) -> str:
        """What became of the fractions."""
        whole, worst = self.whole, self.worst
        species = wording.count(len(self.species), self.rank)
        return (
            f"train, val and test have {_shown(whole.shares)} of {whole.counted} "
            f"(wanted: {_shown(self.fractions)}); of {species} {worst.name} is "
            f"farthest from that, with {_shown(worst.shares)} of {worst.counted}"
        )

    def save(self, path: Path) -> None:
        """Writes a table with a row for all images and one for each species."""
        rows = [row.cells for row in (self.whole, *self.species)]
        tables.write_csv(path, HEADER, rows)


def of(
    records: Sequence[Record],
    split: Split,
    groups: Mapping[str, str],
    fractions: Sequence[float],
) -> Balance:
    """The balance of a split.

    Args:
      records: N images of the split.
      split: of them; its calibration part counts as val.
      groups: example_id -> group; any other image is its own group.
      fractions: that were wanted.
    """
    place = {one: at for at, name in enumerate(NAMES) for one in getattr(split, name)}
    # Of the images that the fractions gave to val, some were kept apart afterwards.
    place |= dict.fromkeys(split.calibration, NAMES.index("val"))
    by_species = defaultdict(list)
    for record in records:
        by_species[dealing.species(record)].append(record)
    rows = [
        _row(taxa, by_species[taxa], place, groups, fractions)
        for taxa in sorted(by_species)
    ]
    whole = _row((), records, place, groups, fractions)
    ranks = {record.lineage.finest for record in records if record.lineage}
    rank = ranks.pop() if len(ranks) == 1 else "taxon"
    return Balance(whole, tuple(rows), tuple(fractions), rank)


def _row(
    taxa: tuple[str, ...],
    records: Sequence[Record],
    place: Mapping[str, int],
    groups: Mapping[str, str],
    fractions: Sequence[float],
) -> Row:
    ids = [record.example_id for record in records]
    count = Counter(place[one] for one in ids if one in place)
    images = tuple(count[at] for at in range(len(NAMES)))
    # A pair keeps an image without a group apart from a group of its name.
    found = {(one not in groups, groups.get(one, one)) for one in ids}
    total = sum(images) or 1
    deviation = max(
        abs(n / total - wanted) for n, wanted in zip(images, fractions, strict=True)
    )
    lineage = records[0].lineage if taxa else None
    name = "unknown" if lineage is None else lineage.display_name(lineage.finest)
    return Row(taxa, name, len(found), images, deviation)


def _shown(shares: Iterable[float]) -> str:
    return ", ".join(f"{share:.3f}" for share in shares)
