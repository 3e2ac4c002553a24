"""Lineages of images from the labels of their metadata.

The first available source is used: a table of lineages, labels at several ranks, folder
names in iNat naming, and otherwise the labels as a single rank, class.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from hiercam_keras.data.sources import choe_metadata_files as files
from hiercam_keras.data.sources import lineage_table
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.ranks import DEFAULT_RANKS

FLAT = "class"  # the rank of labels without a tree


def read_rank_labels(folder: Path) -> dict[str, dict[str, str]]:
    """rank -> image -> label, coarse to fine; {"": labels} without files of ranks.

    With files of other ranks class_labels.txt holds the species.

    Raises:
      UserError: a file has an unknown rank.
    """
    found = {}
    for path in sorted(folder.glob("class_labels_*.txt")):
        rank = path.stem.removeprefix("class_labels_").lower()
        if rank not in DEFAULT_RANKS:
            raise UserError(
                f"{path} names the rank {rank!r}, expected one of "
                f"{', '.join(DEFAULT_RANKS)}. Rename it, or give data.choe.lineages."
            )
        found[rank] = files.read_labels(path)
    flat = folder / files.LABELS
    if flat.is_file():
        labels = files.read_labels(flat)
        if found:
            found.setdefault(DEFAULT_RANKS[-1], labels)
        else:
            return {"": labels}
    return {rank: found[rank] for rank in DEFAULT_RANKS if rank in found}


def lineages(
    ids: Sequence[str],
    labels: Mapping[str, Mapping[str, str]],
    names: Mapping[str, Mapping[str, str]],
    table: Path | None,
    where: str,
    ranks: Sequence[str] = (),
) -> dict[str, Lineage]:
    """Lineage of each image.

    Args:
      ids: of the images.
      labels: results of `read_rank_labels`, merged over all roles.
      names: rank (or "") -> label -> name, if the metadata have names.
      table: CSV with a key column, folder (its name, or a label), and one for each
        rank (`lineage_table`).
      where: the folder, for messages.
      ranks: columns of the table that are ranks; empty: by their names and values.

    Raises:
      UserError: an image has no label, the table lacks a class, or the labels do not
        form a tree.
    """
    if not labels:
        raise UserError(f"{where} holds no {files.LABELS}: expected path,label.")
    for rank, own in labels.items():
        missing = next((name for name in ids if name not in own), None)
        if missing is not None:
            file = f"class_labels_{rank}.txt" if rank else files.LABELS
            raise UserError(f"{where}: {file} has no label for {missing!r}.")
    finest = list(labels)[-1]
    if table is not None:
        return _from_table(ids, labels[finest], table, ranks)
    if finest:
        return _from_ranks(ids, labels, names)
    folders = {name: PurePosixPath(name).parent.name for name in ids}
    parsed = {folder: _parse(folder) for folder in set(folders.values())}
    if all(parsed.values()):
        return {name: parsed[folders[name]] for name in ids}
    return _flat(ids, labels[""], names.get("", {}), folders)


def _from_table(ids, labels, table, ranks) -> dict[str, Lineage]:
    known = lineage_table.read(table, tuple(ranks))
    found: dict[str, Lineage] = {}
    for name in ids:
        folder = PurePosixPath(name).parent.name
        lineage = known.find(folder, labels[name])
        if lineage is None:
            raise UserError(
                f"{table} has no row for the class {folder or labels[name]!r} (label "
                f"{labels[name]}) of {name!r}: expected one in its column {known.key}."
            )
        found[name] = dataclasses.replace(lineage, class_id=labels[name])
    return found


def _from_ranks(ids, labels, names) -> dict[str, Lineage]:
    ranks = tuple(labels)
    _check_tree(ids, labels, ranks)
    known: dict[tuple[str, ...], Lineage] = {}
    found = {}
    for image in ids:
        own = tuple(labels[rank][image] for rank in ranks)
        if own not in known:
            taxa = [
                _name(rank, label, names.get(rank, {}))
                for rank, label in zip(ranks, own, strict=True)
            ]
            known[own] = Lineage(tuple(taxa), ranks, own[-1])
        found[image] = known[own]
    return found


def _check_tree(ids, labels, ranks) -> None:
    """Checks that each label has one parent: a number means one taxon everywhere."""
    for coarse, fine in zip(ranks, ranks[1:], strict=False):
        parents: dict[str, set[str]] = defaultdict(set)
        for image in ids:
            parents[labels[fine][image]].add(labels[coarse][image])
        for label, above in parents.items():
            if len(above) > 1 and label.isdigit():
                one, other = sorted(above)[:2]
                raise UserError(
                    f"the {fine} {label} is in the {coarse} {one} and in the "
                    f"{coarse} {other}: class_labels of the ranks do not form a tree."
                )


def _flat(ids, labels, names, folders) -> dict[str, Lineage]:
    """Lineages of one rank; a class is named like its folder if they correspond."""
    by_label, by_folder = defaultdict(set), defaultdict(set)
    for image in ids:
        by_label[labels[image]].add(folders[image])
        by_folder[folders[image]].add(labels[image])
    found = {}
    for image in ids:
        label, folder = labels[image], folders[image]
        together = len(by_label[label]) == 1 == len(by_folder[folder]) and folder
        taxon = names.get(label) or (folder if together else _name(FLAT, label, {}))
        found[image] = Lineage((taxon,), (FLAT,), label)
    return found


def _name(rank: str, label: str, names: Mapping[str, str]) -> str:
    if label in names:
        return names[label]
    return f"{rank} {label}" if label.isdigit() else label


def _parse(folder: str) -> Lineage | None:
    try:
        return parse_class_name(folder)
    except UserError:
        return None
