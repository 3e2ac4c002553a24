"""Occurrences of taxa with their pictures, as archives and exports list them."""

from collections.abc import Mapping
from typing import NamedTuple

from hiercam_keras.taxonomy.common_names import CommonName

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")


class Media(NamedTuple):
    """A picture of an occurrence.

    Attributes:
      file: URL or path.
      creator: who holds the rights; may be empty.
      licence: may be empty.
    """

    file: str
    creator: str = ""
    licence: str = ""

    @property
    def credit(self) -> str:
        """Author and licence, for a caption."""
        if self.creator and self.licence:
            return f"{self.creator} ({self.licence})"
        return self.creator or self.licence


class Occurrence(NamedTuple):
    """One observation or specimen.

    Attributes:
      number: line in the table.
      id: of the row in its archive, or of the observation.
      name: scientific name, without author where that is known.
      rank: of the name, in lower case; "" if it is not stated.
      taxa: (rank, taxon) pairs of coarser ranks that are filled.
      event: id of the event; "" if it is not stated.
      media: its pictures, as far as the table or archive names them.
      owner: Media without a file: creator and licence of the occurrence.
      absent: whether it says that the taxon was not there.
      other_ids: further ids that files may be named by.
      common_names: of the taxon.
    """

    number: int
    id: str
    name: str
    rank: str
    taxa: tuple[tuple[str, str], ...]
    event: str
    media: tuple[Media, ...]
    owner: Media
    absent: bool = False
    other_ids: tuple[str, ...] = ()
    common_names: tuple[CommonName, ...] = ()


def coarser(cells: Mapping[str, str], names: Mapping[str, str]) -> tuple:
    """The filled (rank, taxon) pairs.

    Args:
      cells: of a row.
      names: column of each rank.
    """
    pairs = ((rank, cells.get(column, "")) for rank, column in names.items())
    return tuple((rank, taxon) for rank, taxon in pairs if taxon)
