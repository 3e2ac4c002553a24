"""Predictions and CAM statistics per image and question, measured in one pass.

Images stream through the model once for many questions, methods and layers. The result
holds numbers and a small copy of each map, for comparisons between models. It is stored
next to the model (runs/.../looks/), so a second call computes only what is missing.
"""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras.cam import Explanation
from hiercam_keras.data.loader import Batch
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import measures
from hiercam_keras.evaluation.measures import Maps
from hiercam_keras.evaluation.question import LABEL, Question
from hiercam_keras.evaluation.regions import part_labels
from hiercam_keras.evaluation.table import Table, joined
from hiercam_keras.evaluation.tabulate import Numbers, streamed, tabulate
from hiercam_keras.maps import HOT, SIDE
from hiercam_keras.modes.load import RunData
from hiercam_keras.taxonomy.scores import log_softmax, rank_scores
from hiercam_keras.taxonomy.tree import Taxonomy

SCHEMA_VERSION = 2


class MapSettings(NamedTuple):
    """How maps are made: input pixels a cell, layer ("" the usual one), CAM method."""

    stride: int
    layer: str
    method: str


def questions(
    taxonomy: Taxonomy,
    finest: str,
    kinds: Sequence[str] = ("asked", "step"),
    rank: str | None = None,
) -> dict[str, Question]:
    """Questions by name, coarse to fine: at each rank down to `finest` the predicted
    taxon ("asked-family"), and its step from the parent ("step-family").

    Args:
      taxonomy, finest: of the model.
      kinds: asked, step, or both.
      rank: only questions at this rank.
    """
    return {
        f"{kind}-{one}": Question(one, {"asked": LABEL, "step": "step"}[kind])
        for kind in kinds
        for one in taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
        if taxonomy.num_labels(one) > 1 and rank in (None, one)
    }


def measure(
    explain: Any,
    data: RunData,
    split: str,
    asked: Mapping[str, Question],
    methods: Sequence[str],
) -> dict[tuple[str, str], Table]:
    """Measures every image of a split for all questions, methods and layers.

    Args:
      explain: an Explainer of several layers.
      data: the images.
      split: train, val or test.
      asked: what `questions` returns.
      methods: CAM methods.

    Returns:
      A table for each (method, layer). Its values are those of `tabulate`, with "true",
      "rolled" (predicted by the finest head's marginals), "log2_true" (log2 of the true
      taxon's probability) and "map" (h, w), the energy at the layer's own resolution.

    Raises:
      UserError: an image has neither parts nor a mask.
    """
    records = data.records(split)
    for record in records:
        _check_regions(record, bool(data.source.evidence))
    parts = part_labels(data.source.evidence, records)
    ranks = {name: question.rank for name, question in asked.items()}
    targets = {name: question.asks() for name, question in asked.items()}
    measured = {"map": _small_map}
    for name in ("heatmap_area", "energy_on_object"):
        measured[name] = measures.MEASURES[name].compute
    specs: dict[tuple[str, str], list[Table]] = {}
    with data.loader(split, data.config.cam.batch_size) as loader:
        for chunks in streamed(
            functools.partial(explain.explain_many, methods=methods),
            loader,
            records,
            lambda batch: targets,
            functools.partial(_numbers, ranks, data.taxonomy),
            bool(parts),
            "measuring",
        ):
            for key, chunk in chunks.items():
                table = tabulate([chunk], data.taxonomy, ranks, parts, measured)
                specs.setdefault(key, []).append(table)
    return {key: joined(tables) for key, tables in specs.items()}


def _numbers(
    ranks: dict[str, str],
    taxonomy: Taxonomy,
    result: Explanation,
    batch: Batch,
    rows: np.ndarray,
) -> Numbers:
    """The predictions at each rank, by its own head and by the finest one."""
    heads = {rank: result.head_logits(rank)[rows] for rank in result.space.heads}
    own = rank_scores(heads, taxonomy)
    finest = result.space.finest
    rolled = rank_scores({finest: heads[finest]}, taxonomy)
    numbers = {}
    for rank in dict.fromkeys(ranks.values()):
        true = batch.labels[rank][rows]
        chosen = log_softmax(own[rank])[np.arange(len(true)), true]
        chosen = np.where(true < 0, np.nan, chosen)  # without a taxon at the rank
        numbers[rank] = {
            "predicted": own[rank].argmax(-1),
            "rolled": rolled[rank].argmax(-1),
            "log2_true": chosen / np.log(2),
        }
    return {name: numbers[rank] for name, rank in ranks.items()}


def _small_map(maps: Maps) -> np.ndarray:
    """float16 (n, h, w): the energy of each map at its layer's resolution."""
    positive = np.maximum(maps.cams.astype(np.float64), 0)
    total = positive.sum((-2, -1), keepdims=True)
    energy = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
    return energy.astype(np.float16)


def _check_regions(record: Record, parts: bool) -> None:
    if (record.parts_path if parts else record.mask_path) is None:
        raise UserError(
            f"{record.example_id} has no {'parts' if parts else 'mask'} next to it, so "
            "where a model looks cannot be measured. See docs/USAGE.md for the folders "
            "masks/ and parts/."
        )


def truth_digest(rows: Any) -> str:
    """A digest of what maps are compared with.

    Args:
      rows: JSON values and paths, for instance of boxes and masks. A file counts by its
        size and the time of its last change.
    """

    def stamp(value: Any) -> list:
        if not isinstance(value, Path):
            return [str(value)]
        about = value.stat()
        return [str(value), about.st_size, about.st_mtime_ns]

    text = json.dumps(rows, default=stamp, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def identity(model_path: Path, example_ids: Sequence[str], **rest: Any) -> str:
    """Sixteen hex digits of a digest of model, images and the other arguments."""
    digest = hashlib.sha256(Path(model_path).read_bytes())
    about = [SCHEMA_VERSION, SIDE, HOT, list(example_ids), rest]
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()[:16]
