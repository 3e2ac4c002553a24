"""The rows of a CSV table of images, each of them checked.

    path,kingdom,...,species[,x0,y0,x1,y1][,mask][,split][,group][,example_id]

The other columns are ranks if their names or values indicate it (`rank_columns`). A row
may lack some of its taxa, see `taxonomy.lineage.Lineage`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from hiercam_keras import csv_files
from hiercam_keras.csv_files import Table
from hiercam_keras.data import grouping
from hiercam_keras.data.records import Box
from hiercam_keras.data.sources import boxes, common_names, safe_paths
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import partial, rank_columns, split_words
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.ranks import check_ranks

BOX = ("x0", "y0", "x1", "y1")
_PATHS = ("path", "image", "file", "filename")
_OTHER_PATHS = ("filepath", "filepaths", "file path", "image path", "img path")
_OTHERS = ("mask", "example_id")
_SHOWN = 5  # lines that a message lists
# Ranks occur in folder names and in lists separated by commas and pluses.
_RANK = re.compile(r"[^\W_][\w .-]*")


class Row(NamedTuple):
    """One image of a table.

    Attributes:
      line: number in the file, from 1.
      example_id: cell of that column, else the path.
      path: relative to the images' root, with slashes.
      lineage: from the rank columns.
      box: four numbers in the convention of the file; None for empty cells.
      mask: relative like the path; "" for none.
      split: train, val or test; None without a split column.
      group: cell of the column of groups; None without one, or if it is empty.
      common_name: of the finest taxon; "" if the table has none.
    """

    line: int
    example_id: str
    path: str
    lineage: Lineage
    box: Box | None
    mask: str
    split: str | None
    group: str | None = None
    common_name: str = ""


class Rows(NamedTuple):
    """Rows in the order of the file, the convention of the box columns, and the columns
    that may hold groups."""

    rows: list[Row]
    convention: str
    group_columns: tuple[str, ...]


class _Layout(NamedTuple):
    """The role of each column of a table."""

    path: str
    ranks: tuple[str, ...]
    box: boxes.Columns | None
    mask: str | None
    example_id: str | None
    split: str | None
    group: str | None
    common_name: str | None = None


def read_rows(
    path: Path,
    ranks: Sequence[str] = (),
    groups: grouping.Choice = grouping.Choice(),  # noqa: B008 - a frozen value
    names: common_names.Choice = common_names.Choice(),  # noqa: B008
) -> Rows:
    """Reads a table of images.

    Args:
      path: a CSV file (`csv_files`).
      ranks: columns that are ranks; empty: chosen by names and values.
      groups: which column holds the groups; by default one called `group`, unless it
        is a rank.
      names: which column holds the common names.

    Raises:
      UserError: a line is invalid; the message has the file, the line and the reason.
    """
    table = csv_files.read(path)
    wanted = [str(rank).strip().lower() for rank in ranks]
    layout = _layout(table, wanted, groups, names)
    rows: list[Row] = []
    lines: dict[str, int] = {}
    lineages: dict[tuple[str, ...], Lineage] = {}  # equal lineages share an object
    for line, cells in table.rows():
        try:
            row = _row(line, cells, layout, table, lineages)
        except UserError as error:
            raise UserError(f"{path}, line {line}: {error}") from None
        before = lines.setdefault(row.example_id, line)
        if before != line:
            raise UserError(
                f"{path}, line {line}: the example_id "
                f"{safe_paths.shown(row.example_id)} occurs in line {before} already. "
                "One row an image."
            )
        rows.append(row)
    whole = partial.completed(lineages.values())
    rows = [row._replace(lineage=whole[row.lineage]) for row in rows]
    convention = layout.box.convention if layout.box else "xyxy"
    return Rows(rows, convention, _group_columns(table, layout))


def choose_ranks(
    table: Table,
    columns: Sequence[str],
    wanted: Sequence[str] = (),
    classes: bool = False,
) -> rank_columns.Choice:
    """Chooses and logs the ranks among the free columns of a table.

    Args:
      table: an open table.
      columns: columns without another meaning.
      wanted: columns that data.ranks names.
      classes: whether a row is a class, not an image.

    Raises:
      UserError: no column is a rank, a wanted one is missing, or a column's name is not
        allowed for a rank.
    """
    missing = [rank for rank in wanted if rank not in columns]
    if missing:
        raise UserError(
            f"{table.path}, line 1: no column {missing[0]!r}, which data.ranks names. "
            f"Its columns are {','.join(table.columns)}."
        )
    counts = Counter(
        tuple(cells[name] for name in columns) for _, cells in table.rows()
    )
    if not counts:
        raise UserError(f"{table.path} has a header, but no rows.")
    choice = rank_columns.choose(columns, counts, wanted, classes)
    if not wanted:
        choice = choice._replace(left_out=_with_lines(table, choice.left_out))
    _, others = rank_columns.described(choice, columns)
    if not choice.ranks:
        found = f": {'; '.join(others)}" if others else ""
        raise UserError(
            f"{table.path}, line 1: no column for a rank{found}. Expected some such as "
            f"family,species; its columns are {','.join(table.columns)}. "
            "--config.data.ranks=\"('family','species')\" names the columns to take."
        )
    for rank in choice.ranks:
        if not _RANK.fullmatch(rank):
            raise UserError(
                f"{table.path}, line 1: {safe_paths.shown(rank)} cannot name a rank: "
                "use letters, digits, spaces, dots, - and _. data.ranks chooses "
                "columns."
            )
    _log_choice(table, choice, columns, wanted)
    return choice


def _log_choice(
    table: Table,
    choice: rank_columns.Choice,
    columns: Sequence[str],
    wanted: Sequence[str],
) -> None:
    """Logs the ranks, and how to choose others if they were not named."""
    line, others = rank_columns.described(choice, columns)
    logging.info("%s: %s", table.path, line)
    known = [rank for rank in choice.ranks if rank_columns.is_known(rank)]
    below = choice.ranks[choice.ranks.index(known[-1]) + 1 :] if known else ()
    if below and not wanted:
        logging.warning(
            "%s: %s: each value occurs with one %s only, so the column counts as a "
            "finer rank. If it is not (such as ids of events), name the ranks: "
            '--config.data.ranks="%s". If its images belong together in one split: '
            "--config.data.groups=%s. If it has common names: "
            "--config.data.common_names=%s",
            table.path,
            ", ".join(below),
            known[-1],
            f"({','.join(map(repr, known))},)",
            below[0],
            below[0],
        )
    if others and wanted:
        logging.info("%s: not ranks: %s", table.path, "; ".join(others))
    elif others:
        first = next(iter(choice.left_out))
        logging.warning(
            "%s: not taken as ranks: %s. To take one, name all ranks, as in "
            '--config.data.ranks="%s"',
            table.path,
            "; ".join(others),
            f"({','.join(map(repr, (*choice.ranks, first)))})",
        )


def _with_lines(table: Table, left_out: Mapping[str, str]) -> dict[str, str]:
    """The reasons, with the first lines of the cells that are empty."""
    reasons = dict(left_out)
    for name, why in left_out.items():
        if why.endswith(rank_columns.EMPTY_CELLS):
            lines = [line for line, cells in table.rows() if not cells[name]]
            more = ", ..." if len(lines) > _SHOWN else ""
            noun = "line" if len(lines) == 1 else "lines"
            reasons[name] += f", {noun} {', '.join(map(str, lines[:_SHOWN]))}{more}"
    return reasons


def _layout(
    table: Table,
    wanted: Sequence[str],
    groups: grouping.Choice,
    names: common_names.Choice,
) -> _Layout:
    paths = table.find(_PATHS) or table.find(_OTHER_PATHS)
    if len(paths) != 1:
        raise UserError(
            f"{table.path}, line 1: expected one column of {', '.join(_PATHS)}, found "
            f"{', '.join(paths) or 'none'} in {','.join(table.columns)}. Rename the "
            "column of the image files in the header to path."
        )
    box = boxes.find_columns(table)
    mask, example_id = (next(iter(table.find([name])), None) for name in _OTHERS)
    taken = {paths[0], mask, example_id, *(box.names if box else ())}
    free = [name for name in table.columns if name not in taken]
    named = groups.column and groups.column_of(free, (), str(table.path))
    usual = _usual_group_column(table, free, wanted)
    free = [name for name in free if name not in (named, usual)]
    common = common_names.columns_of(table, free, wanted, names)
    free = [name for name in free if name not in common.taken]
    choice = choose_ranks(table, free, wanted)
    ranks = check_ranks(choice.ranks)
    return _Layout(
        paths[0],
        ranks,
        box,
        mask,
        example_id,
        choice.split,
        (named or usual) if groups.of_source else None,
        common.shown,
    )


def _usual_group_column(
    table: Table, free: Sequence[str], wanted: Sequence[str]
) -> str | None:
    """The column `group`, unless it is a rank; None without one."""
    found = next(iter(table.find([grouping.COLUMN])), None)
    if found not in free or found in wanted:
        return None
    counts = Counter(tuple(cells[name] for name in free) for _, cells in table.rows())
    ranks = rank_columns.choose(free, counts, wanted).ranks if counts else ()
    below = ranks[ranks.index(found) + 1 :] if found in ranks else ()
    known = any(map(rank_columns.is_known, ranks))
    # "birds" and "mammals" have ranks below them, an event at most a column of ids.
    is_rank = any(rank_columns.is_known(name) or not known for name in below)
    return None if is_rank else found


def _group_columns(table: Table, layout: _Layout) -> tuple[str, ...]:
    """Columns without another meaning."""
    other = {layout.path, layout.mask, layout.example_id, layout.split, *layout.ranks}
    other |= {*(layout.box.names if layout.box else ())}
    return tuple(name for name in table.columns if name not in other)


def _row(
    line: int,
    cells: Mapping[str, str],
    layout: _Layout,
    table: Table,
    lineages: dict[tuple[str, ...], Lineage],
) -> Row:
    empty = [name for name in layout.ranks if not cells[name]]
    if len(empty) < len(layout.ranks):  # else the row has no taxon
        empty = []
    for name in (layout.path, *empty):
        if not cells[name]:
            raise UserError(
                f"the column {name!r} is empty. Fill it in, or drop the row."
            )
    path = safe_paths.relative(cells[layout.path])
    name = layout.example_id and cells[layout.example_id]
    taxa = tuple(cells[rank] for rank in layout.ranks)
    if taxa not in lineages:
        lineages[taxa] = Lineage(taxa, layout.ranks)
    split = None
    if layout.split is not None:
        split = split_words.official(cells[layout.split])
        if split is None:
            raise UserError(
                f"{layout.split} is {cells[layout.split]!r}, expected train, val or "
                "test."
            )
    mask = layout.mask and cells[layout.mask]
    return Row(
        line,
        safe_paths.relative(name) if name else path,
        path,
        lineages[taxa],
        layout.box.numbers(table, cells) if layout.box else None,
        safe_paths.relative(mask) if mask else "",
        split,
        (layout.group and cells[layout.group]) or None,
        cells[layout.common_name] if layout.common_name else "",
    )
