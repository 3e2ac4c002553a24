"""Translates lineages, and the labels of a network, into another taxonomy.

Names are looked up as a whole (`name_table`). A taxon that the table does not name,
such as a genus, becomes the taxon that all its named species have in common: a genus
that was split becomes the family that holds all its parts. A name that cannot be mapped
keeps its own lineage where that has the ranks of the table.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.labels import HeadLabels, Labels
from hiercam_keras.taxonomy.lineage import MISSING, Lineage
from hiercam_keras.taxonomy.name_table import NameTable, name_of, shortened
from hiercam_keras.taxonomy.rank_columns import level
from hiercam_keras.taxonomy.tree import Taxonomy

HEADER = ("name", "change", "new_name", "lineage")
_SHOWN = 5  # names that a message lists


@dataclass(frozen=True)
class Translation:
    """Lineages in another taxonomy.

    Attributes:
      table: that was used.
      lineages: the new lineage of each old one; None for one that cannot be mapped and
        whose own ranks are others.
      unmapped: names that the table does not have.
      lumped: names that are one taxon now, by its new name.
      split: new names of the parts, by the name that was split.
    """

    table: NameTable
    lineages: dict[Lineage, Lineage | None]
    unmapped: tuple[str, ...] = ()
    lumped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def moved(self, rank: str) -> list[tuple[Lineage, Lineage]]:
        """Pairs of old and new lineages with other taxa at a rank that both have."""
        return [pair for pair in self.lineages.items() if _moved(*pair, rank)]

    def sentence(self) -> str:
        """What changed, for the log and for results."""
        about = self.table.about
        parts = []
        for rank in reversed(self.table.ranks[:-1]):
            if moved := len(self.moved(rank)):
                parts.append(f"{moved} in another {rank}")
        if self.lumped:
            names = sum(map(len, self.lumped.values()))
            listed = [f"{new} ({', '.join(old)})" for new, old in self.lumped.items()]
            taxa = wording.count(len(self.lumped), "taxon")
            parts.append(f"{names} lumped to {taxa}: {_listed(listed)}")
        if self.split:
            listed = [f"{old} ({', '.join(new)})" for old, new in self.split.items()]
            parts.append(f"{len(self.split)} split, each one taxon: {_listed(listed)}")
        total = wording.count(len(self.lineages), "taxon")
        changes = f": {'; '.join(parts)}" if parts else ""
        return f"{total} as {about} has them ({self.table.path}){changes}"

    def warning(self) -> str:
        """What could not be mapped; "" if all could."""
        if not self.unmapped:
            return ""
        lost = sum(new is None for new in self.lineages.values())
        kept = len(self.unmapped) - lost
        said = [
            f"{self.table.path} does not have {len(self.unmapped)} of "
            f"{wording.count(len(self.lineages), 'taxon')}: {_listed(self.unmapped)}"
        ]
        if kept:
            said.append(f"own lineage kept for {wording.count(kept, 'taxon')}")
        if lost:
            said.append(
                f"{wording.count(lost, 'taxon')} left out, with a lineage of its own "
                f"that lacks ranks of the table ({', '.join(self.table.ranks)})"
            )
        if len(self.unmapped) == len(self.lineages):
            said.append("nothing is translated: is it the table for these names?")
        return "; ".join(said)

    def common_names(
        self, old: Mapping[tuple[str, ...], str]
    ) -> dict[tuple[str, ...], str]:
        """Common names by new lineage prefix: those of the table, else the old ones.

        An old name of a genus or a coarser taxon is kept if the taxon has its name and
        rank in the new lineage, too.

        Args:
          old: by old lineage prefix.
        """
        found: dict[tuple[str, ...], str] = {}
        for before, now in self.lineages.items():
            for rank in before.ranks if now is not None else ():
                prefix = before.prefix(rank)
                name = old.get(prefix)
                if not name:
                    continue
                if rank == before.finest:
                    found.setdefault(now.prefix(now.finest), name)
                elif rank in now.ranks and now.prefix(rank)[-1] == prefix[-1]:
                    found.setdefault(now.prefix(rank), name)
        return {**found, **self.table.common_names}

    def check(self, whose: str) -> None:
        """A UserError if the table has none of the names: answers would pass for those
        of its taxonomy.

        Args:
          whose: the names, in words.
        """
        if self.lineages and len(self.unmapped) == len(self.lineages):
            raise UserError(
                f"{self.table.path} has none of the "
                f"{wording.count(len(self.unmapped), 'name')} of {whose}: "
                f"{_listed(self.unmapped)}. Expected whole names in both, such as "
                "Accipiter nisus."
            )

    def log(self) -> None:
        """Logs what changed, and warns of what could not be mapped."""
        logging.info("%s", self.sentence())
        if warning := self.warning():
            logging.warning("%s", warning)

    def rows(self) -> list[list[str]]:
        """Rows of HEADER for each taxon that is called or placed otherwise now."""
        unmapped, rows = set(self.unmapped), []
        lumped = {one for names in self.lumped.values() for one in names}
        for old, new in self.lineages.items():
            name = name_of(old)
            if new is None or name in unmapped:
                rows.append([name, "not in the table", "", ""])
                continue
            what = [rank for rank in new.ranks[:-1] if _moved(old, new, rank)]
            changes = [f"other {rank}" for rank in what]
            changes += ["lumped"] * (name in lumped) + ["split"] * (name in self.split)
            if not changes and name_of(new) != name:
                changes = ["other name"]
            if changes:
                rows.append([name, ", ".join(changes), name_of(new), new.path])
        return rows


def _moved(old: Lineage, new: Lineage | None, rank: str) -> bool:
    """Whether both have a taxon at a rank, and it has another name."""
    if new is None or rank not in old.ranks or rank not in new.ranks:
        return False
    names = {old.prefix(rank)[-1], new.prefix(rank)[-1]}
    return len(names) > 1 and MISSING not in names


def translate(lineages: Iterable[Lineage], table: NameTable) -> Translation:
    """Translates lineages.

    Args:
      lineages: of all data or of a model; each of them once is enough.
      table: of the other taxonomy.

    Raises:
      UserError: a name is that of several taxa of a parent-child table.
    """
    lineages = list(dict.fromkeys(lineages))
    found: dict[Lineage, Lineage | None] = {}
    split: dict[str, tuple[str, ...]] = {}
    below: dict[tuple, list[Lineage]] = defaultdict(list)
    for old in lineages:
        entry = table.find(name_of(old))
        if entry is None:
            continue
        found[old] = entry.lineage
        if entry.parts:
            split[name_of(old)] = tuple(name_of(one) for one in entry.parts)
        for rank in old.ranks:
            below[old.ranks, old.prefix(rank)].append(entry.lineage)
    unmapped = []
    for old in lineages:
        if old in found:
            continue
        at, members = old.finest, []
        if old.is_partial:
            members = list(below.get((old.ranks, old.prefix(at)), ()))
        if level(at) == level("genus"):
            members += table.of_genus(name_of(old))
        if members:
            found[old] = _common(members, at)
        if found.get(old) is None:
            found[old] = table.taxon(name_of(old), at)
        if found[old] is None:
            unmapped.append(name_of(old))
            found[old] = _kept(old, table.ranks)
    names: dict[Lineage, list[str]] = defaultdict(list)
    for old in lineages:
        if found[old] is not None and not old.is_partial:
            names[found[old]].append(name_of(old))
    lumped = {
        name_of(new): tuple(old)
        for new, old in names.items()
        if len(set(old)) > 1 and not new.is_partial
    }
    ordered = {old: found[old] for old in lineages}
    return Translation(table, ordered, tuple(unmapped), lumped, split)


def _common(lineages: Sequence[Lineage], rank: str) -> Lineage | None:
    """The taxon at a rank, or above, that has all the lineages below it; None for the
    root."""
    ranks, shared = lineages[0].ranks, []
    for here, *taxa in zip(ranks, *(one.taxa for one in lineages), strict=True):
        if len(set(taxa)) > 1 or _is_finer(here, rank):
            break
        shared.append(taxa[0])
    while shared and shared[-1] == MISSING:
        shared.pop()
    return shortened(shared, ranks) if shared else None


def _is_finer(rank: str, than: str) -> bool:
    """Whether a rank is finer; ranks without a known place are finer than all."""
    if rank == than:
        return False
    depths = level(rank), level(than)
    return None in depths or depths[0] > depths[1]


def _kept(old: Lineage, ranks: Sequence[str]) -> Lineage | None:
    """The lineage at other ranks; None if it lacks one of them."""
    if not set(ranks) <= set(old.ranks):
        return None
    taxa = tuple(old.prefix(rank)[-1] for rank in ranks)
    return Lineage(taxa, tuple(ranks), old.class_id) if any(taxa) else None


@dataclass(frozen=True)
class OtherTree:
    """A network's labels in another taxonomy than it was trained with.

    Attributes:
      labels: of the network's outputs, with the new taxonomy.
      translation: of the lineages.
      dropped: ranks of heads with a taxon that was split among several: these ranks are
        read off the finest head.
      heads: new rank of each head that is left, by its rank at the training.
    """

    labels: Labels
    translation: Translation
    dropped: tuple[str, ...]
    heads: dict[str, str]

    @property
    def table(self) -> NameTable:
        """The table of the other taxonomy."""
        return self.translation.table

    def identity(self) -> dict[str, Any]:
        """What answers depend on, for the key of stored maps."""
        return {"table": self.table.digest, "ranks": list(self.table.ranks)}


def own_labels(taxonomy: Taxonomy, ranks: Sequence[str]) -> Labels:
    """The labels of a network that has the taxonomy's own order.

    Args:
      taxonomy: of the network.
      ranks: of its heads.
    """
    several = len(ranks) > 1
    heads = {
        rank if several else None: HeadLabels(
            rank, np.arange(taxonomy.num_labels(rank), dtype=np.int32)
        )
        for rank in ranks
    }
    return Labels(taxonomy, heads, "the network")


def other_tree(labels: Labels, table: NameTable) -> OtherTree:
    """Labels of a network's outputs in another taxonomy.

    The outputs stay those of the taxa that the network was trained with. Outputs of
    taxa that were lumped become one (the logsumexp of their logits). The finest head
    answers for all ranks of the new tree; a coarser head is kept if none of its taxa
    was divided.

    Args:
      labels: of the network.
      table: of the other taxonomy.

    Raises:
      UserError: a taxon of the finest head cannot be mapped or was divided, or the
        table has no rank for it.
    """
    whole = labels.taxonomy
    translation = translate(whole.lineages, table)
    translation.check("the network")
    lost = [name_of(old) for old, new in translation.lineages.items() if new is None]
    if lost:
        raise UserError(
            f"--taxonomy={table.path}: the network has the ranks "
            f"{', '.join(whole.ranks)}, the table {', '.join(table.ranks)}, and the "
            f"table does not have {wording.count(len(lost), 'taxon')} of the network: "
            f"{_listed(lost)}. Add rows for them."
        )
    new = [translation.lineages[old] for old in whole.lineages]
    taxonomy = Taxonomy(new, table.about)
    names = translation.common_names(whole.common_names)
    taxonomy = taxonomy.with_common_names(names)
    ranks = sorted((head.rank for head in labels.heads.values()), key=whole.ranks.index)
    heads, dropped, renamed = {}, [], {}
    for output, head in labels.heads.items():
        rank = _rank_in(head.rank, whole, table)
        divided = {} if rank is None else _divided(whole, head.rank, new, rank)
        if rank is None or divided:
            if head.rank == ranks[-1]:
                raise UserError(_why_not(head.rank, rank, whole, table, divided))
            dropped.append(head.rank)
            continue
        # One lineage below each old label, as they all have one new taxon.
        own = whole.labels(whole.lineages, head.rank)
        _, first = np.unique(own[own >= 0], return_index=True)
        first = np.flatnonzero(own >= 0)[first]
        to_new = taxonomy.labels([new[i] for i in first], rank)
        columns = np.array([*to_new, -1], np.int32)[head.columns]
        heads[output] = HeadLabels(rank, columns)
        renamed[head.rank] = rank
    if dropped:
        logging.info(
            "--taxonomy=%s: taxa of the head%s %s are divided in %s: %s read off the "
            "%s head",
            table.path,
            "s" * (len(dropped) > 1),
            ", ".join(dropped),
            table.about,
            "they are" if len(dropped) > 1 else "it is",
            ranks[-1],
        )
    made = Labels(taxonomy, heads, f"--taxonomy={table.path}")
    return OtherTree(made, translation, tuple(dropped), renamed)


def _rank_in(rank: str, whole: Taxonomy, table: NameTable) -> str | None:
    """The rank of a head in a table; plain names are of the table's finest rank."""
    if rank in table.ranks:
        return rank
    same = [one for one in table.ranks if level(one) == level(rank) is not None]
    if same:
        return same[0]
    return table.ranks[-1] if level(rank) is None and len(whole.ranks) == 1 else None


def _divided(
    whole: Taxonomy, rank: str, new: Sequence[Lineage], to: str
) -> dict[str, list[str]]:
    """New taxa by the name of an old one, of those that are not within one taxon."""
    found: dict[int, dict[tuple, str]] = defaultdict(dict)
    for label, lineage in zip(whole.labels(whole.lineages, rank), new, strict=True):
        if label >= 0:
            taxon = lineage.display_name(to)
            found[int(label)][lineage.prefix(to) if taxon else ()] = taxon or "none"
    names = whole.names(rank)
    return {
        names[label]: sorted(taxa.values())
        for label, taxa in sorted(found.items())
        if len(taxa) > 1 or () in taxa
    }


def _why_not(
    rank: str,
    to: str | None,
    whole: Taxonomy,
    table: NameTable,
    divided: dict[str, list[str]],
) -> str:
    if to is None:
        return (
            f"--taxonomy={table.path}: the table has the ranks "
            f"{', '.join(table.ranks)}, and none is the finest rank of the network, "
            f"{rank}. Add a column {rank}."
        )
    shown = [f"{old} ({', '.join(taxa)})" for old, taxa in divided.items()]
    return (
        f"--taxonomy={table.path}: an output of the network is one {rank}, and "
        f"{wording.count(len(divided), rank)} {'is' if len(divided) == 1 else 'are'} "
        f"no single {to} in {table.about}: {_listed(shown)}. Ask a network with a head "
        f"at a finer rank than {rank}."
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
