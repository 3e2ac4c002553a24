"""The photographs of $HIERCAM_REAL_DATA/bird_photos with the boxes of docs/real."""

import os
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs import default
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.modes.load import load_source

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "docs" / "real"


def photographs() -> Path:
    """The folder of the class folders.

    Raises:
      UserError: HIERCAM_REAL_DATA is not set, or names no folder with bird_photos.
    """
    folder = os.environ.get("HIERCAM_REAL_DATA", "")
    photos = Path(folder).expanduser() / "bird_photos"
    if not folder or not photos.is_dir():
        raise UserError(
            f"HIERCAM_REAL_DATA is {folder!r}, expected a folder that holds "
            "bird_photos/ with the photographs that docs/REAL.md names."
        )
    return photos.resolve()


def linked(folder: Path) -> Path:
    """Makes `folder` a --data_dir of links: images/ and boxes.csv; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in (
        ("images", photographs()),
        ("boxes.csv", TABLES / "boxes.csv"),
    ):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return folder


def records() -> list[Record]:
    """All photographs, sorted by example_id, each with its box."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = linked(Path(folder))
        found = load_source(default.get_config(), str(data_dir)).records
        return [replace(one, path=one.path.resolve()) for one in found]  # of no link


def order_of(record: Record) -> str:
    """The bird's order."""
    return record.lineage.prefix("order")[-1]


def testable(records: list[Record]) -> tuple[list[Record], dict[str, int]]:
    """Photographs of orders with two species or more, and the other orders' counts.

    The photographs of one species are kept in one fold, so an order needs two species
    for one to be trained on while the other is tested.
    """
    species = Counter(order for order, _ in {_key(record) for record in records})
    kept = [record for record in records if species[order_of(record)] > 1]
    left_out = Counter(
        order_of(record) for record in records if species[order_of(record)] < 2
    )
    return kept, dict(left_out)


def folds(records: list[Record], count: int, seed: int) -> np.ndarray:
    """The fold of each record, int (N,); a function of records, count and seed.

    The species of each order are dealt in a random order to the folds, and the next
    order starts where the last one ended. So folds differ by at most one species in
    size and in each order.
    """
    rng = np.random.default_rng((seed, count))
    species = sorted({_key(record) for record in records})
    shuffled = [species[place] for place in rng.permutation(len(species))]
    dealt = sorted(shuffled, key=lambda key: key[0])  # stable: random within an order
    fold = {key: place % count for place, key in enumerate(dealt)}
    return np.array([fold[_key(record)] for record in records])


def _key(record: Record) -> tuple[str, str]:
    return order_of(record), "/".join(record.lineage.taxa)
