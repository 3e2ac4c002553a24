"""Maps the output columns of a network to taxa.

An imported network has its own order of classes, classes without a taxon (941 classes
of ImageNet are no birds), and several classes for one taxon (cock and hen). `Labels`
maps each output column to a label of a taxonomy. The score of a taxon with several
columns is the logsumexp of their logits, so its probability is the sum of theirs.
Columns without a taxon are excluded from the softmax.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import homonyms as homonyms_lib
from hiercam_keras.taxonomy.lineage import OTHER, Lineage, unnamed_below
from hiercam_keras.taxonomy.ranks import check_ranks
from hiercam_keras.taxonomy.tree import Taxonomy

SCHEMA_VERSION = 1
OTHERS = ("leave_out", "keep")  # choices for output columns without a lineage
_SHOWN = 5  # names that a message lists


@dataclasses.dataclass(frozen=True, eq=False)
class HeadLabels:
    """Labels of the columns of one output.

    Attributes:
      rank: of the taxa.
      columns: int32 (n_outputs,), read-only: the label of each column at `rank`, -1 for
        a column that is excluded from the softmax. A network with a single logit z has
        two columns, with the logits 0 and z.
    """

    rank: str
    columns: np.ndarray

    def __post_init__(self):
        columns = np.array(self.columns, np.int32)
        columns.flags.writeable = False
        object.__setattr__(self, "columns", columns)


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels of all outputs of a network.

    Attributes:
      taxonomy: of all columns with a lineage, and of `other` if it is kept.
      heads: by name of the output: a key of the network's output dict, the name of the
        last layer of the output, or its position as "0", "1", ... The key of a single
        output may be None.
      source: name of these labels in messages, such as a path.

    Raises:
      UserError: there is no head, two heads have the same rank, a head has no column
        with a taxon, or a label is out of range.
    """

    taxonomy: Taxonomy
    heads: Mapping[str | None, HeadLabels]
    source: str = "labels"

    def __post_init__(self):
        object.__setattr__(self, "heads", dict(self.heads))
        if not self.heads or (None in self.heads and len(self.heads) > 1):
            raise UserError(
                f"{self.source}: expected one head, or several with the names of their "
                f"outputs; found {', '.join(map(repr, self.heads)) or 'none'}."
            )
        by_rank: dict[str, str | None] = {}
        for output, head in self.heads.items():
            first = by_rank.setdefault(head.rank, output)
            if first != output:
                raise UserError(
                    f"{self.source}: the outputs {first!r} and {output!r} both have "
                    f"the rank {head.rank}, expected another rank for each. Leave the "
                    "rows of one output out, or name the taxa of its own rank."
                )
            self._check(output, head)

    def _check(self, output: str | None, head: HeadLabels) -> None:
        count, columns = self.taxonomy.num_labels(head.rank), head.columns
        at = "" if output is None else f" of the output {output!r}"
        if columns.ndim != 1 or not columns.size:
            raise UserError(
                f"{self.source}: the columns{at} have shape {columns.shape}, expected "
                "one label an output."
            )
        if columns.min() < -1 or columns.max() >= count:
            raise UserError(
                f"{self.source}: the columns{at} have the labels {columns.min()} .. "
                f"{columns.max()}, expected 0 .. {count - 1} at the rank {head.rank}, "
                "or -1 for a column that is left out."
            )
        if columns.max() < 0:
            raise UserError(
                f"{self.source}: none of the {len(columns)} outputs{at} has a lineage. "
                "Name the taxa of at least two outputs."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Labels):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.taxonomy)

    def __repr__(self) -> str:
        heads = ", ".join(
            f"{'' if output is None else f'{output}: '}{len(head.columns)} outputs of "
            f"{len(np.unique(head.columns[head.columns >= 0]))} {head.rank}"
            for output, head in self.heads.items()
        )
        return f"<Labels of {self.source}: {heads}>"

    @property
    def ranks(self) -> tuple[str, ...]:
        """The ranks of the heads, coarse to fine."""
        own = {head.rank for head in self.heads.values()}
        return tuple(rank for rank in self.taxonomy.ranks if rank in own)

    def to_json(self) -> dict[str, Any]:
        """The labels as JSON values, without `source`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "taxonomy": self.taxonomy.to_json(),
            "heads": [
                {"output": output, "rank": head.rank, "columns": head.columns.tolist()}
                for output, head in self.heads.items()
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], source: str = "labels") -> "Labels":
        """Restores labels from the values of `to_json`.

        Raises:
          UserError: the schema version differs, or a part is missing or invalid.
        """
        version = data.get("schema_version") if isinstance(data, Mapping) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{source} has schema_version {version!r}, expected {SCHEMA_VERSION}. "
                "It was written by another version of this program: import the network "
                "again."
            )
        try:
            heads = {
                head["output"]: HeadLabels(head["rank"], head["columns"])
                for head in data["heads"]
            }
            return cls(Taxonomy.from_json(data["taxonomy"]), heads, source)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{source} is damaged ({error!r}): expected a taxonomy and heads with "
                "output, rank and columns. Import the network again."
            ) from error


class Named(NamedTuple):
    """The taxa of one output column.

    Attributes:
      taxa: from the coarsest rank to the finest named one; empty for a column without a
        lineage.
      place: origin of the column, for messages: "labels.csv, line 3".
      class_id: as in `Lineage`.
    """

    taxa: tuple[str, ...]
    place: str
    class_id: str | None = None


def build(
    ranks: Sequence[str],
    outputs: Mapping[str | None, Sequence[Named]],
    other: str = "leave_out",
    homonyms: str = "error",
    source: str = "labels",
) -> Labels:
    """Builds Labels, and their taxonomy, from the taxa of each column.

    The rank of an output is the finest rank named in any of its columns. A column that
    names coarser taxa only is labeled as an unknown taxon below them, "Corvidae sp.".

    Args:
      ranks: coarse to fine.
      outputs: the taxa of each column in the network's order, by name of the output.
      other: "leave_out" excludes columns without a lineage from the softmax; "keep"
        makes them one taxon, `other` at every rank.
      homonyms: "error" rejects one name under two parents; "keep" treats them as
        separate taxa.
      source: as in `Labels`.

    Raises:
      UserError: no column of an output has a lineage, two outputs have the same rank,
        or a taxon has two parents.
    """
    if other not in OTHERS:
        raise UserError(f"other is {other!r}, expected {' or '.join(OTHERS)}.")
    ranks = check_ranks(ranks)
    depths = {}
    for output, columns in outputs.items():
        depths[output] = max((len(one.taxa) for one in columns), default=0)
        if not depths[output]:
            at = "" if output is None else f" of the output {output!r}"
            raise UserError(
                f"{source}: none of the {len(columns)} rows{at} has a lineage. Fill in "
                f"the columns of at least two rows ({', '.join(ranks)})."
            )
    depth = max(depths.values(), default=0)
    ranks = ranks[:depth]
    paths = {
        output: [_path(one, ranks[: depths[output]], other) for one in columns]
        for output, columns in outputs.items()
    }
    taxonomy = Taxonomy(_lineages(paths, ranks))
    places = {
        path.taxa: one.place
        for output in reversed(list(paths))
        for one, path in zip(outputs[output][::-1], paths[output][::-1], strict=True)
        if path is not None
    }
    _check_parents(taxonomy, places, homonyms, source)
    heads = {}
    for output, known in paths.items():
        rank = ranks[depths[output] - 1]
        columns = [
            -1 if one is None else taxonomy.label(one.taxa, rank) for one in known
        ]
        heads[output] = HeadLabels(rank, np.array(columns, np.int32))
    labels = Labels(taxonomy, heads, source)
    _log(labels)
    return labels


def _path(named: Named, ranks: tuple[str, ...], other: str) -> Lineage | None:
    """The lineage of a column down to the rank of its output; None if left out."""
    taxa = named.taxa
    if not taxa:
        if other == "leave_out":
            return None
        taxa = (OTHER,) * len(ranks)
    below = (unnamed_below(taxa[-1]),) * (len(ranks) - len(taxa))
    try:
        return Lineage((*taxa, *below), ranks, named.class_id)
    except UserError as error:
        raise UserError(f"{named.place}: {error}") from None


def _lineages(
    paths: Mapping[Any, Sequence[Lineage | None]], ranks: tuple[str, ...]
) -> list[Lineage]:
    """All lineages, extended to full depth.

    Taxa that occur only in a coarser output get unnamed taxa below them.
    """
    known = [one for columns in paths.values() for one in columns if one is not None]
    known.sort(key=lambda one: -len(one.taxa))
    found, above = [], set()
    for one in known:
        if len(one.taxa) == len(ranks) or one.taxa not in above:
            name = OTHER if set(one.taxa) == {OTHER} else unnamed_below(one.taxa[-1])
            below = (name,) * (len(ranks) - len(one.taxa))
            full = Lineage((*one.taxa, *below), ranks, one.class_id)
            found.append(full)
            above |= {full.taxa[:depth] for depth in range(1, len(ranks) + 1)}
    return found


def _check_parents(
    taxonomy: Taxonomy,
    places: Mapping[tuple[str, ...], str],
    homonyms: str,
    source: str,
) -> None:
    """Raises UserError for a name under two parents or in two spellings."""
    if homonyms not in homonyms_lib.CHOICES:
        raise UserError(
            f"homonyms is {homonyms!r}, expected {' or '.join(homonyms_lib.CHOICES)}."
        )
    found = homonyms_lib.find(taxonomy)
    # `other` has the same name at every rank.
    found = [one for one in found if one.prefixes[0][-1] != OTHER]
    if not found:
        return
    if homonyms == "keep":
        logging.info("%s: kept apart: %s", source, "; ".join(map(str, found[:_SHOWN])))
        return
    first = found[0]
    lines = [
        next(place for taxa, place in places.items() if taxa[: len(one)] == one)
        for one in first.prefixes
    ]
    lines = [line.removeprefix(f"{source}, ") for line in lines]
    more = f" (and {len(found) - 1} more such names)" if len(found) > 1 else ""
    raise UserError(
        f"{source}: {first}{more}: {' and '.join(lines)}. A taxon has one parent and "
        "one spelling: correct the rows. If they are different taxa of one name, keep "
        "them apart (read_labels(path, homonyms='keep'), --config.data.homonyms=keep)."
    )


def _log(labels: Labels) -> None:
    for output, head in labels.heads.items():
        names = labels.taxonomy.names(head.rank)
        at = "" if output is None else f", output {output!r}"
        counts = Counter(head.columns.tolist())
        left_out = counts.pop(-1, 0)
        merged = [f"{names[i]} {n}" for i, n in sorted(counts.items()) if n > 1]
        missing = [name for i, name in enumerate(names) if i not in counts]
        logging.info(
            "%s%s: %s %s %s; %d %s left out",
            labels.source,
            at,
            wording.count(len(head.columns), "output"),
            "is" if len(head.columns) == 1 else "are",
            wording.count(len(counts), head.rank),
            left_out,
            "is" if left_out == 1 else "are",
        )
        if merged:
            logging.info(
                "%s%s: several outputs mean one %s: %s",
                labels.source,
                at,
                head.rank,
                _listed(merged),
            )
        if missing:
            logging.warning(
                "%s%s: no output means %s, which another output knows of: the answer "
                "at the rank %s is never one of them",
                labels.source,
                at,
                _listed(missing),
                head.rank,
            )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
