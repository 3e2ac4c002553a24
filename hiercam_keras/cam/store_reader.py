"""Reads a map store; see `store` for the format."""

from __future__ import annotations

import functools
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam.store_key import FILE, SCHEMA_VERSION
from hiercam_keras.errors import UserError

# Errors of zipfile, zlib and numpy for damaged files. NotImplementedError and
# RecursionError are RuntimeErrors; a wrong size in a header can exceed memory.
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_OTHER_ROWS = ("rank", "skipped_id", "skipped_reason")  # not one row for each example


class Entry(NamedTuple):
    """The maps of one example; see `store` for the fields."""

    example_id: str
    label: np.ndarray
    rival_rank: np.ndarray
    rival_label: np.ndarray
    score: np.ndarray
    probability: np.ndarray
    degenerate: np.ndarray
    trivial: np.ndarray
    cam: np.ndarray
    geometry: np.ndarray


class Reader:
    """Maps by example_id. Iterates in the order of the split; `len` counts examples.

    Args:
      folder: of the store.

    Attributes:
      folder: of the store.
      meta: content of store.json.
      titles: of the K targets.
      ranks: of the K targets.
      example_ids: examples with maps, in order.
      skipped: reason by example_id.
      complete: whether all shards exist.

    Raises:
      UserError: store.json or a shard is missing, damaged or of another schema version.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.meta = workdir.read_json(self.folder / FILE)
        if self.meta.get("schema_version") != SCHEMA_VERSION:
            raise UserError(
                f"{self.folder / FILE} has schema_version "
                f"{self.meta.get('schema_version')}, this program reads "
                f"{SCHEMA_VERSION}: make the maps again with --mode=cam"
            )
        self.titles = tuple(self.meta["targets"])
        self.ranks: tuple[str, ...] = ()
        self.skipped: dict[str, str] = {}
        self._index: dict[str, tuple[int, int]] = {}
        self._paths = sorted(self.folder.glob("shard-*.npz"))
        self._load = functools.lru_cache(maxsize=2)(self._load_shard)
        for number, path in enumerate(self._paths):
            names = ("example_id", "rank", "skipped_id", "skipped_reason")
            ids, ranks, skipped, reasons = _read(path, names)
            self.ranks = self.ranks or tuple(map(str, ranks))
            if len(skipped) != len(reasons):
                raise _damaged(path, "its arrays do not belong together")
            self.skipped |= dict(zip(map(str, skipped), map(str, reasons), strict=True))
            for row, example_id in enumerate(ids):
                self._index[str(example_id)] = number, row
        planned = -(-self.meta["num_examples"] // self.meta["shard_size"])
        self.complete = len(self._paths) == planned

    @property
    def example_ids(self) -> tuple[str, ...]:
        return tuple(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, example_id: str) -> bool:
        return example_id in self._index

    def __iter__(self) -> Iterator[Entry]:
        return map(self.get, self._index)

    def get(self, example_id: str) -> Entry:
        """The maps of one example; raises UserError with a reason if it has none."""
        if example_id not in self._index:
            why = self.skipped.get(example_id, "it is not in this split, or not done")
            raise UserError(f"{self.folder} has no map of {example_id!r}: {why}")
        shard, row = self._index[example_id]
        return Entry(example_id, *(array[row] for array in self._load(shard)))

    def _load_shard(self, shard: int) -> list[np.ndarray]:
        _, *arrays = _read(self._paths[shard], Entry._fields)
        return arrays

    def column(self, name: str) -> np.ndarray:
        """One array over all examples, in order, such as "score" (N, K)."""
        parts = []
        for path in self._paths:
            (ids,) = _read(path, ["example_id"])
            if len(ids):
                parts += _read(path, [name])
        return np.concatenate(parts)

    def lineage(self, rank: str, label: int) -> str:
        """Lineage path of a label, "Animalia/Chordata/..."."""
        return self.meta["lineages"][rank][label]


def open(path: str | Path) -> Reader:
    """Opens a map store, complete or not.

    Raises:
      UserError: the folder is no map store, is damaged or has another schema version.
    """
    return Reader(path)


def _read(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    try:
        # Opened here, as numpy.load does not close a damaged file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
            found = [shard[name] for name in names]
    except BROKEN as error:
        raise _damaged(path, error) from error
    sizes = {name: array.shape[:1] for name, array in zip(names, found, strict=True)}
    rows = [size for name, size in sizes.items() if name not in _OTHER_ROWS]
    if () in sizes.values() or len(set(rows)) > 1:
        raise _damaged(path, "its arrays do not belong together")
    return found


def _damaged(path: Path, why: object) -> UserError:
    words = " ".join(str(why).split())[:200]
    return UserError(f"{path} is damaged ({words}): delete it and run --mode=cam again")
