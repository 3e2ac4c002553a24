"""Labels of a network's outputs from the arguments of public functions.

They are a sequence with one entry an output, a dict of such sequences, or integer
labels of a taxonomy; the path of a table is read by `label_table`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.label_table import LABEL, lineage_of, read_labels
from hiercam_keras.taxonomy.labels import HeadLabels, Labels, Named, build
from hiercam_keras.taxonomy.lineage import Lineage, is_inat
from hiercam_keras.taxonomy.ranks import check_rank
from hiercam_keras.taxonomy.tree import Taxonomy

_Given = Sequence[Lineage | str | None]


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
                entry = lineage_of(_name(entry, place), inat, place)
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
