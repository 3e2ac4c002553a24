"""Parses names of folders: iNaturalist lineages, plain labels, official splits."""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from absl import logging

from hiercam_keras.data import index as index_lib
from hiercam_keras.data.sources import common_names, lineage_table
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import split_words
from hiercam_keras.taxonomy.lineage import Lineage, is_inat, parse_class_name

LABEL = "label"  # the single rank of folders with plain names
_SHOWN = 5  # folders that a message lists
_FIELDS = 6  # of a name that looks like a damaged iNaturalist name of 8


def split_of(name: str) -> str | None:
    """ "train", "val" or "test" for a folder of an official split, else None."""
    return split_words.official(name)


def lineages(names: Iterable[str], plain: bool = True) -> dict[str, Lineage]:
    """Lineages of class folders by their names alone.

    If any name is an iNaturalist name, or looks like a damaged one, all other names are
    errors, except those of the same kingdoms without their last fields: a class
    identified only to a coarser rank. Otherwise each name is a taxon of the single rank
    `label`.

    Args:
      names: of the class folders.
      plain: whether folders may have plain names.

    Raises:
      UserError: the names mix the two kinds, or plain names are not allowed.
    """
    names = sorted(set(names))
    if not plain or any(map(is_inat, names)) or all(map(_is_meant, names)):
        whole = [parse_class_name(name) for name in names if is_inat(name)]
        kingdoms = {lineage.taxa[0] for lineage in whole}
        return {name: _lineage(index_lib.printable(name), kingdoms) for name in names}
    found = {
        name: Lineage((index_lib.printable(name),), (LABEL,), index_lib.printable(name))
        for name in names
    }
    logging.info(
        "%d class folders with plain names, the first is %s: one rank, %s. "
        "--config.data.lineages=taxa.csv, a table with the column folder and one for "
        "each rank, gives them lineages",
        len(found),
        next(iter(found), "none"),
        LABEL,
    )
    return found


def _lineage(name: str, kingdoms: Collection[str]) -> Lineage:
    try:
        return parse_class_name(name)
    except UserError:
        with contextlib.suppress(UserError):
            found = parse_class_name(name, partial=True)
            if found.taxa[0] in kingdoms:
                return found
        raise


def lineages_from(
    path: str,
    data_dir: Path,
    names: Iterable[str],
    ranks: tuple[str, ...] = (),
    common: common_names.Choice = common_names.Choice(),  # noqa: B008
) -> tuple[dict[str, Lineage], Mapping[tuple[str, ...], str]]:
    """Lineages of class folders by a lineage table, and common names by prefix.

    Args:
      path: data.lineages; relative to the working directory, else to `data_dir`.
      data_dir: the folder that is read.
      names: of the class folders.
      ranks: data.ranks.
      common: which common names are shown.

    Raises:
      UserError: the table is missing or invalid, or lacks a folder.
    """
    table = Path(path).expanduser()
    if not table.exists():
        table = data_dir / table
    if not table.exists():
        raise UserError(
            f"data.lineages names {path}, which is neither in the working directory "
            f"nor in {data_dir}. Give its path: --config.data.lineages=/path/taxa.csv."
        )
    known = lineage_table.read(table, ranks, common)
    names = sorted(set(names))
    found = {name: known.find(name) for name in names}
    missing = [index_lib.printable(name) for name in names if found[name] is None]
    if missing:
        also = " (or name the key column folder)" if known.key != "folder" else ""
        raise UserError(
            f"{table} has no row for {len(missing)} of {len(names)} class folders: "
            f"{', '.join(missing[:_SHOWN])}{', ...' * (len(missing) > _SHOWN)}. Its "
            f"column {known.key} has {', '.join(list(known.by_key)[:_SHOWN])}, ...: "
            f"add rows{also}."
        )
    return found, known.common_names


def _is_meant(name: str) -> bool:
    """Whether a name has an id and nearly as many fields as an iNaturalist name."""
    first, *rest = name.split("_")
    return len(rest) + 1 >= _FIELDS and any(char.isdigit() for char in first)
