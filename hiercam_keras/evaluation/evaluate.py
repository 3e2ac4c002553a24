"""Puts questions to a network about all pictures of a split, in one pass."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.methods import get_methods
from hiercam_keras.cam.targets import Target
from hiercam_keras.evaluation.question import TRUE, Question, by_name
from hiercam_keras.evaluation.table import Table, joined
from hiercam_keras.evaluation.tabulate import (
    Answer,
    Chunk,
    Numbers,
    streamed,
    tabulate,
)
from hiercam_keras.taxonomy.ranks import check_rank


def evaluate(
    run: Any,
    questions: Sequence[Question],
    split: str = "test",
    data_dir: str | None = None,
) -> Table:
    """Makes the maps of all questions about each picture, and measures them.

    The pictures go through the network once for all questions. Maps are measured as
    they come and not kept.

    Args:
      run: what `load_run` returns.
      questions: each a column of the table; their names differ.
      split: train, val or test.
      data_dir: folder of the images, where it is not that of the training.

    Returns:
      A row for each picture. Values, by question: "predicted" and "true" (labels at the
      question's rank), "label" (that was asked for), "probability" and "score" of it,
      "degenerate", "trivial", all of `MEASURES`, and "part_<rank>", the share of the
      energy on the part that carries the trait of a rank, where part images are known.
      A true taxon that an imported network does not know has the label -1, and no map.
      Pictures have "object", "object_area" and "part_<rank>_area". `pairs` compares the
      maps of every two questions.

    Raises:
      UserError: a question that the network cannot answer, an unknown method or layer,
        or a split without images.
    """
    asked = by_name(questions)
    data = run.data(data_dir)
    for one in asked.values():
        check_rank(one.rank, data.taxonomy.ranks)
    records = data.records(split)
    layers = list(dict.fromkeys(one.layer or run.layer for one in asked.values()))
    explain = run.explainer(layer=layers)
    paths = dict(zip(layers, explain.layers, strict=True))
    places = {name: _place(one, run, paths) for name, one in asked.items()}
    parts = {}
    if all(record.parts_path for record in records):
        evidence = data.source.evidence or {}
        parts = {f"part_{rank}": label for rank, (_, label) in evidence.items()}
    ranks = {name: one.rank for name, one in asked.items()}
    tables = []
    with data.loader(split, data.config.cam.batch_size) as loader:
        for chunks in streamed(
            explain,
            loader,
            records,
            functools.partial(_asks, asked),
            list(dict.fromkeys(method for method, _ in places.values())),
            functools.partial(_numbers, asked),
            bool(parts),
            "evaluate",
        ):
            first = next(iter(chunks.values()))
            answers = {
                name: _known(asked[name], chunks[key].answers[name], first, data)
                for name, key in places.items()
            }
            chunk = first._replace(answers=answers)
            tables.append(tabulate([chunk], data.truth, ranks, parts, pairs=True))
    return joined(tables)


def _place(one: Question, run: Any, paths: Mapping[str, str]) -> tuple[str, str]:
    """(method, layer path) of the maps that answer a question."""
    (method,) = get_methods(one.method or run.method)
    return method.name, method.place or paths[one.layer or run.layer]


def _asks(asked: Mapping[str, Question], batch: Any) -> dict[str, Target]:
    """The targets of a batch. A taxon that the network does not know has the label -1:
    any other is asked for, and `_known` takes the answer out."""
    labels = {rank: np.maximum(values, 0) for rank, values in batch.labels.items()}
    return {name: one.asks(labels) for name, one in asked.items()}


def _known(one: Question, answer: Answer, chunk: Chunk, data: Any) -> Answer:
    """Without the answers about true taxa that the network does not know."""
    if one.target != TRUE:
        return answer
    unknown = np.asarray(data.labels(chunk.records, one.rank)) < 0
    return answer._replace(trivial=answer.trivial | unknown)


def _numbers(
    asked: Mapping[str, Question], result: Explanation, batch: Any, rows: np.ndarray
) -> Numbers:
    """What was answered to each question."""
    found = {}
    for place, (name, one) in enumerate(asked.items()):
        probabilities = result.rank_probabilities(one.rank, one.score)[rows]
        found[name] = {
            "predicted": probabilities.argmax(-1),
            "label": result.labels[rows, place],
            "probability": result.probabilities[rows, place],
            "score": result.scores[rows, place],
        }
    return found
