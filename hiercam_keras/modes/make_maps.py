"""Makes the maps of a whole split into a map store.

While the device explains one batch, the next one is decoded.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import locks, multihost, precision, wording
from hiercam_keras.cam import Explainer, seeds, store, targets
from hiercam_keras.data.geometry import Layout
from hiercam_keras.data.loader import Batch
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError, explain_out_of_memory
from hiercam_keras.evaluation.question import PREDICTED, TRUE, Question
from hiercam_keras.modes import detected
from hiercam_keras.modes.load import RunData, make_loader
from hiercam_keras.progress import progress
from hiercam_keras.runs.network import Network
from hiercam_keras.runs.truth import lacks


def question_of(asked: str, rank: str | None, data: RunData) -> Question:
    """Reads --target and --target_rank; score, method and layer are the config's.

    A named taxon is identified by its lineage path.

    Raises:
      UserError: a taxon that is not known, or a rank that the model cannot answer.
    """
    config = data.config.cam
    finest = data.finest
    if asked not in (PREDICTED, TRUE):
        rank, label = data.taxonomy.find(asked, rank)
        asked = "/".join(data.taxonomy.prefixes(rank)[label])
    rank = rank or finest
    known = data.taxonomy.ranks[: data.taxonomy.ranks.index(finest) + 1]
    if rank not in known:
        raise UserError(
            f"the model of {data.run.path} {data.run.heads} "
            f"and cannot answer for {rank!r}. It can for {', '.join(known)}."
        )
    layer = config.layer or None
    return Question(rank, "label", asked, data.score, config.method, layer)


def make_maps(
    network: Network,
    data: RunData,
    split: str,
    question: Question,
    layout: Layout = "classification",
) -> tuple[Path, int]:
    """Makes the maps of a split that are missing.

    Args:
      network: the run's.
      data: the run's images.
      split: train, val or test.
      question: of kind "label", see `question_of`.
      layout: of the pixels, see `data.geometry`.

    Returns:
      The folder of the map store, and how many maps were made now.
    """
    records, asks = data.records(split), None
    if question.target == TRUE:
        records = known_records(data, records, question.rank)
        asks = lambda batch: question.asks(batch.labels)  # noqa: E731
    score = "auto" if question.score == "own" else question.score
    key = f"{question.rank}:{question.target}:{score}"
    return store_maps(
        network,
        data,
        split,
        records,
        question.asks(),
        key,
        asks,
        layout,
        question.method,
        question.layer,
    )


def make_steps(
    network: Network,
    data: RunData,
    split: str,
    records: list[Record],
    ranks: Sequence[str],
    target: str = PREDICTED,
) -> store.Reader:
    """Makes the missing step maps of some records, from the root down the tree.

    Args:
      network: the run's.
      data: the run's images.
      split: of the records.
      records: the images.
      ranks: that the steps lead into, coarse to fine: the targets of the maps.
      target: "predicted" leads to the leaf that the finest head predicts, "true" to
        the true taxa.
    """
    asks = None
    if target == TRUE:
        questions = [Question(rank, "step", TRUE) for rank in ranks]
        asks = lambda batch: [one.asks(batch.labels) for one in questions]  # noqa: E731
    key = f"path:{target}:{'+'.join(ranks)}:steps"
    asked = targets.path(ranks=ranks)
    folder, _ = store_maps(network, data, split, records, asked, key, asks)
    return store.open(folder)


def known_records(data: RunData, records: list[Record], *ranks: str) -> list[Record]:
    """The records with a taxon that the network has at one of the ranks.

    Raises:
      UserError: there is none.
    """
    rank = ranks[0]
    known = np.any([data.labels(records, one) >= 0 for one in ranks], axis=0)
    if not known.any():
        raise UserError(
            f"the network of {data.run.path} knows the {rank} of none of "
            f"{wording.count(len(records), 'image')}, so their true taxon cannot be "
            "asked for. Use --target=predicted, or a coarser --target_rank."
        )
    left_out = [one for one, mine in zip(records, known, strict=True) if not mine]
    without = sum(lacks(one.lineage, rank) for one in left_out)
    if without:
        logging.warning(
            "%s left out: without a %s", wording.count(without, "image"), rank
        )
    if others := len(left_out) - without:
        logging.warning(
            "%s left out: %s them at %s",
            wording.count(others, "image"),
            data.why_lacking,
            rank,
        )
    return [one for one, mine in zip(records, known, strict=True) if mine]


def store_maps(
    network: Network,
    data: RunData,
    split: str,
    records: list[Record],
    asked: targets.Target,
    question: str,
    asks: Callable[[Batch], targets.Target] | None = None,
    layout: Layout = "classification",
    method: str | None = None,
    layer: str | None = None,
) -> tuple[Path, int]:
    """Makes those maps of some records that are missing.

    Args:
      network: the run's.
      data: the run's images.
      split: of the records, for the store's metadata.
      records: the images.
      asked: what is asked of each of them.
      question: identifies this question in the store's key.
      asks: what is asked of a batch, where that hangs on its labels; as many targets
        as `asked`.
      layout: of the pixels, see `data.geometry`.
      method, layer: of the maps; default the config's.

    Returns:
      The folder of the map store, and how many maps were made now.
    """
    config = data.config.cam
    explain = network.explainer(layer or config.layer, method or config.method)
    weights = store.weights_digest(network.model.weights)
    writer = _writer(explain, weights, data, split, records, asked, question, layout)
    made = len(writer.missing(everywhere=True))
    multihost.barrier("maps counted")  # by all, before one of them makes the first
    missing = set(writer.missing())
    with _alone(writer.folder) if made else contextlib.nullcontext():
        if missing:
            todo = [record for record in records if record.example_id in missing]
            ask = asks or (lambda batch: asked)
            _explain(explain, data, todo, ask, writer, layout)
        multihost.barrier("maps written")
        return writer.close(), made


def _writer(
    explain: Explainer,
    weights: str,
    data: RunData,
    split: str,
    records: list[Record],
    asked: targets.Target,
    question: str,
    layout: Layout,
) -> store.Writer:
    """The store of the maps, found by all that they depend on."""
    ids = [record.example_id for record in records]
    identity = store.identity(
        weights=weights,
        example_ids=ids,
        method=explain.method.name,
        layer=explain.layers[0],
        targets=[question],
        preprocessing={
            "image_size": data.config.data.image_size,
            "crop": "center" if layout == "classification" else "none",
            **detected.identity(records),
        },
        **_allowed(data),
        **_other_tree(data),
        **_precision(explain),
        **({"seeds": "example_id"} if explain.method.draws else {}),
    )
    # A question that cannot be asked shows here, before there is a folder for it.
    expanded = targets.expand(asked, explain.space)
    targets.encode(expanded, explain.space, 1)
    return store.Writer(
        data.run.path / "maps",
        identity,
        ids,
        [target.title for target in expanded],
        {
            one: ["/".join(prefix) for prefix in data.taxonomy.prefixes(one)]
            for one in explain.space.ranks
        },
        shard_size=8 * data.config.cam.batch_size,
        info={
            "run": str(data.run.path),
            "split": split,
            "question": question.rsplit(":", 1)[0],
            **_about(data),
            **detected.about(data.config, records),
        },
        part=multihost.part(),
    )


def _allowed(data: RunData) -> dict[str, Any]:
    """The allowed finest taxa, where not all are; other stores keep their key."""
    if data.run.allowed_taxa is None:
        return {}
    return {"allowed": ["/".join(one.taxa) for one in data.taxonomy.lineages]}


def _other_tree(data: RunData) -> dict[str, Any]:
    """The taxonomy under which the network is asked; other stores keep their key."""
    if data.run.other_tree is None:
        return {}
    return {"taxonomy": data.run.other_tree.identity()}


def _precision(explain: Any) -> dict[str, Any]:
    """The precision of products where it is not JAX's own; see `precision.resolved`."""
    name = precision.resolved(explain.precision)
    return {"precision": name} if name else {}


def _about(data: RunData) -> dict[str, Any]:
    """The published taxonomy of the answers, where it is known."""
    about = data.taxonomy.source
    return {} if about is None else {"taxonomy": about.to_json()}


def _alone(folder: Path) -> contextlib.AbstractContextManager:
    """Nobody else may write in a store: who ends first removes what is half written."""
    if multihost.is_primary():
        return locks.hold(folder, "its maps are made")
    return contextlib.nullcontext()


def _explain(explain, data, records, asks, writer, layout) -> None:
    config = data.config.cam
    loader = make_loader(
        records,
        data.truth,
        data.config,
        batch_size=config.batch_size,
        once=True,
        layout=layout,
    )
    by_id = {record.example_id: record for record in records}
    with loader, explain_out_of_memory(config.batch_size, "cam.batch_size"):
        batches = progress(
            loader.epoch(0), len(records), "maps", count=lambda batch: batch.mask.sum()
        )
        for batch, result in _overlapped(explain, batches, asks):
            # What fills a batch repeats one of its examples, id and all.
            boxes = detected.arrays([by_id[one] for one in batch.example_ids])
            writer.add(batch.example_ids, result, batch.geometry, boxes)
        for example_id, reason in loader.skipped.items():
            writer.skip(example_id, reason)


def _overlapped(
    explain: Explainer,
    batches: Iterator[Batch],
    asks: Callable[[Batch], targets.Target],
) -> Iterator[tuple[Batch, Any]]:
    """(batch, explanation), with the next batch under way while one is used."""
    waiting = None
    for batch in itertools.chain(batches, [None]):
        started = None
        if batch is not None:
            drawn = seeds.of_ids(batch.example_ids)
            started = batch, explain.submit(batch.images, asks(batch), seeds=drawn)
        if waiting is not None:
            yield waiting[0], waiting[1]()
        waiting = started
