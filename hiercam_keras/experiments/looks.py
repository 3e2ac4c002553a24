"""experiments: what a trained model says about each test image, and where it looks.

Images stream through; what stays are a few numbers for each image and question, and of
the maps that are compared between models a small copy. All of it lies beside the model
(runs/.../looks/), so that a second call asks only for what is missing.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import workdir
from hiercam_keras.cam import Target, heatmaps, targets
from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources.annotations import label_cells
from hiercam_keras.errors import UserError
from hiercam_keras.maps import HOT, SIDE
from hiercam_keras.metrics import concentration
from hiercam_keras.modes.eval import answers
from hiercam_keras.modes.load import RunData
from hiercam_keras.progress import progress
from hiercam_keras.taxonomy.scores import log_softmax
from hiercam_keras.taxonomy.tree import Taxonomy

SCHEMA_VERSION = 1


class View(NamedTuple):
    """How maps are made: input pixels a cell, layer ("" the usual one), CAM method."""

    stride: int
    layer: str
    method: str


@dataclass(frozen=True)
class Looks:
    """N images, K questions, P parts (0 the background), R ranks that were answered.

    Attributes:
      example_ids: (N,) text.
      group: int32 (N,), the true species (the finest rank there is).
      keys: (K,) names of the questions.
      energy: float32 (N, K, P), share of the energy on each part; NaN where nothing
        was asked (a step into an only child).
      area: float32 (N, P), share of the picture.
      hot: float32 (N, K), share of the picture above HOT.
      degenerate: bool (N, K), no heatmap; its energy counts as uniform.
      ranks: (R,) text.
      true, predicted: int32 (N, R), by the rank's own head where there is one.
      rolled: int32 (N, R), predicted by the finest head's marginals.
      log2_true: float32 (N, R), log2 of the true taxon's probability.
      maps: float16 (N, A, h, w), normalized energies of the questions "asked-*", in
        the order of `keys`.
    """

    example_ids: np.ndarray
    group: np.ndarray
    keys: np.ndarray
    energy: np.ndarray
    area: np.ndarray
    hot: np.ndarray
    degenerate: np.ndarray
    ranks: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    rolled: np.ndarray
    log2_true: np.ndarray
    maps: np.ndarray

    def take(self, rows: Sequence[int]) -> "Looks":
        """These images only."""
        rows = np.asarray(rows)
        per_image = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name not in ("keys", "ranks")
        }
        return replace(self, **per_image)

    def with_maps(self, maps: np.ndarray) -> "Looks":
        """The same answers with other maps."""
        return replace(self, maps=maps)

    def at(self, key: str) -> int:
        """Place of a question."""
        return int(np.flatnonzero(self.keys == key)[0])

    def rank_at(self, rank: str) -> int:
        """Place of a rank."""
        return int(np.flatnonzero(self.ranks == rank)[0])

    def map_of(self, rank: str) -> np.ndarray:
        """Energies (N, h, w) of the question "asked-<rank>"."""
        asked = [key for key in self.keys if key.startswith("asked-")]
        return self.maps[:, asked.index(f"asked-{rank}")].astype(np.float64)


def questions(finest: str, taxonomy: Taxonomy) -> dict[str, Target]:
    """What a model is asked: at each rank the predicted taxon ("asked-family"), and
    what chose it among its siblings ("step-family"), coarse to fine."""
    ranks = [
        rank
        for rank in taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
        if taxonomy.num_labels(rank) > 1
    ]
    found = {f"asked-{rank}": targets.predicted(rank) for rank in ranks}
    return found | {f"step-{rank}": targets.step(rank) for rank in ranks}


def look(
    explain: Any,
    data: RunData,
    split: str,
    asked: dict[str, Target],
    methods: Sequence[str],
) -> dict[tuple[str, str], Looks]:
    """Asks every image of a split all questions, by every method, at every layer.

    Args:
      explain: an Explainer of several layers.
      data: the images.
      split: train, val or test.
      asked: by name of the question.
      methods: CAM methods.

    Returns:
      By (method, layer).

    Raises:
      UserError: an image has neither parts nor a mask.
    """
    records = {record.example_id: record for record in data.records(split)}
    num_parts = num_parts_of(data)
    chunks: dict[tuple[str, str], list[dict]] = {}
    loader = data.loader(split, data.config.cam.batch_size)
    with loader:
        for batch in progress(
            loader.epoch(0), len(records), "looks", count=lambda b: b.mask.sum()
        ):
            rows = np.flatnonzero(batch.mask)
            if not rows.size:
                continue
            found = explain(batch.images, list(asked.values()), list(methods))
            seen = [records[batch.example_ids[row]] for row in rows]
            parts = np.stack(
                [
                    _parts(record, batch.geometry[row], num_parts)
                    for record, row in zip(seen, rows, strict=True)
                ]
            )
            shared = _answers(next(iter(found.values())), batch, rows, data)
            for key, result in found.items():
                own = _energies(result, rows, parts, num_parts, list(asked))
                chunks.setdefault(key, []).append(shared | own)
    return {key: _joined(rows, list(asked)) for key, rows in chunks.items()}


def _answers(result: Any, batch: Any, rows: np.ndarray, data: RunData) -> dict:
    """What the model said, at every rank that it can answer."""
    heads = {rank: result.head_logits(rank)[rows] for rank in result.space.heads}
    said = answers(heads, data.taxonomy)
    finest = result.space.finest
    rolled = answers({finest: heads[finest]}, data.taxonomy)
    true = np.stack([batch.labels[rank][rows] for rank in said], axis=1)
    chosen = [
        np.take_along_axis(log_softmax(logits), true[:, [place]], axis=1)[:, 0]
        for place, logits in enumerate(said.values())
    ]
    return {
        "example_ids": np.array([batch.example_ids[row] for row in rows]),
        "group": batch.labels[data.taxonomy.ranks[-1]][rows],
        "ranks": np.array(list(said)),
        "true": true,
        "predicted": np.stack([one.argmax(-1) for one in said.values()], axis=1),
        "rolled": np.stack([one.argmax(-1) for one in rolled.values()], axis=1),
        "log2_true": np.stack(chosen, axis=1) / np.log(2),
    }


def _energies(
    result: Any, rows: np.ndarray, parts: np.ndarray, num_parts: int, keys: list[str]
) -> dict:
    """Shares of each map's energy and area on each part."""
    cams = result.cams[rows]
    count, num_keys = cams.shape[:2]
    held, pixels = concentration.part_energy(
        heatmaps.energy(cams, SIDE).reshape(-1, SIDE, SIDE),
        np.repeat(parts, num_keys, axis=0),
        num_parts,
    )
    held = held.reshape(count, num_keys, num_parts)
    held[result.trivial[rows]] = np.nan
    own = [place for place, key in enumerate(keys) if key.startswith("asked-")]
    small = np.maximum(cams[:, own].astype(np.float64), 0)
    total = small.sum((-2, -1), keepdims=True)
    return {
        "energy": held,
        "area": pixels.reshape(count, num_keys, num_parts)[:, 0],
        "hot": concentration.area_above(heatmaps.heatmap(cams, SIDE), HOT),
        "degenerate": result.degenerate[rows],
        "maps": np.divide(small, total, out=np.zeros_like(small), where=total > 0),
    }


def num_parts_of(data: RunData) -> int:
    """Labels of the parts: background 0, those of the evidence, and all others of the
    animal as one more; background and animal where only masks are known."""
    labels = [label for _, label in (data.source.evidence or {}).values()]
    return max(labels) + 2 if labels else 2


def _parts(record: Record, row: np.ndarray, num_parts: int) -> np.ndarray:
    """Part labels (SIDE, SIDE) of what the model sees of an image."""
    path = record.parts_path if num_parts > 2 else record.mask_path
    if path is None:
        raise UserError(
            f"{record.example_id} has no {'parts' if num_parts > 2 else 'mask'} beside "
            "it, so where a model looks cannot be measured. See docs/USAGE.md for the "
            "folders masks/ and parts/."
        )
    cells = label_cells(path, geometry.Geometry.from_row(row), SIDE)
    return np.minimum(cells, num_parts - 1)


def _joined(chunks: list[dict], keys: list[str]) -> Looks:
    found = {"keys": np.array(keys), "ranks": chunks[0]["ranks"]}
    types = {"float64": np.float32, "int64": np.int32}
    for name in chunks[0].keys() - found.keys():
        array = np.concatenate([chunk[name] for chunk in chunks])
        found[name] = array.astype(types.get(str(array.dtype), array.dtype))
    return Looks(**found | {"maps": found["maps"].astype(np.float16)})


def same_images(*several: Looks) -> list[Looks]:
    """The looks cut to the images that all of them have, in one order."""
    common = set(several[0].example_ids)
    for one in several[1:]:
        common &= set(one.example_ids)
    cut = []
    for one in several:
        order = np.argsort(one.example_ids, kind="stable")
        cut.append(one.take([row for row in order if one.example_ids[row] in common]))
    return cut


def save(path: Path, looks: Looks) -> None:
    """Writes arrays that `numpy.load` reads without pickle, atomically."""
    with workdir.atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, **{field.name: getattr(looks, field.name) for field in _FIELDS}
        )


def load(path: Path) -> Looks:
    """Reads what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Looks(**{field.name: file[field.name] for field in _FIELDS})


def identity(model_path: Path, example_ids: Sequence[str], **rest: Any) -> str:
    """Sixteen hex digits that differ where model, images or question differ."""
    digest = hashlib.sha256(Path(model_path).read_bytes())
    about = [SCHEMA_VERSION, SIDE, HOT, list(example_ids), rest]
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()[:16]


_FIELDS = fields(Looks)
