"""Reads the labels of a network's outputs from a table.

    index,order,family,genus,species
    0,Galliformes,Phasianidae,Gallus,gallus
    1,Galliformes,Phasianidae,Gallus,gallus
    2,,,,
    3,Passeriformes,Corvidae,,

The table has one row for each output unit, in the network's order or with the number of
the unit (from 0) in a column `index`. Columns with the name of a rank are ranks, in any
order. Instead of ranks a table may have one column `label` with plain names or
iNaturalist folder names. For a network with several outputs the column `output` names
the output of each row. A column such as `common_name` or `english` next to ranks has
the common name of the row's taxon. Other columns are ignored as notes.
"""

import dataclasses
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from hiercam_keras import csv_files
from hiercam_keras.csv_files import Table
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import rank_columns
from hiercam_keras.taxonomy.common_names import (
    LANGUAGE,
    Collected,
    CommonName,
    are_names,
    chosen_column,
    column_language,
)
from hiercam_keras.taxonomy.labels import Labels, Named, build
from hiercam_keras.taxonomy.lineage import Lineage, is_inat, parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

LABEL = "label"  # name of the only rank of plain names
_NAMES = ("label", "labels", "folder", "taxon", "class name", "common name", "name")
_INDEX, _OUTPUT = "index", "output"


def read_labels(
    path: str | os.PathLike,
    other: str = "leave_out",
    ranks: Sequence[str] = (),
    homonyms: str = "error",
) -> Labels:
    """Reads the labels of a network's outputs from a file.

    Args:
      path: a CSV table (see the module docstring), or a .json file of `Labels.to_json`,
        for which the other arguments are ignored.
      other: "leave_out" excludes output units without a lineage from the softmax;
        "keep" makes them one taxon, `other` at every rank.
      ranks: columns that are ranks, coarse to fine. If empty: columns with the name of
        a rank, else `label`, else all columns that nest.
      homonyms: "error" rejects one name under two parents; "keep" treats them as
        separate taxa.

    Raises:
      UserError: the file cannot be read, there is no column with ranks or labels, an
        index repeats or is missing, a rank is given below an empty one, an output or
        all rows have no lineage, or a taxon has two parents. The message names file and
        line.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _read_json(path)
    table = csv_files.read(path)
    ranks, outputs = _named(table, ranks)
    labels = build(ranks, outputs, other, homonyms, str(path))
    return _with_common_names(labels, table, ranks)


def _with_common_names(labels: Labels, table: Table, ranks: Sequence[str]) -> Labels:
    """The labels, with the common names of the table if it has a column of them."""
    free = [name for name in table.columns if name not in ranks]
    column = chosen_column(free, LANGUAGE)
    if column is None or not set(ranks) <= set(table.columns):
        return labels
    names: Collected[tuple[str, ...]] = Collected("")
    for _, cells in table.rows():
        taxa = _taxa(cells, ranks, str(table.path))
        if taxa:
            names.add(taxa, CommonName(cells[column]))
    found = labels.taxonomy.with_common_names(names.chosen(str(table.path)))
    return dataclasses.replace(labels, taxonomy=found)


def is_header(column: str) -> bool:
    """Whether a column's name says what it holds: a rank, labels or names."""
    known = rank_columns.is_known(column) or column_language(column) is not None
    return known or column.replace("_", " ").replace("-", " ") in (*_NAMES, "names")


def read_taxa(path: str | os.PathLike) -> list[tuple[Lineage, str]]:
    """Reads a list of taxa, one for each row that names any, with its place.

    Args:
      path: a table as for `read_labels`. A row with empty cells at the finer ranks is
        the coarser taxon as a whole, a Lineage that ends at its rank.

    Raises:
      UserError: as for `read_labels`, or no row names a taxon.
    """
    ranks, outputs = _named(csv_files.read(path), ())
    rows = [one for rows in outputs.values() for one in rows if one.taxa]
    if not rows:
        raise UserError(f"{path}: no row names a taxon, expected one taxon a row.")
    return [
        (Lineage(one.taxa, ranks[: len(one.taxa)], one.class_id), one.place)
        for one in rows
    ]


def _read_json(path: Path) -> Labels:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the labels {path}: {error}.") from error
    return Labels.from_json(data, str(path))


def lineage_of(name: str, inat: bool, place: str) -> Lineage:
    """The lineage of an iNaturalist folder name, or of a plain name at `LABEL`.

    Raises:
      UserError: the name has no iNaturalist form; the message begins with the place.
    """
    try:
        return parse_class_name(name) if inat else Lineage((name,), (LABEL,), name)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _named(
    table: Table, wanted: Sequence[str]
) -> tuple[tuple[str, ...], dict[str | None, list[Named]]]:
    """The ranks of a table, and the columns of each output in the network's order."""
    index, output = (next(iter(table.find([name])), None) for name in (_INDEX, _OUTPUT))
    rows = list(table.rows(blank=True))
    if not rows:
        raise UserError(f"{table.path} has a header, but no rows: one row an output.")
    free = [name for name in table.columns if name not in (index, output)]
    ranks, name = _ranks(table, free, [cells for _, cells in rows], wanted)
    inat = name is not None and any(is_inat(cells[name]) for _, cells in rows)
    found: dict[str | None, dict[int, Named]] = defaultdict(dict)
    lines: dict[tuple[str | None, int], int] = {}
    for line, cells in rows:
        place = f"{table.path}, line {line}"
        own = None
        if output is not None and not (own := cells[output]):
            raise UserError(
                f"{place}: the column {output!r} is empty. Fill in the name of the "
                "network's output that this row belongs to."
            )
        number = len(found[own])
        if index is not None:
            number = _number(cells[index], index, place)
        before = lines.setdefault((own, number), line)
        if before != line:
            raise UserError(
                f"{place}: the {index} {number} occurs in line {before} already. One "
                "row an output."
            )
        if name is None:
            found[own][number] = Named(_taxa(cells, ranks, place), place)
        elif cells[name]:
            one = lineage_of(cells[name], inat, place)
            found[own][number] = Named(one.taxa, place, one.class_id)
        else:
            found[own][number] = Named((), place)
    if name is not None:
        ranks = DEFAULT_RANKS if inat else (LABEL,)
        if len(found) > 1 and not inat:
            raise UserError(
                f"{table.path}: the rows of {len(found)} outputs have the column "
                f"{name!r} and no ranks, so the rank of each output is unknown. Give "
                "columns for the ranks, such as family,species."
            )
    return ranks, {own: _in_order(table, own, rows) for own, rows in found.items()}


def _in_order(table: Table, output: str | None, rows: dict[int, Named]) -> list[Named]:
    """Rows sorted by index; raises UserError if an index is missing."""
    missing = sorted(set(range(len(rows))) - rows.keys())
    if missing:
        at = "" if output is None else f" of the output {output!r}"
        last = max(rows)
        shift = " The first output has the index 0." if missing[0] == 0 else ""
        raise UserError(
            f"{table.path}: the {len(rows)} rows{at} have an index up to {last}, and "
            f"{last + 1 - len(rows)} are missing, the first is {missing[0]}.{shift} "
            "Every output has a row; the ranks of one without a taxon stay empty."
        )
    return [rows[number] for number in range(len(rows))]


def _number(text: str, column: str, place: str) -> int:
    if not text.isdecimal():
        raise UserError(
            f"{place}: the {column} is {text!r}, expected the number of the output, "
            "from 0."
        )
    return int(text)


def _taxa(cells: Mapping[str, str], ranks: Sequence[str], place: str) -> tuple:
    """The cells of the ranks down to the finest filled one.

    Raises UserError if a cell above it is empty.
    """
    taxa = [cells[rank] for rank in ranks]
    while taxa and not taxa[-1]:
        taxa.pop()
    if "" in taxa:
        finest, empty = ranks[len(taxa) - 1], ranks[taxa.index("")]
        raise UserError(
            f"{place}: the {finest} is {taxa[-1]!r}, and the column {empty!r} above it "
            "is empty. Fill it in, or leave all ranks of the row empty."
        )
    return tuple(taxa)


def _ranks(
    table: Table,
    free: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    wanted: Sequence[str],
) -> tuple[tuple[str, ...], str | None]:
    """The columns of ranks, coarse to fine, and None; or () and the column of names.

    Nesting is used only if no column has the name of a rank: a single wrong cell would
    change the order, and ids and notes nest below every rank.
    """
    wanted = [str(rank).strip().lower() for rank in wanted]
    missing = [rank for rank in wanted if rank not in free]
    if missing:
        raise UserError(
            f"{table.path}, line 1: no column {missing[0]!r}, which was named as a "
            f"rank. Its columns are {','.join(table.columns)}."
        )
    known = {} if wanted else _known(free, rows)
    names = [] if wanted or known else _columns_of_names(table, free)
    if not free:
        raise UserError(
            f"{table.path}, line 1: expected columns of ranks, as in "
            f"index,family,species, or one column label; found "
            f"{','.join(table.columns)}."
        )
    if names:
        ranks: Sequence[str] = names[:1]
    elif wanted or known:
        ranks = wanted or [known[one] for one in sorted(known)]
    else:
        spoken = [name for name in free if column_language(name) is not None]
        ranks = _nested([name for name in free if name not in spoken], rows)
        if not all(are_names(rows, ranks, name) for name in spoken):
            ranks = _nested(free, rows)
    logging.info("%s: ranks, coarse to fine: %s", table.path, ", ".join(ranks))
    notes = [name for name in free if name not in ranks]
    if notes:
        logging.info("%s: columns that are notes: %s", table.path, ", ".join(notes))
    return ((), names[0]) if names else (tuple(ranks), None)


def _nested(free: Sequence[str], rows: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    counts = Counter(tuple(cells[name] for name in free) for cells in rows)
    counts.pop(("",) * len(free), None)
    return rank_columns.choose(free, counts, classes=True).ranks


def _columns_of_names(table: Table, free: Sequence[str]) -> list[str]:
    """The columns with plain names, the one that is used first; common names count
    where there is nothing else."""
    found = [name for name in table.find(_NAMES) if name in free]
    if found or any(column_language(name) is None for name in free):
        return found
    return [chosen_column(free, LANGUAGE) or free[0]] if free else []


def _known(free: Sequence[str], rows: Sequence[Mapping[str, str]]) -> dict[int, str]:
    """Columns with the name of a taxonomic rank, by depth of the rank.

    A column with numbers only is excluded: `order` may be the order of the outputs.
    """
    found: dict[int, str] = {}
    for name in free:
        values = {cells[name] for cells in rows} - {""}
        depth = rank_columns.level(name)
        if depth is not None and not all(map(str.isdecimal, values)):
            found.setdefault(depth, name)
    return found
