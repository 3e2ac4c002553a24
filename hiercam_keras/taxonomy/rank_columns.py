"""Finds the rank columns of a table, and their order, by names and values.

A column with the name of a known rank is a rank. So is a column with values that nest
below those of a rank: each of its values occurs with only one value of the rank.
Columns of split words, dates, numbers, values that are all different, values that
cross all ranks, or one value for each taxon of the finest known rank (a second name of
it) are not ranks.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from hiercam_keras.taxonomy import split_words

# Known ranks, coarse to fine; names of one level have no order.
_LEVELS = (
    ("domain", "superkingdom"),
    ("kingdom",),
    ("subkingdom",),
    ("superphylum",),
    ("phylum", "division"),
    ("subphylum",),
    ("superclass",),
    ("class",),
    ("subclass",),
    ("infraclass",),
    ("superorder",),
    ("order",),
    ("suborder",),
    ("infraorder",),
    ("superfamily",),
    ("family",),
    ("subfamily",),
    ("tribe",),
    ("subtribe",),
    ("genus",),
    ("subgenus",),
    ("species", "epithet", "specificepithet", "scientific name", "scientificname"),
    ("subspecies", "infraspecificepithet"),
    ("variety",),
    ("form",),
)
_LEVEL = {name: level for level, names in enumerate(_LEVELS) for name in names}
# Known ranks with other meanings, too: `class` may be the output of a network.
_EVERYDAY = ("domain", "division", "class", "order", "tribe", "variety", "form")
_NAMES_OF_TAXA = ("label", "labels", "taxon", "common name")
_SPLIT_NAMES = ("split", "data set", "dataset", "subset", "fold", "partition", "set")

EMPTY_CELLS = "cells are empty"  # end of a reason; tables add the lines
_FEW = 4  # rows; fewer rows with distinct values are no evidence against a rank
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"(\d{4}[-/.:]\d{1,2}([-/.:]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    rf"|\d{{1,2}}\.?[ -]{_MONTH}\.?,?[ -]\d{{2,4}}|{_MONTH}\.? \d{{1,2}},? \d{{2,4}}"
    r"|\d{1,2}:\d{2}(:\d{2})?)([T ,].*|Z)?",
    re.IGNORECASE,
)
# Numbers, also as coordinates: 59.9, 1,5, 1e-3, 59°54'12"N, "59.9 N, 10.7 E".
_NUMBER = re.compile(
    r"(?=\D{0,9}\d)([\d\s.,:;/°º'\"′″+-]|(?<=[\d\s°'\"′″])[NSEW](?![^\W_])|e(?=[-+\d]))+"
)


class Choice(NamedTuple):
    """The roles of the free columns of a table.

    Attributes:
      ranks: coarse to fine.
      split: the column that holds train, val and test; None if there is none.
      left_out: other column -> the reason why it is not a rank.
    """

    ranks: tuple[str, ...]
    split: str | None
    left_out: dict[str, str]


def choose(
    columns: Sequence[str],
    counts: Mapping[tuple[str, ...], int],
    wanted: Sequence[str] = (),
    classes: bool = False,
) -> Choice:
    """Classifies columns as ranks, the split or others.

    Args:
      columns: columns without another meaning, in the order of the header.
      counts: number of rows by their cells in these columns.
      wanted: ranks that the user names, which are only ordered; empty: find them.
      classes: whether a row is a class, not an image, so that names may occur once.
    """
    table = _Columns(columns, counts)
    split = None if classes else _split(table, wanted)
    free = [name for name in columns if name != split]
    if wanted:
        left_out = {name: "data.ranks omits it" for name in free if name not in wanted}
        return Choice(_ordered(table, tuple(wanted), ()), split, left_out)
    ranks, left_out = _ranks(table, free, split, classes)
    return Choice(ranks, split, left_out)


def is_known(name: str) -> bool:
    """Whether a column of this name is a rank for any content."""
    return _spaced(name) in _LEVEL or _spaced(name) in _NAMES_OF_TAXA


def level(name: str) -> int | None:
    """Depth of a taxonomic rank among all there are, one for all names of a rank
    ("epithet" is "species"); None for a name that is no rank."""
    return _LEVEL.get(_spaced(name))


class _Columns:
    """Distinct rows of a table by column, with predicates on pairs of columns."""

    def __init__(self, columns: Sequence[str], counts: Mapping[tuple[str, ...], int]):
        self.columns = tuple(columns)
        self.num_rows = sum(counts.values())
        self._counts = list(counts.values())
        self._cells: dict[str, list] = dict.fromkeys(columns, [])
        for name, cells in zip(columns, zip(*counts, strict=True), strict=False):
            self._cells[name] = list(cells)
        self._distinct = {name: set(cells) for name, cells in self._cells.items()}

    def join(self, name: str, above: Sequence[str]) -> None:
        """Replaces the cells of a column by tuples with those of coarser columns
        first."""
        parts = [self._cells[one] for one in (*above, name)]
        self._cells[name] = list(zip(*parts, strict=True))
        self._distinct[name] = set(self._cells[name])

    def values(self, name: str) -> set:
        """Distinct cells of a column."""
        return self._distinct[name]

    def num_empty(self, name: str) -> int:
        """Number of rows with an empty cell."""
        pairs = zip(self._cells[name], self._counts, strict=True)
        return sum(count for cell, count in pairs if not cell)

    def is_unique(self, name: str) -> bool:
        """Whether all values are different."""
        return len(self._distinct[name]) == self.num_rows

    def is_repeated(self, name: str) -> bool:
        """Whether values occur twice on average; rarer values nest by chance."""
        return 2 * len(self._distinct[name]) <= self.num_rows

    def nests(self, fine: str, coarse: str) -> bool:
        """Whether each value of `fine` occurs with one value of `coarse` only."""
        above: dict = {}
        return all(
            above.setdefault(cell, parent) == parent
            for cell, parent in zip(self._cells[fine], self._cells[coarse], strict=True)
        )

    def is_below(self, fine: str, coarse: str) -> bool:
        """Whether `coarse` has several values and `fine` subdivides them."""
        finer = len(self._distinct[fine]) > len(self._distinct[coarse]) > 1
        return finer and self.nests(fine, coarse)

    def is_same(self, one: str, other: str) -> bool:
        """Whether two columns partition the rows identically."""
        equal = len(self._distinct[one]) == len(self._distinct[other])
        return equal and self.nests(one, other)


def _split(table: _Columns, wanted: Sequence[str]) -> str | None:
    """The column of split words, or None.

    In a column with the name of a split one such cell suffices; the reader then reports
    the lines of other values.
    """
    free = [name for name in table.columns if name not in wanted]
    words = {
        name: {split_words.official(cell) is not None for cell in table.values(name)}
        for name in free
    }
    if "split" in free:
        return "split"
    named = [name for name in free if _spaced(name) in _SPLIT_NAMES]
    named = [name for name in named if True in words[name]]
    others = [name for name in free if words[name] == {True} and not is_known(name)]
    return next(iter(named + others), None)


def _ranks(
    table: _Columns, free: list[str], split: str | None, classes: bool
) -> tuple[tuple[str, ...], dict[str, str]]:
    left_out: dict[str, str] = {}
    known = [name for name in free if is_known(name)]
    others = []
    doubtful: dict[str, str] = {}  # columns that are ranks only if they nest
    for name in free:
        if name in known:
            continue
        why = _unlike_a_rank(table, name, split, classes)
        sure = table.num_empty(name) or table.is_unique(name) or _is_unnamed(name)
        if why and sure:
            left_out[name] = why
        elif why:
            doubtful[name] = why
        else:
            others.append(name)
    known = list(_ordered(table, known, ()))
    for depth, name in enumerate(known):
        table.join(name, known[:depth])
    anchors = known or [
        name
        for name in others
        if any(table.is_below(name, one) or table.is_below(one, name) for one in others)
    ]
    informative = [name for name in anchors if len(table.values(name)) > 1]
    if not known and not others:
        # Classes may be numbers; otherwise the reader reports the line of the empty
        # cell.
        others = [name for name, why in doubtful.items() if why == _NUMBERS][:1]
        others = others or [name for name in left_out if _has_names(table, name)][:1]
        left_out = {name: left_out[name] for name in left_out if name not in others}
    kept = []
    finest = next((name for name in reversed(known) if name in informative), None)
    for name in others:
        if finest is not None and _renames(table, name, finest):
            left_out[name] = f"it has one value for each {finest}"
        elif name in anchors or not informative or _belongs(table, name, informative):
            kept.append(name)
        elif len(table.values(name)) == 1:
            left_out[name] = "it has one value in all rows"
        else:
            left_out[name] = f"its values cross those of {informative[-1]}"
    for name, why in doubtful.items():
        if name in kept:
            continue
        below = any(table.is_below(name, one) for one in informative)
        if below and _is_no_chance(table, name):
            kept.append(name)
        else:
            left_out[name] = why
    chosen = [name for name in free if name in known or name in kept]
    left_out = {name: left_out[name] for name in free if name in left_out}
    return _ordered(table, chosen, known), left_out


def _belongs(table: _Columns, name: str, anchors: list[str]) -> bool:
    """Whether a column nests below a rank, or a rank below the column."""
    if any(table.is_below(name, one) or table.is_same(name, one) for one in anchors):
        return True
    return any(table.is_below(one, name) and table.is_repeated(one) for one in anchors)


def _renames(table: _Columns, name: str, rank: str) -> bool:
    """Whether a column has another name for each taxon of a rank that has names: a
    common name, a code. Below numbers it may have the names themselves."""
    numbers = all(_NUMBER.fullmatch(taxa[-1]) for taxa in table.values(rank))
    return not numbers and table.is_same(name, rank)


def _is_no_chance(table: _Columns, name: str) -> bool:
    """Whether numbers or dates nest in enough rows to exclude chance.

    Whole numbers often name clusters or individuals; dates and decimals rarely do.
    """
    if all(value.isdecimal() for value in table.values(name)):
        return table.num_rows - len(table.values(name)) >= 2
    return table.is_repeated(name)


_NUMBERS = "it holds numbers"


def _unlike_a_rank(
    table: _Columns, name: str, split: str | None, classes: bool
) -> str | None:
    """The reason why a column does not look like a rank; None if it does."""
    values = table.values(name) - {""}
    empty = table.num_empty(name)
    if not values:
        return "it is empty"
    if _is_unnamed(name):
        return "it has no name"
    if empty:
        return f"{empty} of its {table.num_rows} {EMPTY_CELLS}"
    if split and all(split_words.official(value) for value in values):
        return f"it holds split words, but the split is the column {split!r}"
    if all(_DATE.fullmatch(value) for value in values):
        return "it holds dates or times"
    if all(_NUMBER.fullmatch(value) for value in values):
        return _NUMBERS
    if not classes and table.is_unique(name) and table.num_rows >= _FEW:
        return "its values are all different"
    return None


def _has_names(table: _Columns, name: str) -> bool:
    """Whether a column with empty cells holds text in the others."""
    values = table.values(name) - {""}
    text = bool(values) and not all(_NUMBER.fullmatch(value) for value in values)
    return text and not _is_unnamed(name)


def _is_unnamed(name: str) -> bool:
    return name.startswith("unnamed")  # by `csv_files` and by pandas


def _ordered(
    table: _Columns, names: Sequence[str], known: Sequence[str]
) -> tuple[str, ...]:
    """Orders names coarse to fine; undetermined pairs keep the given order.

    The order of known ranks has priority, as one epithet may occur in several genera
    that have no other. For ranks with an everyday name (`_EVERYDAY`) and for unknown
    names nesting has priority. A column that crosses a known rank comes after it.
    """
    edges: dict[str, set[str]] = defaultdict(set)  # name -> names that must come later

    def later(name: str) -> set[str]:
        seen, todo = set(), [name]
        while todo:
            new = edges[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    def add(is_before: Callable[[str, str], bool]) -> None:
        for one in names:
            for other in names:
                if one != other and is_before(one, other) and one not in later(other):
                    edges[one].add(other)

    def levels(one: str, other: str) -> bool:
        coarse, fine = _LEVEL.get(_spaced(one)), _LEVEL.get(_spaced(other))
        return coarse is not None and fine is not None and coarse < fine

    def sure_levels(one: str, other: str) -> bool:
        everyday = _spaced(one) in _EVERYDAY or _spaced(other) in _EVERYDAY
        return levels(one, other) and not everyday

    def below(one: str, other: str) -> bool:
        return table.is_below(other, one)

    def crosses(one: str, other: str) -> bool:
        apart = one in known and other not in known
        return apart and not table.nests(one, other) and not table.nests(other, one)

    for rule in (sure_levels, below, levels, crosses):
        add(rule)
    left, order = list(names), []
    while left:
        free = (name for name in left if not any(name in edges[one] for one in left))
        order.append(next(free))
        left.remove(order[-1])
    return tuple(order)


def _spaced(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def described(choice: Choice, columns: Iterable[str]) -> tuple[str, list[str]]:
    """Text on the ranks, and one on each other column, for the log."""
    order = [name for name in columns if name in choice.ranks]
    moved = " (ordered by how they nest)" if order != list(choice.ranks) else ""
    line = f"ranks, coarse to fine: {', '.join(choice.ranks)}{moved}"
    if choice.split is not None:
        line += f"; the split: {choice.split}"
    return line, [f"{name} ({why})" for name, why in choice.left_out.items()]
