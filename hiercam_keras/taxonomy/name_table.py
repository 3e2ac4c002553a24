"""Tables that give whole names of taxa a lineage in another taxonomy.

    name,order,family,genus,species
    Accipiter badius,Accipitriformes,Accipitridae,Tachyspiza,badia
    Bubulcus ibis,Pelecaniformes,Ardeidae,Ardea,ibis
    Bubulcus ibis,Pelecaniformes,Ardeidae,Ardea,coromanda

`name` is the whole name in the data or the model, and the columns with names of ranks
are its taxa now. Names are never looked up by parts of them: an epithet occurs in
several genera. A name of several rows was split: it is one taxon that is called by the
first row, "Ardea ibis s.l." (sensu lato). Two names with one lineage were lumped. A
cell is empty where a taxon has no such rank. A parent-child table (`checklist`) is
read, too.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from hiercam_keras import csv_files, file_names
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import checklist, source
from hiercam_keras.taxonomy.common_names import LANGUAGE, chosen_column
from hiercam_keras.taxonomy.lineage import MISSING, Lineage, full_name, spelled
from hiercam_keras.taxonomy.rank_columns import level
from hiercam_keras.taxonomy.ranks import check_rank
from hiercam_keras.taxonomy.source import TaxonomySource

AVILIST = "avilist2025"  # the table that comes with the package
_OWN = {AVILIST: "inat2021_birds_avilist2025.csv"}
_NAMES = ("name", "scientific name", "scientificname")
_RANK_NAMES = ("scientific name", "scientificname")  # `level` has them as species
BROAD = " s.l."  # ends the name of a taxon that was split


class Entry(NamedTuple):
    """What a table says of a name.

    Attributes:
      lineage: of the name.
      parts: lineages of what it was split into; empty if it was not.
    """

    lineage: Lineage
    parts: tuple[Lineage, ...] = ()


class NameTable:
    """Lineages by whole name.

    Args:
      path: of the file, for messages.
      about: the taxonomy that the lineages are of.
      ranks: of the lineages, coarse to fine.
      entries: by name.
      checklist: of a parent-child table, which knows more names than `entries`.
      common_names: by lineage prefix; not of taxa that were split.

    Attributes:
      path, about, ranks, common_names: as given.
      digest: SHA-256 of the file, the first 16 hexadecimal digits.
    """

    def __init__(
        self,
        path: Path,
        about: TaxonomySource,
        ranks: Sequence[str],
        entries: dict[str, Entry],
        checklist: checklist.Checklist | None = None,
        common_names: Mapping[tuple[str, ...], str] | None = None,
    ):
        self.path = path
        self.common_names = dict(common_names or {})
        self.about = about
        self.ranks = tuple(ranks)
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self._checklist = checklist
        self._entries = {spelled(name): entry for name, entry in entries.items()}
        self._new: dict[str, set[Lineage]] = defaultdict(set)
        for entry in entries.values():
            for lineage in (entry.lineage, *entry.parts):
                self._new[spelled(name_of(lineage))].add(entry.lineage)
        self._taxa: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
        for entry in entries.values():
            for rank in self.ranks:
                if entry.lineage.has(rank):
                    prefix = entry.lineage.prefix(rank)
                    name = full_name(prefix, self.ranks)
                    self._taxa[rank, spelled(name)].add(prefix)

    def __repr__(self) -> str:
        return f"<NameTable {self.path}: {self.about}, {len(self._entries)} names>"

    @property
    def name(self) -> str:
        """Name of the table, for folders of results."""
        return self.path.stem

    def find(self, name: str) -> Entry | None:
        """What the table says of a whole name; None if it has no such name.

        A name that the table gives as the new one, of a taxon or of a part of it, is
        found, too, if it is of one taxon.

        Raises:
          UserError: several taxa of a parent-child table have the name.
        """
        key = spelled(name)
        if key in self._entries:
            return self._entries[key]
        if self._checklist is not None:
            found = self._checklist.find(name)
            lineage = found and self._checklist.lineage(found, self.ranks)
            return Entry(lineage) if lineage else None
        new = self._new.get(key, ())
        return Entry(next(iter(new))) if len(new) == 1 else None

    def taxon(self, name: str, rank: str) -> Lineage | None:
        """The lineage down to the taxon of a name at a rank, such as a genus.

        None if there is none among the lineages of the table, or several.
        """
        prefixes = self._taxa.get((rank, spelled(name)), ())
        if len(prefixes) != 1:
            return None
        return shortened(next(iter(prefixes)), self.ranks)

    def of_genus(self, genus: str) -> list[Lineage]:
        """Lineages of the names that begin with a genus."""
        head = f"{spelled(genus)} "
        found = self._entries.items()
        return [entry.lineage for name, entry in found if name.startswith(head)]


def name_of(lineage: Lineage) -> str:
    """The whole name of the finest taxon of a lineage; a binomial for a species."""
    return full_name(lineage.prefix(lineage.finest), lineage.ranks)


def shortened(prefix: Sequence[str], ranks: Sequence[str]) -> Lineage:
    """The lineage of a taxon by its prefix, not identified further."""
    missing = (MISSING,) * (len(ranks) - len(prefix))
    return Lineage((*prefix, *missing), tuple(ranks))


def path_of(named: str) -> Path | None:
    """The file of a table: a path, or the name of one that comes with the package;
    None if there is no such file."""
    path = Path(named).expanduser()
    if path.is_file():
        return path
    if named in _OWN:
        return Path(str(resources.files("hiercam_keras") / "assets" / _OWN[named]))
    return None


def find(named: str) -> Path:
    """`path_of` a table.

    Raises:
      UserError: there is no such file.
    """
    path = path_of(named)
    if path is not None:
        return path
    raise UserError(
        f"the table of a taxonomy {file_names.in_full(named)} does not exist. Expected "
        "a CSV with a column name and one for each rank, a table with taxon, parent "
        f"and rank, or the name of one that comes with the program ({', '.join(_OWN)})."
    )


def read(named: str, names: Iterable[str] = (), ranks: Sequence[str] = ()) -> NameTable:
    """Reads a table of names, or a parent-child table.

    Args:
      named: see `find`.
      names: of the data; those of a parent-child table that count for its ranks.
      ranks: to use, in any order; empty: all that the table (of the names) has.

    Raises:
      UserError: the table cannot be read, has no column of names or of ranks, lacks one
        of `ranks`, or a row has no name or no taxon.
    """
    path = find(named)
    about = source.of_table(path)
    with_header = csv_files.read_header(path)
    if checklist.columns_of(with_header) is not None:
        return _of_checklist(path, about, names, ranks)
    table = csv_files.read(path)
    key = next(iter(table.find(_NAMES)), None)
    known = [
        column
        for column in table.columns
        if column != key and level(column) is not None and column not in _RANK_NAMES
    ]
    if key is None or not known:
        raise UserError(
            f"{path} has the columns {', '.join(table.columns)}: expected name (the "
            "whole name in the data) and one for each rank, as in "
            "name,order,family,genus,species; or taxon,parent,rank."
        )
    used = _chosen(ranks, sorted(known, key=level), path)
    common = chosen_column((one for one in table.columns if one != key), LANGUAGE)
    common_names: dict[tuple[str, ...], str] = {}
    rows: dict[str, list[Lineage]] = {}
    spellings: dict[str, str] = {}
    for line, cells in table.rows():
        if not cells[key]:
            raise UserError(
                f"{path}, line {line}: the column {key!r} is empty. Fill it in, or "
                "drop the row."
            )
        try:
            lineage = Lineage(tuple(cells[rank] or MISSING for rank in used), used)
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
        name = spellings.setdefault(spelled(cells[key]), cells[key])
        found = rows.setdefault(name, [])
        if lineage not in found:
            found.append(lineage)
        if common is not None and cells[common]:
            common_names.setdefault(lineage.prefix(lineage.finest), cells[common])
    if not rows:
        raise UserError(f"{path} has a header, but no rows: one row a name.")
    entries = {name: _entry(name, lineages) for name, lineages in rows.items()}
    return NameTable(path, about, used, entries, common_names=common_names)


def _of_checklist(
    path: Path, about: TaxonomySource, names: Iterable[str], ranks: Sequence[str]
) -> NameTable:
    taxa = checklist.read(path)
    keys = {name: key for name in names if (key := taxa.find(name)) is not None}
    if not keys and not ranks:
        raise UserError(
            f"{path} has {len(taxa)} taxa, and none of the names of the data. Expected "
            "whole names in both, such as Accipiter nisus."
        )
    used = _chosen(ranks, taxa.ranks if ranks else taxa.ranks_of(keys.values()), path)
    found = {name: taxa.lineage(key, used) for name, key in keys.items()}
    entries = {name: Entry(one) for name, one in found.items() if one is not None}
    return NameTable(path, about, used, entries, taxa)


def _chosen(wanted: Sequence[str], known: Sequence[str], path: Path) -> tuple[str, ...]:
    try:
        chosen = {check_rank(rank, known) for rank in wanted}
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return tuple(rank for rank in known if not wanted or rank in chosen)


def _entry(name: str, lineages: Sequence[Lineage]) -> Entry:
    """The entry of a name with one row, or with one for each of its parts."""
    first, *others = lineages
    if not others:
        return Entry(first)
    ranks, depth = first.ranks, 0
    columns = zip(*(one.taxa for one in lineages), strict=True)
    for taxa in columns:
        if len(set(taxa)) > 1:
            break
        depth += 1
    shared = list(first.taxa[:depth])
    if any(one.is_partial for one in lineages):
        while shared and not shared[-1]:
            shared.pop()
        if not shared:
            raise UserError(
                f"the rows of {name!r} have no taxon in common: {first.path} and "
                f"{others[0].path}. The parts of a taxon that was split are "
                "below one taxon."
            )
        return Entry(shortened(shared, ranks), tuple(lineages))
    gap = (MISSING,) * (len(ranks) - 1 - depth)
    own = first.display_name(ranks[-1]) if not gap else name
    taxa = (*shared[: len(ranks) - 1], *gap, f"{own}{BROAD}")
    return Entry(Lineage(taxa, ranks), tuple(lineages))
