"""Writes a map store; see `store` for the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam.store_key import FILE, SCHEMA_VERSION, key, versions
from hiercam_keras.cam.store_reader import BROKEN
from hiercam_keras.errors import UserError


class Writer:
    """Writes the maps of a split, in any order, shard by shard.

        writer = store.Writer(run / "maps", identity, example_ids, titles, lineages)
        todo = writer.missing()
        for batch in ...:  # over todo
            writer.add(batch.example_ids, explanation, batch.geometry)
        writer.close()

    Args:
      root: folder of all stores; the store is in `root / key(identity)`.
      identity: of `store_key.identity`.
      example_ids: all examples of the split, in order, without duplicates.
      titles: short names of the K targets.
      lineages: lineage path of every label, by rank.
      shard_size: examples in a file. With a multiple of the batch size a resumed run
        uses the same batches as an uninterrupted one, and gives bitwise equal maps. An
        existing store keeps its size.
      info: additional metadata for store.json, not part of the key.
      part: (process, number of processes); process p writes the shards p, p + n, ...

    Raises:
      UserError: store.json is damaged, example_ids repeat, or the folder cannot be
        written.
    """

    def __init__(
        self,
        root: str | Path,
        identity: Mapping[str, Any],
        example_ids: Sequence[str],
        titles: Sequence[str],
        lineages: Mapping[str, Sequence[str]],
        *,
        shard_size: int = 256,
        info: Mapping[str, Any] | None = None,
        part: tuple[int, int] = (0, 1),
    ):
        self.folder = Path(root) / key(identity)
        ids = list(example_ids)
        if len(set(ids)) != len(ids):
            raise UserError("example_ids repeat: a map store needs unique ones")
        if (self.folder / FILE).exists():
            # Existing shards have this size, which may differ from the argument.
            shard_size = workdir.read_json(self.folder / FILE)["shard_size"]
        else:
            meta = {
                "schema_version": SCHEMA_VERSION,
                "identity": dict(identity),
                "num_examples": len(ids),
                "shard_size": shard_size,
                "targets": list(titles),
                "lineages": {rank: list(names) for rank, names in lineages.items()},
                "versions": versions(),
                "info": dict(info or {}),
            }
            workdir.write_json(self.folder / FILE, meta)
        self._shards = [
            ids[start : start + shard_size] for start in range(0, len(ids), shard_size)
        ]
        self._shard_of = {x: i for i, shard in enumerate(self._shards) for x in shard}
        self._part = part
        self._done = {i for i in range(len(self._shards)) if _is_whole(self._path(i))}
        self._rows: dict[int, dict[str, dict]] = {}
        self._ranks: tuple[str, ...] | None = None

    def _path(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.npz"

    def missing(self, everywhere: bool = False) -> list[str]:
        """Example ids of the shards that do not exist yet, in order.

        Args:
          everywhere: include the shards of all processes, not only of this one.
        """
        index, count = (0, 1) if everywhere else self._part
        return [
            example_id
            for i, shard in enumerate(self._shards)
            if i not in self._done and i % count == index
            for example_id in shard
        ]

    def add(
        self,
        example_ids: Sequence[str],
        explanation,
        geometry=None,
        more: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Adds maps, and writes every shard that is complete.

        Args:
          example_ids: of the first rows of the explanation; other rows are padding.
          explanation: an `Explanation`, or an object with its attributes.
          geometry: (B, 7), see data/geometry.py; stored as NaN if None.
          more: further arrays of B rows by name, the same names in every call.

        Raises:
          UserError: an id is not in the store, there are more ids than maps, or a shard
            cannot be written.
        """
        if len(example_ids) > len(explanation.cams):
            raise UserError(
                f"{len(example_ids)} example ids for {len(explanation.cams)} maps"
            )
        columns = {**_columns(explanation, geometry), **(more or {})}
        self._ranks = self._ranks or tuple(explanation.ranks)
        for i, example_id in enumerate(example_ids):
            row = {name: column[i] for name, column in columns.items()}
            self._put(example_id, row)

    def skip(self, example_id: str, reason: str) -> None:
        """Records that an example has no map, and the reason (an unreadable file)."""
        self._put(example_id, {"reason": reason})

    def _put(self, example_id: str, row: dict) -> None:
        index = self._shard_of.get(example_id)
        if index is None:
            raise UserError(f"{example_id!r} is not among the store's examples")
        if index in self._done:
            return
        rows = self._rows.setdefault(index, {})
        rows[example_id] = row
        if len(rows) == len(self._shards[index]):
            self._flush(index)

    def _flush(self, index: int) -> None:
        rows = self._rows.pop(index)
        order = self._shards[index]
        kept = [x for x in order if "cam" in rows[x]]
        skipped = [x for x in order if "cam" not in rows[x]]
        arrays = {
            "example_id": np.array(kept, dtype=np.str_),
            "rank": np.array(self._ranks or (), dtype=np.str_),
            "skipped_id": np.array(skipped, dtype=np.str_),
            "skipped_reason": np.array(
                [rows[x]["reason"] for x in skipped], dtype=np.str_
            ),
        }
        for name in rows[kept[0]] if kept else ():
            arrays[name] = np.stack([rows[x][name] for x in kept])
        with workdir.atomic_path(self._path(index), own=True) as temporary:
            np.savez(temporary, **arrays)
        self._done.add(index)

    def close(self) -> Path:
        """Closes the writer and returns the folder of the store.

        Incomplete shards are discarded; the next run computes them. Once all shards
        exist, temporary files of killed runs are removed.
        """
        self._rows.clear()
        if len(self._done) == len(self._shards):
            for leftover in self.folder.glob(".*.tmp*"):
                leftover.unlink(missing_ok=True)
        return self.folder


def _columns(explanation, geometry) -> dict[str, np.ndarray]:
    count = len(explanation.cams)
    rivals = [
        [explanation.space.rank_label(row) for row in rows]
        for rows in explanation.rivals
    ]
    if geometry is None:
        geometry = np.full((count, 7), np.nan)
    return {
        "label": np.asarray(explanation.labels, np.int32),
        # A fixed width, so that rows of all batches have the same dtype.
        "rival_rank": np.array([[r for r, _ in row] for row in rivals], "<U32"),
        "rival_label": np.array([[n for _, n in row] for row in rivals], np.int32),
        "score": np.asarray(explanation.scores, np.float32),
        "probability": np.asarray(explanation.probabilities, np.float32),
        "degenerate": np.asarray(explanation.degenerate, bool),
        "trivial": np.asarray(explanation.trivial, bool),
        "cam": np.asarray(explanation.cams, np.float32),
        "geometry": np.asarray(geometry, np.float32),
    }


def _is_whole(path: Path) -> bool:
    """Whether a shard exists and its zip directory can be read."""
    try:
        # Opened here, as numpy.load does not close a damaged file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
            return "skipped_reason" in shard.files
    except BROKEN:
        return False
