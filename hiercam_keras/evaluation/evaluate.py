"""Puts questions to a network about all pictures of a split, in one pass."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.methods import Method, get_methods
from hiercam_keras.cam.targets import Target
from hiercam_keras.evaluation.question import TRUE, Question, by_name
from hiercam_keras.evaluation.regions import part_labels
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

    The pictures go through the network once for all questions, and once more for each
    layer that a method of several layers is asked about: its map is of that layer and
    the stages before it. Maps are measured as they come and not kept.

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
    explain = _Explainers(run, asked.values())
    places = {name: explain.key(one) for name, one in asked.items()}
    parts = part_labels(data.source.evidence, records)
    ranks = {name: one.rank for name, one in asked.items()}
    tables = []
    with data.loader(split, data.config.cam.batch_size) as loader:
        for chunks in streamed(
            explain,
            loader,
            records,
            functools.partial(_asks, asked),
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


class _Explainers:
    """Explains by the methods and layers of all questions.

    Methods of one layer share an explainer. One of several layers has an explainer for
    each layer that it is asked about, as it fuses all layers of its explainer.
    """

    def __init__(self, run: Any, questions: Iterable[Question]):
        self._run = run
        fused: dict[str, set[str]] = {}
        alone: dict[str, set[str]] = {}
        for one in questions:
            method, layer = self._asked(one)
            layers = fused if method.source == "layers" else alone
            layers.setdefault(layer, set()).add(method.name)
        self._groups: list[tuple[Any, str | None, list[str]]] = []
        self._paths: dict[str, str] = {}
        if alone:
            explain = run.explainer(layer=list(alone))
            self._paths = dict(zip(alone, explain.layers, strict=True))
            self._groups.append((explain, None, sorted(set().union(*alone.values()))))
        for layer, methods in fused.items():
            self._groups.append((run.explainer(layer=layer), layer, sorted(methods)))

    def _asked(self, one: Question) -> tuple[Method, str]:
        (method,) = get_methods(one.method or self._run.method)
        return method, one.layer or self._run.layer

    def key(self, one: Question) -> tuple[str, str]:
        """(method, place) of the maps that answer a question."""
        method, layer = self._asked(one)
        if method.source == "layers":
            return method.name, layer
        return method.name, method.place or self._paths[layer]

    def __call__(
        self, images: Any, asked: list[Target], seeds: Any
    ) -> dict[tuple[str, str], Explanation]:
        """The explanations by `key`; see `BaseExplainer.explain_many`."""
        found = {}
        for explain, fused, methods in self._groups:
            for (method, place), result in explain.explain_many(
                images, asked, methods, seeds=seeds
            ).items():
                found[method, fused or place] = result
        return found


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
    numbers = dict(answer.numbers)
    numbers["label"] = np.where(unknown, -1, numbers["label"])
    for name in ("probability", "score"):
        numbers[name] = np.where(unknown, np.nan, numbers[name])
    return answer._replace(trivial=answer.trivial | unknown, numbers=numbers)


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
