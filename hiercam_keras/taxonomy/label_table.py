"""Reads the labels of a network's outputs from a table, a sequence or an order.

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
from typing import Any

import numpy as np
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
from hiercam_keras.taxonomy.labels import HeadLabels, Labels, Named, build
from hiercam_keras.taxonomy.lineage import Lineage, is_inat, parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS, check_rank
from hiercam_keras.taxonomy.tree import Taxonomy

__all__ = ["HeadLabels", "Labels", "as_labels", "from_order", "read_labels"]

LABEL = "label"  # name of the only rank of plain names
_NAMES = ("label", "labels", "folder", "taxon", "class name", "common name", "name")
_INDEX, _OUTPUT = "index", "output"
_Given = Sequence[Lineage | str | None]


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


def as_labels(
    given: Any,
    taxonomy: Taxonomy | None = None,
    rank: str | None = None,
    other: str = "leave_out",
) -> Labels:
    """Converts the argument `labels=` of public functions to Labels.

    Args:
      given: Labels; the path of a table; or a sequence with one entry for each output
        unit: a Lineage, a name (an iNaturalist folder name or any other), or None for a
        unit without a taxon. For several outputs a dict of such sequences.
      taxonomy: used to look up names; None builds one from the entries.
      rank: of the outputs; needed if a name occurs at several ranks.
      other: as for `read_labels`.

    Raises:
      UserError: `given` has another type, a name is unknown or ambiguous, or as for
        `read_labels`.
    """
    if isinstance(given, (Labels, str, os.PathLike)):
        if taxonomy is not None:
            raise UserError(
                "labels= has a taxonomy of its own, and taxonomy= gives another: leave "
                "taxonomy= out."
            )
        found = given if isinstance(given, Labels) else read_labels(given, other)
        return _of_rank(found, rank)
    outputs = dict(given) if isinstance(given, Mapping) else {None: given}
    for output, entries in outputs.items():
        if isinstance(entries, str) or not isinstance(entries, (Sequence, np.ndarray)):
            raise UserError(
                "labels= is a Labels, the path of a table, or a sequence with one "
                "entry an output (a dict of them for several outputs); found "
                f"{type(entries).__name__}"
                + ("." if output is None else f" for {output!r}.")
            )
    if taxonomy is not None:
        heads = {
            output: _looked_up(entries, taxonomy, rank)
            for output, entries in outputs.items()
        }
        return Labels(taxonomy, heads, "labels=")
    ranks, named = _listed(outputs)
    return _of_rank(build(ranks, named, other, source="labels="), rank)


def _of_rank(labels: Labels, rank: str | None) -> Labels:
    """Returns the labels; raises UserError if `rank` is given and is not theirs."""
    if rank is not None and labels.ranks != (rank,):
        raise UserError(
            f"rank={rank!r}, and {labels.source} is of the rank "
            f"{', '.join(labels.ranks)}: leave rank= out."
        )
    return labels


def from_order(
    order: Sequence[int] | Mapping[str, Sequence[int]],
    taxonomy: Taxonomy | None,
    rank: str | None = None,
) -> Labels:
    """Creates Labels from integer labels of a taxonomy.

    Args:
      order: the label of each output unit, -1 to exclude the unit. For several outputs
        a mapping from rank to labels; the outputs then have the names of the ranks.
      taxonomy: defines the labels.
      rank: of a single output. Default: the rank with as many taxa as the largest label
        implies, the finest if there are several.

    Raises:
      UserError: `taxonomy` is None, no rank fits, or labels are no integers or out of
        range.
    """
    if taxonomy is None:
        raise UserError(
            "order= numbers the labels of a taxonomy: give it with taxonomy=, or name "
            "the outputs with labels=."
        )
    if isinstance(order, Mapping):
        heads = {
            check_rank(name, taxonomy.ranks): _integers(columns)
            for name, columns in order.items()
        }
        heads = {name: HeadLabels(name, columns) for name, columns in heads.items()}
        return Labels(taxonomy, heads, "order=")
    columns = _integers(order)
    if rank is None:
        count = int(columns.max(initial=-1)) + 1
        fits = [one for one in taxonomy.ranks if taxonomy.num_labels(one) == count]
        if not fits:
            counts = ", ".join(f"{r} {taxonomy.num_labels(r)}" for r in taxonomy.ranks)
            raise UserError(
                f"order= has labels up to {count - 1}, and no rank of the taxonomy has "
                f"{count} taxa: {counts}. Say which rank it is with rank=."
            )
        rank = fits[-1]
    rank = check_rank(rank, taxonomy.ranks)
    return Labels(taxonomy, {None: HeadLabels(rank, columns)}, "order=")


def _integers(columns: Any) -> np.ndarray:
    columns = np.asarray(columns)
    if columns.ndim != 1 or columns.dtype.kind not in "iu" or not columns.size:
        raise UserError(
            "order= is one integer label an output; found an array of shape "
            f"{columns.shape} and type {columns.dtype}."
        )
    return columns


def _read_json(path: Path) -> Labels:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the labels {path}: {error}.") from error
    return Labels.from_json(data, str(path))


def _looked_up(entries: _Given, taxonomy: Taxonomy, rank: str | None) -> HeadLabels:
    """Looks up entries in a taxonomy; all must be of one rank."""
    found: list[tuple[str, int] | None] = []
    for number, entry in enumerate(entries):
        if entry is None:
            found.append(None)
        elif isinstance(entry, Lineage):
            at = rank or entry.ranks[-1]
            found.append((at, taxonomy.label(entry.prefix(at), at)))
        else:
            name = _name(entry, f"labels=, output {number}")
            found.append(taxonomy.find(name, rank))
    ranks = list(dict.fromkeys(one[0] for one in found if one is not None))
    if len(ranks) != 1:
        raise UserError(
            f"the names in labels= are of the ranks {', '.join(ranks) or '(none)'}, "
            "expected one. Say which with rank=, or give lineages and leave taxonomy= "
            "out."
        )
    columns = [-1 if one is None else one[1] for one in found]
    return HeadLabels(ranks[0], np.array(columns, np.int32))


def _listed(
    outputs: Mapping[str | None, _Given],
) -> tuple[tuple[str, ...], dict[str | None, list[Named]]]:
    """The common ranks of lineages and names, and the columns of each output."""
    given = [one for entries in outputs.values() for one in entries if one is not None]
    texts = [one for one in given if not isinstance(one, Lineage)]
    inat = any(is_inat(str(one)) for one in texts)
    if texts and (len(outputs) > 1 or len(texts) < len(given)) and not inat:
        raise UserError(
            f"labels= has the name {texts[0]!r} next to lineages or other outputs, and "
            "a name alone does not say its rank: give lineages for all, or a taxonomy= "
            "that has the names."
        )
    places = {None: ""} if None in outputs else {one: f"{one!r}, " for one in outputs}
    named: dict[str | None, list[Named]] = {}
    kinds: dict[tuple[str, ...], str] = {}
    for output, entries in outputs.items():
        named[output] = []
        for number, entry in enumerate(entries):
            place = f"labels=, {places[output]}output {number}"
            if entry is None:
                named[output].append(Named((), place))
                continue
            if not isinstance(entry, Lineage):
                entry = _lineage(_name(entry, place), inat, place)
            kinds.setdefault(entry.ranks, place)
            named[output].append(Named(entry.taxa, place, entry.class_id))
    ranks = max(kinds, key=len, default=(LABEL,))
    for one, place in kinds.items():
        if one != ranks[: len(one)]:
            raise UserError(
                f"{place}: the lineage has the ranks {', '.join(one)}, expected "
                f"{', '.join(ranks)} as in {kinds[ranks]}."
            )
    return ranks, named


def _name(entry: Any, place: str) -> str:
    """An entry of a sequence that is a name: pandas has NaN for an empty cell."""
    if not isinstance(entry, str):
        raise UserError(
            f"{place}: found {entry!r}, expected a Lineage, a name, or None for an "
            "output without a meaning here. Numbers of labels are given with order=."
        )
    if not entry.strip():
        raise UserError(
            f"{place}: the name is empty. Give None for an output without a meaning."
        )
    return entry


def _lineage(name: str, inat: bool, place: str) -> Lineage:
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
            one = _lineage(cells[name], inat, place)
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
