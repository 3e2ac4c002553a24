"""Writing a map store; `store` describes it."""

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
      root: folder of the stores; this one's is `root / key(identity)`.
      identity: see the function of that name.
      example_ids: all examples, in order; what is missing is counted by them.
      titles: short names of the K targets.
      lineages: rank -> lineage path of every label.
      shard_size: examples in a file; a multiple of the batch size keeps the batches of
        a resumed run, and so its last bits, those of an undisturbed one.
      info: extra metadata for the JSON, not part of the key.
      part: (process, processes); each writes every so many-th shard.

    Raises:
      UserError: a damaged store.json, example_ids that repeat, a folder that cannot be
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
            # The existing files were cut by this size, not by the one asked for now.
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
        """Example ids of the shards that are not on disk yet, in order; of this
        process's, or of all."""
        index, count = (0, 1) if everywhere else self._part
        return [
            example_id
            for i, shard in enumerate(self._shards)
            if i not in self._done and i % count == index
            for example_id in shard
        ]

    def add(self, example_ids: Sequence[str], explanation, geometry=None) -> None:
        """Takes maps; writes every shard that they complete.

        Args:
          example_ids: of the first rows of the explanation; padding may follow them.
          explanation: `Explanation`, or anything with its attributes.
          geometry: (B, 7), see data/geometry.py; NaN when not given.

        Raises:
          UserError: an id that was not planned, or more ids than maps.
        """
        if len(example_ids) > len(explanation.cams):
            raise UserError(
                f"{len(example_ids)} example ids for {len(explanation.cams)} maps"
            )
        columns = _columns(explanation, geometry)
        self._ranks = self._ranks or tuple(explanation.ranks)
        for i, example_id in enumerate(example_ids):
            row = {name: column[i] for name, column in columns.items()}
            self._put(example_id, row)

    def skip(self, example_id: str, reason: str) -> None:
        """Says that an example has no map (a file that cannot be read), and why."""
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
        """Ends the work and gives the folder; incomplete shards are left undone, for
        the next run. Once all is there, what killed runs left behind is removed."""
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
        # A fixed width, so that rows of several batches stack to the same type.
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
    """Whether a shard is there and its zip directory can be read."""
    try:
        # Opened here: numpy.load leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
            return "skipped_reason" in shard.files
    except BROKEN:
        return False
