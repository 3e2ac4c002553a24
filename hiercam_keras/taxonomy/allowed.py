"""Restricts a network to some of its taxa, such as those of a region.

Labels outside are left out of the softmax, so marginals, steps, paths and maps are
those of a network whose head lacks them.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from absl import logging

from hiercam_keras import csv_files, wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import label_table, matching
from hiercam_keras.taxonomy.former_names import FormerNames
from hiercam_keras.taxonomy.lineage import Lineage, spelled
from hiercam_keras.taxonomy.name_table import name_of
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
      now: lineages in another taxonomy of taxa that it calls otherwise.
    """

    source: str
    taxa: tuple[str | Lineage, ...]
    table: Path | None = None
    now: Mapping[str | Lineage, tuple[Lineage, ...]] = field(default_factory=dict)

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
        unknown: list[str | Lineage] = []
        for taxon in self.taxa:
            found = _found(taxonomy, (taxon, *self.now.get(taxon, ())))
            for rank, label in found:
                kept[taxonomy.descendants(rank, label, taxonomy.finest)] = True
            if not found:
                unknown.append(taxon)
        # The header of a list of taxa may be a rank that only this taxonomy has.
        unknown = [one for one in unknown if not _is_rank(taxonomy, one)]
        shown = unknown[:_SHOWN] if not (quiet and kept.any()) else []
        listed = "; ".join(_with_hint(taxonomy, one) for one in shown)
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

    def with_former_names(
        self, taxonomy: Taxonomy, former: FormerNames
    ) -> "AllowedTaxa":
        """The taxa, with what those that a taxonomy does not have are called in it.

        Args:
          taxonomy: of the answers.
          former: of a table that leads to this taxonomy.
        """
        now = {
            taxon: found
            for taxon in self.taxa
            if not _found(taxonomy, [taxon]) and (found := former.find(taxon))
        }
        if now:
            named = [
                f"{_shown(old)} ({', '.join(name_of(one) for one in new[:_SHOWN])}"
                f"{', ...' * (len(new) > _SHOWN)})"
                for old, new in now.items()
            ]
            logging.info(
                "--allowed_taxa=%s: %d of %d taxa have other names in %s: %s%s",
                self.source,
                len(now),
                len(self.taxa),
                former.about,
                "; ".join(named[:_SHOWN]),
                f"; and {len(named) - _SHOWN} more" * (len(named) > _SHOWN),
            )
        return replace(self, now=now)


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
      asked: the path of a table (a column for each rank, or one of names, which needs
        no header); names with commas between them, "Insecta,Aves", one with a comma in
        double quotes; or a sequence of names and lineages.

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
            return AllowedTaxa(str(asked), _of_table(path), path)
        asked = _split(str(asked))
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
    return AllowedTaxa(_joined(shown), tuple(taxa))


def _found(taxonomy: Taxonomy, taxa: Iterable[str | Lineage]) -> list[tuple[str, int]]:
    """(rank, label) of those of the taxa that a taxonomy has."""
    found = []
    for taxon in taxa:
        with contextlib.suppress(UnknownTaxonError):
            found.append(matching.find_taxon(taxonomy, taxon))
    return found


def _is_rank(taxonomy: Taxonomy, taxon: str | Lineage) -> bool:
    ranks = map(spelled, taxonomy.ranks)
    return isinstance(taxon, str) and spelled(taxon) in ranks


def _of_table(path: Path) -> tuple[str | Lineage, ...]:
    """The taxa of a file; one of a single column needs no header."""
    table = csv_files.read(path)
    column = table.columns[0]
    if len(table.columns) > 1 or label_table.is_header(column):
        return tuple(dict.fromkeys(one for one, _ in label_table.read_taxa(path)))
    (header,) = csv_files.read(path, exact=True).columns
    names = (cells[column] for _, cells in table.rows())
    return tuple(dict.fromkeys((header.strip(), *names)))


def _split(text: str) -> list[str]:
    """Names with commas between them; one with a comma has quotes around it."""
    if text.count('"') % 2:
        raise UserError(
            f"--allowed_taxa={text} has a quote that does not end. A name with a comma "
            "has one before and one after it: --allowed_taxa='\"Owl, barn\",Strix'."
        )
    try:
        return csv_files.split_line(text)
    except ValueError:
        return text.split(",")  # quotes are a part of a name


def _joined(names: Iterable[str]) -> str:
    """The inverse of `_split`."""
    return ",".join(map(_quoted, names))


def _quoted(name: str) -> str:
    if "," not in name and not name.startswith('"'):
        return name
    return '"' + name.replace('"', '""') + '"'


def _shown(taxon: str | Lineage) -> str:
    if isinstance(taxon, str):
        return _quoted(taxon)
    return taxon.display_name(taxon.ranks[-1])


def _with_hint(taxonomy: Taxonomy, taxon: str | Lineage) -> str:
    name = _shown(taxon)
    hints = suggestions(taxonomy, name)
    return f"{name} (near: {', '.join(map(_quoted, hints))})" if hints else name
