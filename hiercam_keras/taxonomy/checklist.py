"""Reads a parent-child table of taxa: a checklist, or a part of a backbone.

    taxon,parent,rank
    Accipitridae,Accipitriformes,family
    Astur,Accipitridae,genus
    Astur gentilis,Astur,species

The columns may be those of ColDP (NameUsage: ID, parentID, rank, scientificName,
status) or of Darwin Core and the backbone of GBIF (taxonID, parentNameUsageID,
acceptedNameUsageID, taxonRank, canonicalName, scientificName, taxonomicStatus). Without
a column of ids a parent is given by its name.

A lineage has the taxa of the known ranks (`rank_columns.level`) on the way up to the
root. Taxa of other ranks (clades, "unranked") are passed over. A synonym has the
lineage of its accepted taxon.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from hiercam_keras import csv_files, wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import MISSING, Lineage, spelled
from hiercam_keras.taxonomy.rank_columns import level

_PARENT = ("parentid", "parentnameusageid", "parent")
_RANK = ("rank", "taxonrank")
# A canonical name has no author.
_NAME = ("canonicalname", "taxon", "scientificname", "name")
_ID = ("id", "taxonid")
_ACCEPTED = ("acceptednameusageid", "acceptedid")
_STATUS = ("status", "taxonomicstatus")
_SYNONYMS = ("synonym", "misapplied")  # words of a status
_SHOWN = 5  # candidates that a message lists


class Node(NamedTuple):
    """One row of the table.

    Attributes:
      name: of the taxon.
      rank: in lower case; "" if it is not stated.
      parent: key of the parent; "" for a root.
      accepted: key of the accepted taxon of a synonym; "" for an accepted taxon.
      line: number in the file, from 1.
    """

    name: str
    rank: str
    parent: str
    accepted: str
    line: int


class Columns(NamedTuple):
    """The columns of a table by their role; None where there is none."""

    name: str
    parent: str
    rank: str
    id: str | None
    accepted: str | None
    status: str | None


def columns_of(header: Iterable[str]) -> Columns | None:
    """The columns of a parent-child table; None for a table of another form."""
    by_key = {}
    for column in header:
        key = column.strip().casefold().rpartition(":")[2]  # "col:parentID"
        by_key.setdefault("".join(c for c in key if c.isalnum()), column)

    def first(names: Sequence[str]) -> str | None:
        return next((by_key[name] for name in names if name in by_key), None)

    name, parent, rank = first(_NAME), first(_PARENT), first(_RANK)
    if name is None or parent is None or rank is None:
        return None
    return Columns(name, parent, rank, first(_ID), first(_ACCEPTED), first(_STATUS))


class Checklist:
    """The taxa of a parent-child table.

    Args:
      path: of the file, for messages.
      nodes: by key: the id, or the name in a table without ids.

    Raises:
      UserError: a parent or an accepted taxon is not in the table, or taxa are their
        own ancestors.
    """

    def __init__(self, path: Path, nodes: dict[str, Node]):
        self.path = path
        self._nodes = nodes
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for key, node in nodes.items():
            self._by_name[spelled(node.name)].append(key)
        self._above: dict[str, tuple[str, ...]] = {}
        for node in nodes.values():
            for role, other in (("parent", node.parent), ("accepted", node.accepted)):
                if other and other not in nodes:
                    raise UserError(
                        f"{path}, line {node.line}: the {role} {other!r} of "
                        f"{node.name!r} is not in the table. Add its row"
                        + (", or leave the cell of a root empty." * (role == "parent"))
                        + ("." * (role != "parent"))
                    )

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def ranks(self) -> tuple[str, ...]:
        """The known ranks of all taxa, coarse to fine."""
        found = {node.rank for node in self._nodes.values()}
        known = (rank for rank in found if level(rank) is not None)
        return tuple(sorted(known, key=lambda rank: (level(rank), rank)))

    def find(self, name: str) -> str | None:
        """The key of the accepted taxon of a name; None if the table has no such name.

        A name of accepted taxa has priority over a synonym of the same spelling.

        Raises:
          UserError: several taxa have the name.
        """
        keys = self._by_name.get(spelled(name), [])
        own = [key for key in keys if not self._nodes[key].accepted]
        found = dict.fromkeys(own or (self._accepted(key) for key in keys))
        if len(found) > 1:
            shown = [self.described(key) for key in list(found)[:_SHOWN]]
            more = f" and {len(found) - _SHOWN} more" * (len(found) > _SHOWN)
            raise UserError(
                f"{self.path}: {name!r} is the name of {len(found)} taxa: "
                f"{wording.listed(shown)}{more}. Keep one of these rows in the table, "
                "or give the lineage itself in a table with a column for each rank."
            )
        return next(iter(found), None)

    def described(self, key: str) -> str:
        """A taxon with rank, kingdom and line, for messages."""
        node = self._nodes[key]
        path = [self._nodes[one] for one in self.path_of(key)]
        root = next((one.name for one in path if one.rank == "kingdom"), path[0].name)
        return f"{node.rank or 'unranked'} {node.name} ({root}, line {node.line})"

    def path_of(self, key: str) -> tuple[str, ...]:
        """Keys from the root down to a taxon.

        Raises:
          UserError: the taxon is its own ancestor.
        """
        way: list[str] = []
        seen: set[str] = set()
        here = key
        while here and here not in self._above:
            if here in seen:
                circle = way[way.index(here) :]
                names = " > ".join(self._nodes[one].name for one in [*circle, here])
                raise UserError(
                    f"{self.path}, line {self._nodes[here].line}: taxa are their own "
                    f"ancestors: {names}. Correct the parents."
                )
            seen.add(here)
            way.append(here)
            here = self._nodes[here].parent
        path = self._above.get(here, ())
        for one in reversed(way):
            path = self._above[one] = (*path, one)
        return path

    def taxa(self, key: str) -> dict[str, str]:
        """Names by rank, coarse to fine, of a taxon and its ancestors of known ranks.

        Raises:
          UserError: a rank occurs twice, or below a finer one.
        """
        found: dict[str, str] = {}
        last = None
        for one in self.path_of(key):
            node = self._nodes[one]
            if level(node.rank) is None:
                continue
            if last is not None and level(last.rank) >= level(node.rank):
                raise UserError(
                    f"{self.path}, line {node.line}: the {node.rank} {node.name!r} is "
                    f"below the {last.rank} {last.name!r}, which is "
                    f"{'the same' if last.rank == node.rank else 'a finer'} rank. "
                    "Correct its rank or its parent."
                )
            found[node.rank] = node.name
            last = node
        return found

    def lineage(self, key: str, ranks: Sequence[str]) -> Lineage | None:
        """The lineage of a taxon at some ranks, coarse to fine.

        A rank that the taxon does not have is `MISSING`. A species is its epithet alone
        if the genus is one of the ranks. None if the taxon has none of the ranks.
        """
        taxa = self.taxa(key)
        values = [taxa.get(rank, MISSING) for rank in ranks]
        for fine, coarse in (("subspecies", "species"), ("species", "genus")):
            if fine in ranks and coarse in ranks and taxa.get(coarse):
                place = list(ranks).index(fine)
                values[place] = values[place].removeprefix(f"{taxa[coarse]} ")
        if not any(values):
            return None
        return Lineage(tuple(values), tuple(ranks))

    def ranks_of(self, keys: Iterable[str]) -> tuple[str, ...]:
        """The known ranks that any of the taxa or their ancestors have, coarse to fine.

        The number of taxa without a rank is logged, and how many taxa above them are
        passed over for their rank, which may be misspelled.
        """
        keys = list(keys)
        counts = Counter(rank for key in keys for rank in self.taxa(key))
        ranks = tuple(rank for rank in self.ranks if counts[rank])
        for rank in ranks:
            if lacking := len(keys) - counts[rank]:
                logging.info(
                    "%s: %d of %s have no %s",
                    self.path,
                    lacking,
                    wording.count(len(keys), "taxon"),
                    rank,
                )
        above = [self._nodes[one] for one in {o for k in keys for o in self.path_of(k)}]
        passed = Counter(
            one.rank or "unranked" for one in above if level(one.rank) is None
        )
        if passed:
            logging.info(
                "%s: taxa of ranks without a place among the known ones are passed "
                "over: %s",
                self.path,
                ", ".join(f"{count} {rank}" for rank, count in sorted(passed.items())),
            )
        return ranks

    def _accepted(self, key: str) -> str:
        """The accepted taxon of a synonym, also through other synonyms."""
        seen = []
        while self._nodes[key].accepted:
            if key in seen:
                raise UserError(
                    f"{self.path}, line {self._nodes[key].line}: the synonym "
                    f"{self._nodes[key].name!r} leads back to itself. Correct the ids "
                    "of the accepted taxa."
                )
            seen.append(key)
            key = self._nodes[key].accepted
        return key


def read(path: Path) -> Checklist:
    """Reads a parent-child table of any length.

    Args:
      path: a CSV file, or a TSV file without quotes as ColDP and GBIF have it. UTF-8.

    Raises:
      UserError: the file cannot be read, a row is no valid row, has no name or an id
        that occurred before, a taxon has two parents, or as for `Checklist`.
    """
    path = Path(path)
    rows = _rows(path)
    header = next(rows, (0, []))[1]
    columns = columns_of(header)
    if columns is None:
        raise UserError(
            f"{path} has the columns {', '.join(header)}: expected taxon, parent and "
            "rank, or those of ColDP (ID, parentID, rank, scientificName)."
        )
    place = {name: header.index(name) for name in columns if name is not None}
    nodes: dict[str, Node] = {}
    ranks: dict[str, str] = {}  # equal texts share an object
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header) and not any(cells[len(header) :]):
            cells = cells[: len(header)]
        if len(cells) > len(header):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells, expected {len(header)}."
            )

        def cell(role: str, row=cells) -> str:
            name = getattr(columns, role)
            at = place[name] if name is not None else len(row)
            return row[at].strip() if at < len(row) else ""

        name = cell("name")
        key = cell("id") if columns.id is not None else name
        if not name or not key:
            raise UserError(
                f"{path}, line {line}: the column "
                f"{(columns.id if name else columns.name)!r} is empty. Fill it in, or "
                "drop the row."
            )
        rank = ranks.setdefault(cell("rank").lower(), cell("rank").lower())
        parent, accepted = cell("parent"), cell("accepted")
        status = cell("status").lower()
        if any(word in status for word in _SYNONYMS):
            # ColDP: the parent of a synonym is its accepted taxon.
            accepted, parent = accepted or parent, ""
            if not accepted:
                raise UserError(
                    f"{path}, line {line}: {name!r} is a {status}, and no accepted "
                    "taxon is given. Fill in its id, or drop the row."
                )
        accepted = "" if accepted == key else accepted
        parent = "" if parent == key else parent  # some tables give roots so
        node = Node(name, rank, "" if accepted else parent, accepted, line)
        before = nodes.setdefault(key, node)
        if before is not node:
            _refuse_twice(path, columns, before, node, key)
    if not nodes:
        raise UserError(f"{path} has a header, but no rows: one row a taxon.")
    return Checklist(path, nodes)


def _refuse_twice(
    path: Path, columns: Columns, before: Node, node: Node, key: str
) -> None:
    """A UserError for a key that occurs twice, unless the rows say the same."""
    if before[:4] == node[:4]:
        return
    if columns.id is not None:
        raise UserError(
            f"{path}, line {node.line}: the {columns.id} {key!r} occurs in line "
            f"{before.line} already. One row a taxon."
        )
    both = [f"{one.rank} below {one.parent or 'no parent'}" for one in (before, node)]
    raise UserError(
        f"{path}, line {node.line}: {key!r} is {wording.listed(both)} (line "
        f"{before.line}): a taxon has one parent. Correct the rows; if they are "
        "different taxa of one name, tell them apart by a column of ids (ID, parentID)."
    )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the header and of each row."""
    try:
        with open(
            path, newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as f:
            first = f.readline()
            f.seek(0)
            delimiter = csv_files.delimiter_of(first)
            quote = "" if delimiter == "\t" else '"'
            for row in csv_files.stream(f, delimiter, quote):
                if row.fault:
                    raise UserError(f"{path}, line {row.line}: {row.fault}.")
                yield row.line, row.cells
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
