"""The scores that a model provides, as rows over the columns of its logits.

A model outputs C logits: one head of `num_labels` columns, or several heads (one for
each rank) concatenated. Each score is a *row*: a set of columns, with the logsumexp of
their logits as its value. Rows form groups:

* the root: all columns of the finest head;
* one group for each rank down to the finest head's, holding the rank-marginal of every
  taxon, s_n = logsumexp of its descendants' logits (a node's probability is the sum of
  its leaves' probabilities, so s_n - s_root = log P(n));
* one group for each coarser head of a multi-rank model, holding that head's own logits.

This assumes mutually exclusive labels. Each label of an independent head
(`Head.independent`) is a binary decision: its row is a single column, and there are no
rows of coarser ranks.

Targets are expressed as integers (row and opposing row), so one compiled function
serves all targets. NumPy only.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hiercam_keras.errors import UserError

if TYPE_CHECKING:
    from hiercam_keras.taxonomy.tree import Taxonomy

ROOT = "root"
LABEL = "label"  # name of the rank of a model without a taxonomy
SOFTMAX, SIGMOID = "softmax", "sigmoid"


@dataclasses.dataclass(frozen=True)
class Head:
    """Interpretation of the logits of one output.

    Attributes:
      size: number of labels, and of columns in the score space.
      activation: "softmax", P = softmax(z), or "sigmoid", P = sigmoid(z) for each
      label.
      one_logit: whether the output is one logit z for two classes. Its columns are 0
        and z, as softmax(0, z) = (1 - sigmoid(z), sigmoid(z)). The score of a class is
        its log-odds, -z or z.
    """

    size: int
    activation: str = SOFTMAX
    one_logit: bool = False

    @property
    def independent(self) -> bool:
        """Whether several labels can be true for one image (multi-label)."""
        return self.activation == SIGMOID and not self.one_logit


@dataclasses.dataclass(frozen=True)
class Group:
    """The rows of one rank over the columns of one head.

    Attributes:
      rank: of the rows; ROOT for the root.
      own: whether the rows are labels of the rank's own head, not marginals of a finer
        head.
      start, size: the rows are `start .. start + size - 1`.
      column: first column; the columns are `column .. column + len(owner) - 1`.
      owner: int32, the row of each column, counted from `start`; -1 for a column whose
        taxon has none at the rank.
      head: the head of these columns.
    """

    rank: str
    own: bool
    start: int
    size: int
    column: int
    owner: np.ndarray
    head: Head


class ScoreSpace:
    """The M rows, in G groups, of a model with the given heads and C columns.

    Args:
      heads: Head by rank, or the number of labels for a softmax head. A model without
        ranks has `{LABEL: n}`.
      taxonomy: defines the coarser ranks. Without it there are no marginals.
      names: display names of the labels if there is no taxonomy: a sequence for a
        single head, or sequences by rank.

    Attributes:
      ranks: coarse to fine down to the rank of the finest head. Only the finest rank if
        there is no taxonomy or the labels are independent.
      finest: rank of the finest head, with the marginals for steps, paths and
      contrasts.
      heads: ranks of the heads, in the order of their columns.
      head_of: Head by rank.
      num_labels: number of labels by rank of the head.
      groups: see `Group`; the first is the root.
      num_rows, num_columns: M and C.
      owner: int32 (G, C), the row of column c in group g, -1 for none.
      group_of: int32 (M,), the group of a row.
      parent: int32 (M,), the row one rank up, or at the next coarser rank that the
        taxon has. The root is the parent of itself and of the rows of coarser heads.
      only_child: bool (M,), whether the parent has no other child.
      ancestors: int32 (N, R), the row of label n of the finest head at each rank; the
        root, whose step is trivial, at a rank that it does not have.
    """

    def __init__(
        self,
        heads: Mapping[str, int | Head],
        taxonomy: Taxonomy | None = None,
        names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    ):
        self.taxonomy = taxonomy
        self.head_of = {
            rank: head if isinstance(head, Head) else Head(head)
            for rank, head in heads.items()
        }
        self.num_labels = {rank: head.size for rank, head in self.head_of.items()}
        self.heads = _ordered_heads(self.num_labels, taxonomy)
        self.finest = self.heads[-1]
        if taxonomy is None or self.head_of[self.finest].independent:
            self.ranks = (self.finest,)
        else:
            ranks = tuple(taxonomy.ranks)
            self.ranks = ranks[: ranks.index(self.finest) + 1]
        self._names = self._check_names(names)
        self.groups = self._make_groups()
        self.num_rows = sum(group.size for group in self.groups)
        self.num_columns = sum(self.num_labels.values())
        self._index_rows()

    def _check_names(self, names) -> dict[str, tuple[str, ...]]:
        if names is None:
            return {}
        if self.taxonomy is not None:
            raise UserError("names= and taxonomy= both name the labels: give one")
        if not isinstance(names, Mapping):
            if isinstance(names, str) or len(self.heads) > 1:
                raise UserError(
                    "names are a sequence of one name a label, and for several heads "
                    f"a dict of them; the heads are {', '.join(self.heads)}"
                )
            names = {self.finest: names}
        found = {rank: tuple(map(str, own)) for rank, own in names.items()}
        for rank, own in found.items():
            size = self.num_labels.get(rank)
            if size != len(own):
                known = ", ".join(f"{r} {n}" for r, n in self.num_labels.items())
                raise UserError(
                    f"found {len(own)} names for {rank!r}; the model's labels are: "
                    f"{known}. Name each of them, in the order of the outputs"
                    + (" (one logit is two classes)" if size == 2 else "")
                )
        return found

    def _make_groups(self) -> tuple[Group, ...]:
        columns, column = {}, 0
        for rank in self.heads:
            columns[rank] = column
            column += self.num_labels[rank]
        fine = self.num_labels[self.finest]
        at = columns[self.finest]
        head = self.head_of[self.finest]
        groups = [Group(ROOT, False, 0, 1, at, np.zeros(fine, np.int32), head)]

        def append(rank, own, size, column, owner, head=head):
            start = groups[-1].start + groups[-1].size
            groups.append(Group(rank, own, start, size, column, owner, head))

        for rank in self.ranks:
            if rank == self.finest:
                append(rank, True, fine, at, np.arange(fine, dtype=np.int32))
            else:
                owner = np.asarray(self.taxonomy.parents(self.finest, rank), np.int32)
                append(rank, False, self.taxonomy.num_labels(rank), at, owner)
        for rank in self.heads[:-1]:
            size = self.num_labels[rank]
            owner = np.arange(size, dtype=np.int32)
            append(rank, True, size, columns[rank], owner, self.head_of[rank])
        return tuple(groups)

    def _index_rows(self) -> None:
        self.owner = np.full((len(self.groups), self.num_columns), -1, np.int32)
        self.group_of = np.zeros(self.num_rows, np.int32)
        self.parent = np.zeros(self.num_rows, np.int32)
        for index, group in enumerate(self.groups):
            columns = slice(group.column, group.column + len(group.owner))
            rows = np.where(group.owner < 0, -1, group.start + group.owner)
            self.owner[index, columns] = rows
            self.group_of[group.start : group.start + group.size] = index
        lineage = self.groups[: len(self.ranks) + 1]
        above = np.zeros(len(lineage[0].owner), np.int32)  # each column's row: the root
        for group in lineage[1:]:
            # A column's row in a group and its last one above: child and parent.
            has = group.owner >= 0
            rows = group.start + group.owner[has]
            self.parent[rows] = above[has]
            above[has] = rows
        children = np.bincount(
            self.parent[1 : lineage[-1].start + lineage[-1].size],
            minlength=self.num_rows,
        )
        self.only_child = children[self.parent] == 1
        self.only_child[0] = True
        self.only_child[lineage[-1].start + lineage[-1].size :] = False
        self.ancestors = np.stack(
            [
                np.where(group.owner < 0, 0, group.start + group.owner)
                for group in lineage[1:]
            ],
            axis=1,
        ).astype(np.int32)

    def group(self, rank: str | None, score: str = "own") -> int:
        """Index of the group with the scores of a rank.

        Args:
          rank: None for the rank of the finest head.
          score: "own" for the rank's own head if there is one; "marginal" for the
            marginal of the finest head.

        Raises:
          UserError: the model has no scores for this rank.
        """
        if score not in ("own", "marginal"):
            raise UserError(f"score is 'own' or 'marginal', not {score!r}")
        rank = self.finest if rank is None else rank
        found = [i for i, g in enumerate(self.groups) if i and g.rank == rank]
        if not found:
            known = ", ".join(dict.fromkeys(self.ranks + self.heads))
            hint = "" if self.taxonomy else " (without a taxonomy, no rank above it)"
            if self.taxonomy and self.head_of[self.finest].independent:
                hint = (
                    f" (labels of {self.finest} are independent sigmoids, and their "
                    "probabilities do not add up to those of coarser ranks)"
                )
            raise UserError(
                f"this model cannot answer for the rank {rank!r}; "
                f"it can for {known}{hint}"
            )
        # If there are two groups, the marginal one is first.
        return found[-1] if score == "own" else found[0]

    def row(self, rank: str | None, label: int, score: str = "own") -> int:
        """Row of a label at a rank; raises UserError if it is out of range."""
        group = self.groups[self.group(rank, score)]
        if not 0 <= label < group.size:
            raise UserError(
                f"label {label} is out of range: rank {group.rank} has labels "
                f"0 to {group.size - 1}"
            )
        return group.start + int(label)

    def rank_label(self, row: int) -> tuple[str, int]:
        """Rank and label of a row; ("root", 0) for the root, ("", -1) for row -1."""
        if row < 0:
            return "", -1
        group = self.groups[self.group_of[row]]
        return group.rank, int(row) - group.start

    def name(self, row: int) -> str:
        """Display name of a row's taxon; "" for row -1."""
        rank, label = self.rank_label(row)
        if rank in ("", ROOT):
            return rank
        if self.taxonomy is not None:
            return self.taxonomy.names(rank)[label]
        return self._names[rank][label] if rank in self._names else str(label)

    def find(self, name: str, rank: str) -> int:
        """Label at a rank of a taxon given by display name or lineage path.

        Raises:
          UserError: no label or several labels have this name.
        """
        if self.taxonomy is not None:
            return int(self.taxonomy.find(name, rank)[1])
        if rank not in self._names:
            raise UserError(
                f"the target {name!r} is a name, and names need a taxonomy or a list: "
                "Explainer(model, taxonomy=...) or Explainer(model, names=[...])"
            )
        names = self._names[rank]
        labels = [label for label, known in enumerate(names) if known == name]
        if len(labels) > 1:
            raise UserError(f"{name!r} names the labels {labels}: ask by number")
        if not labels:
            close = difflib.get_close_matches(name, names, 3) or names[:6]
            raise UserError(
                f"no label is named {name!r}; names= has {', '.join(close)}"
                + (", ..." if len(names) > len(close) else "")
            )
        return labels[0]

    def probabilities(
        self, logits: np.ndarray, rank: str | None = None, score: str = "own"
    ) -> np.ndarray:
        """Probability of every label of a rank: float64 (B, n).

        Marginals at a rank that not all taxa have add up to less than 1.

        Args:
          logits: (B, C), as `Explanation.logits`.
          rank, score: as for `group`.
        """
        group = self.groups[self.group(rank, score)]
        columns = slice(group.column, group.column + len(group.owner))
        z = np.asarray(logits, np.float64)[:, columns]
        if group.head.independent:
            return 0.5 * (1 + np.tanh(0.5 * z))
        shares = np.exp(z - z.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        has = group.owner >= 0  # a column at a gap belongs to none of the rows
        found = np.zeros((len(z), group.size))
        np.add.at(found, (slice(None), group.owner[has]), shares[:, has])
        return found


def _ordered_heads(heads, taxonomy) -> tuple[str, ...]:
    if not heads:
        raise UserError("the model has no heads to ask")
    if taxonomy is None:
        # Without a tree the head with most labels counts as the finest.
        return tuple(sorted(heads, key=lambda rank: heads[rank]))
    ranks = list(taxonomy.ranks)
    for rank, size in heads.items():
        if rank not in ranks:
            raise UserError(
                f"the model's output {rank!r} is no rank of the taxonomy; "
                f"it has {', '.join(ranks)}"
            )
        if taxonomy.num_labels(rank) != size:
            raise UserError(
                f"the model's head for {rank} has {size} labels, the taxonomy "
                f"{taxonomy.num_labels(rank)}: is it the taxonomy it was trained with?"
            )
    return tuple(sorted(heads, key=ranks.index))
