"""Restricts a network to some of its taxa, such as those of a region.

Labels outside are left out of the softmax, so marginals, steps, paths and maps are
those of a network whose head lacks them.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import matching
from hiercam_keras.taxonomy.label_table import read_taxa
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.naming import UnknownTaxonError, suggestions
from hiercam_keras.taxonomy.tree import Taxonomy

_SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class AllowedTaxa:
    """Taxa that an answer may be of; each with all its descendants.

    Attributes:
      source: name of the list in messages: a path, or the names themselves.
      taxa: names, or lineages down to the rank of the taxon.
      table: the file that they are from; None for names.
    """

    source: str
    taxa: tuple[str | Lineage, ...]
    table: Path | None = None

    @property
    def name(self) -> str:
        """A name for files: the names, or that of the table with a digest of its taxa,
        which does not depend on the table's place."""
        if self.table is None:
            return self.source
        taxa = "\n".join("/".join(getattr(one, "taxa", [one])) for one in self.taxa)
        return f"{self.table.stem}-{hashlib.sha256(taxa.encode()).hexdigest()[:6]}"

    def of(self, taxonomy: Taxonomy, quiet: bool = False) -> "Restriction":
        """The restriction of a taxonomy.

        Names that it does not have are logged, unless `quiet`.

        Raises:
          UserError: the taxonomy has none of the taxa, only one label is left, or a
            name may be of several taxa.
        """
        kept = np.zeros(taxonomy.num_labels(taxonomy.finest), bool)
        unknown = []
        for taxon in self.taxa:
            try:
                rank, label = _find(taxonomy, taxon)
            except _Unknown as error:
                unknown.append(str(error))
                continue
            kept[taxonomy.descendants(rank, label, taxonomy.finest)] = True
        listed = "; ".join(unknown[:_SHOWN])
        if not kept.any():
            raise UserError(
                f"--allowed_taxa={self.source}: the network knows none of "
                f"{wording.count(len(self.taxa), 'taxon')}: {listed}. Its "
                f"ranks are {', '.join(taxonomy.ranks)}, and a {taxonomy.finest} is "
                f"{taxonomy.names(taxonomy.finest)[0]!r}."
            )
        if unknown and not quiet:
            more = f"; and {len(unknown) - _SHOWN} more" * (len(unknown) > _SHOWN)
            logging.warning(
                "--allowed_taxa=%s: the network does not know %d of %d taxa: %s%s",
                self.source,
                len(unknown),
                len(self.taxa),
                listed,
                more,
            )
        return Restriction(taxonomy, kept)


class Restriction:
    """The part of a taxonomy that is allowed.

    Args:
      whole: taxonomy of the network.
      kept: bool, whether each label of the finest rank is allowed.

    Attributes:
      whole: the taxonomy of the network.
      taxonomy: of the allowed labels alone.
    """

    def __init__(self, whole: Taxonomy, kept: np.ndarray):
        self.whole = whole
        allowed = [
            lineage
            for lineage, is_kept in zip(whole.lineages, kept, strict=True)
            if is_kept
        ]
        found = Taxonomy(allowed, whole.source)
        self.taxonomy = found.with_common_names(whole.common_names)

    def labels(self, rank: str) -> np.ndarray:
        """The new label of each label of the whole at `rank`: int32, -1 outside."""
        place = {prefix: i for i, prefix in enumerate(self.taxonomy.prefixes(rank))}
        return np.array(
            [place.get(prefix, -1) for prefix in self.whole.prefixes(rank)], np.int32
        )

    def check(self, rank: str) -> None:
        """A UserError where a network with labels at `rank` has no choice left."""
        if self.taxonomy.num_labels(rank) > 1:
            return
        raise UserError(
            "--allowed_taxa leaves one label of the network, "
            f"{self.taxonomy.names(rank)[0]} ({rank}), so each answer would be it. "
            "Allow other taxa."
        )


def read(asked: "str | os.PathLike | Sequence[str | Lineage] | AllowedTaxa"):
    """Reads a list of allowed taxa.

    Args:
      asked: the path of a table (a column for each rank, or one of names); names with
        commas between them, "Insecta,Aves"; or a sequence of names and lineages.

    Returns:
      An `AllowedTaxa`.

    Raises:
      UserError: the table cannot be read, or there is no taxon.
    """
    if isinstance(asked, AllowedTaxa):
        return asked
    if isinstance(asked, (str, os.PathLike)):
        path = Path(asked)
        # A taxon may have the name of a folder here.
        is_path = isinstance(asked, os.PathLike) or os.path.basename(asked) != asked
        if is_path and path.is_dir():
            raise UserError(
                f"--allowed_taxa={asked} is a folder. Expected names with commas "
                "between them, or the path of a table with one taxon a row."
            )
        if path.suffix.lower() in (".csv", ".tsv", ".txt") or path.is_file():
            taxa = dict.fromkeys(lineage for lineage, _ in read_taxa(path))
            return AllowedTaxa(str(asked), tuple(taxa), path)
        asked = str(asked).split(",")
    listed = isinstance(asked, Collection)
    if not listed or not all(isinstance(one, str | Lineage) for one in asked):
        raise UserError(
            f"allowed_taxa is {asked!r}, expected names or lineages in a list, names "
            "with commas between them, or the path of a table."
        )
    taxa = [one.strip() if isinstance(one, str) else one for one in asked]
    taxa = [one for one in dict.fromkeys(taxa) if one]
    if not taxa:
        raise UserError(
            "--allowed_taxa is empty, expected names as in --allowed_taxa=Insecta,Aves "
            "or the path of a table."
        )
    shown = [one if isinstance(one, str) else "/".join(one.taxa) for one in taxa]
    return AllowedTaxa(",".join(shown), tuple(taxa))


class _Unknown(Exception):
    """A taxon that a taxonomy does not have; the message says which."""


def _find(taxonomy: Taxonomy, taxon: str | Lineage) -> tuple[str, int]:
    """(rank, label) of a taxon; raises _Unknown or a UserError."""
    if isinstance(taxon, str):
        try:
            return taxonomy.find(taxon)
        except UnknownTaxonError:
            raise _Unknown(_with_hint(taxonomy, taxon)) from None
    labels, doubts = matching.find(taxonomy, taxon)
    if max(labels.values()) < 0 and not doubts and len(taxon.taxa) == 1:
        try:  # a table of common names
            return taxonomy.find(taxon.taxa[0])
        except UnknownTaxonError:
            pass
    for doubt in doubts:
        logging.warning("--allowed_taxa: %s", doubt)
    known = [rank for rank, label in labels.items() if label >= 0]
    theirs = matching.common_ranks(taxonomy, taxon)
    # A species of a known genus is not allowed by its genus.
    wanted = [rank for rank, their in theirs.items() if their == taxon.ranks[-1]]
    if not known or (wanted and labels[wanted[0]] < 0):
        name = taxon.display_name(taxon.ranks[-1])
        raise _Unknown(_with_hint(taxonomy, name))
    return known[-1], labels[known[-1]]


def _with_hint(taxonomy: Taxonomy, name: str) -> str:
    hints = suggestions(taxonomy, name)
    return f"{name} (near: {', '.join(hints)})" if hints else name
