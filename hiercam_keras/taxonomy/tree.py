"""The taxonomy: a tree of lineages with integer labels at every rank."""

import copy
import types
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.common_names import titled
from hiercam_keras.taxonomy.lineage import MISSING, Lineage, full_name, spelled
from hiercam_keras.taxonomy.naming import find_taxon, unique_names
from hiercam_keras.taxonomy.ranks import check_rank, rank_depth
from hiercam_keras.taxonomy.source import TaxonomySource

SCHEMA_VERSION = 1


class Taxonomy:
    """All classes of a data set as a tree.

    A class at a rank is identified by its lineage prefix, not by its name alone. Labels
    0, 1, .. number the sorted prefixes of a rank, so the descendants of a taxon have
    contiguous labels at every finer rank. The order of `lineages` does not matter.
    Duplicates are merged, and a lineage that is a part of another one adds nothing.

    A taxon may have no taxon at a rank above it (a gap, `lineage.MISSING`): its label
    there is -1, and its parent is the taxon at the next coarser rank that it has.

    Args:
      lineages: at least one, all with the same ranks.
      source: the published taxonomy that the lineages are of; None if unknown. Not part
        of equality.

    Attributes:
      common_names: common name by lineage prefix, of taxa that have one. They are shown
        and searched, and do not count for equality. See `with_common_names`.

    Raises:
      UserError: there are no lineages, or they have different ranks.
    """

    common_names: Mapping[tuple[str, ...], str] = types.MappingProxyType({})

    def __init__(
        self, lineages: Iterable[Lineage], source: TaxonomySource | None = None
    ):
        self.source = source
        by_taxa: dict[tuple[str, ...], Lineage] = {}
        ranks: tuple[str, ...] | None = None
        for lineage in lineages:
            ranks = ranks or lineage.ranks
            if lineage.ranks != ranks:
                raise UserError(
                    f"lineages have ranks {', '.join(ranks)} and "
                    f"{', '.join(lineage.ranks)}, expected one set. Split the data."
                )
            known = by_taxa.get(lineage.taxa)
            if known is None or _id_order(lineage) < _id_order(known):
                by_taxa[lineage.taxa] = lineage
        if ranks is None:
            raise UserError("no classes found, expected at least one lineage.")
        self.ranks: tuple[str, ...] = ranks
        self.lineages: tuple[Lineage, ...] = tuple(
            by_taxa[taxa] for taxa in _without_parts(sorted(by_taxa))
        )
        self._prefixes: dict[str, tuple[tuple[str, ...], ...]] = {}
        self._labels: dict[str, dict[tuple[str, ...], int]] = {}
        for depth, rank in enumerate(self.ranks, start=1):
            here = {taxa[:depth] for taxa in by_taxa if taxa[depth - 1] != MISSING}
            prefixes = tuple(sorted(here))
            self._prefixes[rank] = prefixes
            self._labels[rank] = {prefix: i for i, prefix in enumerate(prefixes)}
        self._names: dict[str, tuple[str, ...]] = {}
        self._by_name: dict[str, dict[str, tuple[int, ...]]] = {}
        self._parents: dict[tuple[str, str], np.ndarray] = {}
        self._sizes: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.num_labels(rank)} {rank}" for rank in self.ranks)
        return f"Taxonomy({counts})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Taxonomy):
            return NotImplemented
        return (self.ranks, self.lineages) == (other.ranks, other.lineages)

    def __hash__(self) -> int:
        return hash((self.ranks, self.lineages))

    @property
    def finest(self) -> str:
        """The finest rank."""
        return self.ranks[-1]

    def num_labels(self, rank: str) -> int:
        """Number of taxa at `rank`."""
        return len(self.prefixes(rank))

    def prefixes(self, rank: str) -> tuple[tuple[str, ...], ...]:
        """Sorted lineage prefixes at `rank`, indexed by label."""
        return self._prefixes[check_rank(rank, self.ranks)]

    def names(self, rank: str) -> tuple[str, ...]:
        """Unique display names, indexed by label; see `naming.unique_names`."""
        rank = check_rank(rank, self.ranks)
        if rank not in self._names:
            self._names[rank] = unique_names(self._prefixes[rank], self.ranks)
        return self._names[rank]

    def with_common_names(self, names: Mapping[Sequence[str], str]) -> "Taxonomy":
        """The same tree with other common names.

        Args:
          names: by lineage prefix; those of prefixes that the tree lacks are left out.
        """
        known = {}
        for prefix, name in names.items():
            prefix = tuple(unicodedata.normalize("NFC", taxon) for taxon in prefix)
            depth = len(prefix)
            if 0 < depth <= len(self.ranks) and name:
                if prefix in self._labels[self.ranks[depth - 1]]:
                    known[prefix] = name
        found = copy.copy(self)
        found.common_names = dict(sorted(known.items()))
        return found

    def common_name(self, rank: str, label: int) -> str:
        """Common name of a taxon; "" if it has none."""
        return self.common_names.get(self.prefixes(rank)[label], "")

    def titles(self, rank: str) -> tuple[str, ...]:
        """Display names with common names, "Ardea cinerea (grey heron)", by label."""
        names = self.names(rank)
        if not self.common_names:
            return names
        return tuple(
            titled(name, self.common_names.get(prefix, ""))
            for name, prefix in zip(names, self.prefixes(rank), strict=True)
        )

    def by_name(self, rank: str) -> Mapping[str, tuple[int, ...]]:
        """Labels by full name, normalized by `lineage.spelled`; several for homonyms.

        Homonyms can also be found by their unique names ("Morus (Sulidae)").
        """
        rank = check_rank(rank, self.ranks)
        if rank not in self._by_name:
            found: dict[str, list[int]] = {}
            for label, prefix in enumerate(self._prefixes[rank]):
                unique = self.names(rank)[label]
                names = {spelled(full_name(prefix, self.ranks)), spelled(unique)}
                for name in names:
                    found.setdefault(name, []).append(label)
            self._by_name[rank] = {name: tuple(own) for name, own in found.items()}
        return self._by_name[rank]

    def label(self, lineage: Lineage | Sequence[str], rank: str) -> int:
        """Label at `rank` of a lineage, or of a prefix that reaches down to `rank`.

        It is -1 if the lineage has no taxon at `rank`.

        Raises:
          UserError: the taxon is not in this tree, or the prefix is too short.
        """
        rank = check_rank(rank, self.ranks)
        prefix = self._prefix_of(lineage, rank)
        if prefix[-1] == MISSING:
            return -1
        try:
            return self._labels[rank][prefix]
        except KeyError:
            raise UserError(
                f"{rank} {'/'.join(prefix)!r} is none of the {self.num_labels(rank)} "
                "of this model or data set. Use the data that it was made from, or "
                "train again."
            ) from None

    def labels(self, lineages: Iterable[Lineage | Sequence[str]], rank: str):
        """Labels at `rank`: int32 (N,), -1 for lineages without a taxon there."""
        return np.array([self.label(one, rank) for one in lineages], dtype=np.int32)

    def find(self, name: str, rank: str | None = None) -> tuple[str, int]:
        """(rank, label) of a taxon by its name.

        Args:
          name: a display name ("Accipitridae", "Accipiter nisus", "Morus (Sulidae)"),
            a lineage from the coarsest rank down, "Animalia/Chordata/Aves", or a common
            name, "grey heron". An exact match has priority over one that differs in
            letter case, and a scientific name over a common one.
          rank: of the taxon; None for any rank.

        Raises:
          UserError: no taxon has this name, or several do.
        """
        return find_taxon(self, name, rank and check_rank(rank, self.ranks))

    def parents(self, fine: str, coarse: str) -> np.ndarray:
        """The label at `coarse` of every label at `fine`: int32 (num_fine,).

        It is -1 where a taxon has none at `coarse`; the others are sorted. Read-only.
        `coarse` may equal `fine`.

        Raises:
          UserError: `coarse` is finer than `fine`.
        """
        fine, coarse = check_rank(fine, self.ranks), check_rank(coarse, self.ranks)
        if (fine, coarse) not in self._parents:
            depth = rank_depth(coarse, self.ranks)
            if depth > rank_depth(fine, self.ranks):
                raise UserError(
                    f"{coarse} is finer than {fine}: a label at {fine} does not say "
                    f"which {coarse}. Ask for {fine} or a coarser rank."
                )
            labels = self._labels[coarse]
            parents = np.array(
                [labels.get(prefix[:depth], -1) for prefix in self._prefixes[fine]],
                np.int32,
            )
            parents.flags.writeable = False
            self._parents[fine, coarse] = parents
        return self._parents[fine, coarse]

    def has_gaps(self, fine: str, coarse: str) -> bool:
        """Whether a taxon at `fine` has none at `coarse`."""
        return bool((self.parents(fine, coarse) < 0).any())

    def rollup(self, fine: str, coarse: str) -> np.ndarray:
        """Matrix of 0 and 1 that sums fine values: float32 (num_fine, num_coarse).

        `probabilities @ rollup` gives the coarse probabilities. The row of a taxon that
        has none at `coarse` is 0.
        """
        parents = self.parents(fine, coarse)
        matrix = np.zeros((len(parents), self.num_labels(coarse)), np.float32)
        known = np.flatnonzero(parents >= 0)
        matrix[known, parents[known]] = 1.0
        return matrix

    def parent(self, rank: str, label: int) -> tuple[str, int] | None:
        """(rank, label) of the taxon above, at the next coarser rank that it has.

        None for a taxon below the root.
        """
        label = self._check_label(rank, label)
        for coarse in reversed(self.ranks[: rank_depth(rank, self.ranks) - 1]):
            above = int(self.parents(rank, coarse)[label])
            if above >= 0:
                return coarse, above
        return None

    def parent_codes(self, rank: str) -> np.ndarray:
        """A number for the parent of each label at `rank`: int64 (N,), -1 for the root.

        Taxa of any ranks with the same parent have the same number.
        """
        codes = np.full(self.num_labels(rank), -1, np.int64)
        for depth, coarse in enumerate(self.ranks[: rank_depth(rank, self.ranks) - 1]):
            above = self.parents(rank, coarse).astype(np.int64)
            codes = np.where(above >= 0, depth * len(self.lineages) + above, codes)
        return codes

    def children(self, rank: str, label: int) -> tuple[tuple[str, int], ...]:
        """(rank, label) of the taxa below, in the order of the tree.

        Below a gap they may be of several ranks.
        """
        code = self.ranks.index(check_rank(rank, self.ranks)) * len(self.lineages)
        code += self._check_label(rank, label)
        found = [
            (self.prefixes(below)[one], below, int(one))
            for below in self.ranks[rank_depth(rank, self.ranks) :]
            for one in np.flatnonzero(self.parent_codes(below) == code)
        ]
        return tuple((below, one) for _, below, one in sorted(found))

    def descendants(self, rank: str, label: int, fine: str) -> np.ndarray:
        """Labels at `fine` below the taxon `label` at `rank`: contiguous int32 (K,)."""
        label = self._check_label(rank, label)
        return np.flatnonzero(self.parents(fine, rank) == label).astype(np.int32)

    def siblings(self, rank: str, label: int) -> np.ndarray:
        """Labels at `rank` with the same parent, without `label` itself: int32 (K,).

        Taxa below the root are siblings. Below a gap the parent may have children of
        other ranks, too, which have no label at `rank`.
        """
        label = self._check_label(rank, label)
        depth = rank_depth(rank, self.ranks)
        above = self.parent(rank, label)
        first = 0 if above is None else rank_depth(above[0], self.ranks)
        family = np.arange(self.num_labels(rank), dtype=np.int32)
        if above is not None:
            family = self.descendants(*above, rank)
        for between in self.ranks[first : depth - 1]:  # skipped by this taxon
            family = family[self.parents(rank, between)[family] < 0]
        return family[family != label]

    def is_only_child(self, rank: str, label: int) -> bool:
        """Whether the parent has no other child of any rank, so that P(taxon | parent)
        is 1."""
        above = self.parent(rank, label)
        whole = len(self.lineages) if above is None else self._num_lineages(*above)
        return self._num_lineages(rank, self._check_label(rank, label)) == whole

    def lca_height(self, rank: str, a: Any, b: Any) -> np.ndarray:
        """Number of ranks from labels up to their lowest common ancestor.

        0 for equal labels and 1 for siblings. Ranks that both skip count, too. Taxa
        without a common ancestor have the root above the coarsest rank.

        Args:
          rank: the rank of both labels.
          a, b: integer labels, arrays that broadcast against each other.

        Returns:
          int32 array of the broadcast shape, 0 .. depth of `rank`.

        Raises:
          ValueError: labels are no integers or out of range.
        """
        rank = check_rank(rank, self.ranks)
        a, b = self._check_labels(rank, a), self._check_labels(rank, b)
        depth = rank_depth(rank, self.ranks)
        height = np.full(np.broadcast_shapes(a.shape, b.shape), depth, np.int32)
        for above, coarse in enumerate(self.ranks[:depth], start=1):
            parents = self.parents(rank, coarse)
            same = (parents[a] == parents[b]) & (parents[a] >= 0)
            height = np.where(same, np.int32(depth - above), height)
        return height

    def trainable_ranks(self) -> tuple[str, ...]:
        """Ranks with more than one taxon."""
        return tuple(rank for rank in self.ranks if self.num_labels(rank) > 1)

    def check_trainable(self, rank: str) -> str:
        """Returns the rank if a classifier can be trained at it.

        Raises:
          UserError: the rank is unknown or has a single taxon.
        """
        rank = check_rank(rank, self.ranks)
        if self.num_labels(rank) > 1:
            return rank
        possible = ", ".join(self.trainable_ranks())
        number = self.num_labels(rank)
        advice = (
            f"Use one of {possible}."
            if possible
            else f"All images are of one {self.finest if number else 'taxon'}: add "
            "others."
        )
        raise UserError(
            f"rank {rank!r} has a single taxon in these data "
            f"({self.names(rank)[0]}): the loss would always be 0 and its gradient "
            f"vanish. {advice}"
            if number
            else f"no image of these data is identified to the rank {rank!r}. {advice}"
        )

    def to_json(self) -> dict[str, Any]:
        """The taxonomy as JSON values, with `schema_version`."""
        about = {} if self.source is None else {"source": self.source.to_json()}
        found: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            **about,
            "ranks": list(self.ranks),
            "lineages": [
                {"taxa": list(one.taxa), "class_id": one.class_id}
                for one in self.lineages
            ],
        }
        if self.common_names:
            found["common_names"] = [
                {"taxa": list(prefix), "name": name}
                for prefix, name in self.common_names.items()
            ]
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Taxonomy":
        """Restores a taxonomy from the values of `to_json`.

        Raises:
          UserError: the schema version differs, or a part is missing.
        """
        version = data.get("schema_version") if isinstance(data, Mapping) else None
        if version != SCHEMA_VERSION:
            raise UserError(
                f"taxonomy has schema_version {version!r}, expected {SCHEMA_VERSION}. "
                "It was written by another version of this program: make it again."
            )
        try:
            ranks = tuple(data["ranks"])
            about = data.get("source")
            source = None if about is None else TaxonomySource.from_json(about)
            lineages = [
                Lineage(tuple(one["taxa"]), ranks, one.get("class_id"))
                for one in data["lineages"]
            ]
            found = cls(lineages, source)
            names = data.get("common_names", ())
            if names:
                found = found.with_common_names(
                    {tuple(one["taxa"]): str(one["name"]) for one in names}
                )
            return found
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"taxonomy is damaged ({error!r}): expected ranks and lineages. "
                "Make it again."
            ) from error

    def _prefix_of(self, lineage: Lineage | Sequence[str], rank: str):
        depth = rank_depth(rank, self.ranks)
        if isinstance(lineage, Lineage):
            if lineage.ranks != self.ranks:
                raise UserError(
                    f"lineage {'/'.join(lineage.taxa)!r} has ranks "
                    f"{', '.join(lineage.ranks)}, expected {', '.join(self.ranks)}."
                )
            return lineage.taxa[:depth]
        if isinstance(lineage, str) or len(lineage) < depth:
            raise UserError(
                f"prefix {lineage!r} does not reach down to {rank}, expected "
                f"{depth} taxa ({', '.join(self.ranks[:depth])})."
            )
        return tuple(unicodedata.normalize("NFC", taxon) for taxon in lineage[:depth])

    def _num_lineages(self, rank: str, label: int) -> int:
        """Number of lineages below a taxon, itself included."""
        if rank not in self._sizes:
            labels = self.labels(self.lineages, rank)
            count = self.num_labels(rank)
            self._sizes[rank] = np.bincount(labels[labels >= 0], minlength=count)
        return int(self._sizes[rank][label])

    def _check_label(self, rank: str, label: int) -> int:
        return int(self._check_labels(rank, label))

    def _check_labels(self, rank: str, labels: Any) -> np.ndarray:
        labels = np.asarray(labels)
        count = self.num_labels(rank)
        if not np.issubdtype(labels.dtype, np.integer) and labels.size:
            raise ValueError(f"labels are {labels.dtype}, expected integers")
        if labels.size and (labels.min() < 0 or labels.max() >= count):
            raise ValueError(
                f"labels are {labels.min()} .. {labels.max()}, expected 0 .. "
                f"{count - 1} at rank {rank!r}"
            )
        return labels.astype(np.intp)


def _without_parts(taxa: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of the sorted lineages that are not the beginning of another one."""
    found = []
    for i, one in enumerate(taxa):
        known = one
        while known[-1] == MISSING:
            known = known[:-1]
        # The lineages below a taxon follow it, as MISSING sorts before all names.
        below = i + 1 < len(taxa) and taxa[i + 1][: len(known)] == known
        if len(known) == len(one) or not below:
            found.append(one)
    return found


def _id_order(lineage: Lineage) -> tuple[bool, str]:
    """Sort key by which the duplicate with the smallest id is kept."""
    return lineage.class_id is None, lineage.class_id or ""
