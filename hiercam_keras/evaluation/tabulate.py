"""From answers with maps to a table of numbers, some pictures at a time.

Answers come from map stores (`stored`) or from one pass of an Explainer (`streamed`).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from hiercam_keras.cam import seeds, store
from hiercam_keras.cam.explanation import Explanation
from hiercam_keras.cam.targets import Target
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation import measures, regions
from hiercam_keras.evaluation.measures import MEASURES, Maps
from hiercam_keras.evaluation.regions import Regions
from hiercam_keras.evaluation.table import Table, joined
from hiercam_keras.metrics import agreement
from hiercam_keras.progress import progress

_AT_ONCE = 256  # pictures: bounds the memory that their maps take


class Answer(NamedTuple):
    """What a model answered to one question about n pictures, with the maps.

    Attributes:
      cams: (n, h, w), signed.
      degenerate, trivial: bool (n,), see `cam.Explanation`.
      numbers: name -> (n,), such as predicted (the label asked for) and probability.
    """

    cams: np.ndarray
    degenerate: np.ndarray
    trivial: np.ndarray
    numbers: dict[str, np.ndarray]


class Chunk(NamedTuple):
    """n pictures, their regions, and the answers by question."""

    records: list[Record]
    regions: Regions
    answers: dict[str, Answer]


def stored(
    maps: Mapping[str, tuple[store.Reader, int]],
    records: Sequence[Record],
    parts: bool = False,
    name: str = "",
) -> Iterator[Chunk]:
    """Answers from map stores.

    Args:
      maps: question -> a store that has a map of every picture, and the place of the
        question among its targets.
      records: the pictures.
      parts: whether part images are read.
      name: of the progress bar; "" for none.
    """
    starts = range(0, len(records), _AT_ONCE)
    chunks = [list(records[start : start + _AT_ONCE]) for start in starts]
    for chunk in progress(chunks, len(records), name, count=len) if name else chunks:
        read: dict[int, list[store.Entry]] = {}
        for reader, _ in maps.values():
            if id(reader) not in read:
                read[id(reader)] = [reader.get(one.example_id) for one in chunk]
        first = next(iter(read.values()))
        answers = {
            question: _of_entries(read[id(reader)], place)
            for question, (reader, place) in maps.items()
        }
        rows = [entry.geometry for entry in first]
        yield Chunk(chunk, regions.of_pictures(chunk, rows, parts), answers)


Numbers = dict[str, dict[str, np.ndarray]]  # question -> name -> (n,)


def streamed(
    explain: Callable[[Any, list[Target]], Mapping[tuple[str, str], Explanation]],
    loader: Any,
    records: Sequence[Record],
    asks: Callable[[Any], Mapping[str, Target]],
    numbers: Callable[[Explanation, Any, np.ndarray], Numbers],
    parts: bool = False,
    name: str = "",
) -> Iterator[dict[tuple[str, str], Chunk]]:
    """Answers from one pass over the batches of a loader.

    Args:
      explain: images, targets and seeds= -> (method, layer) -> explanation, such as
        `BaseExplainer.explain_many` by some methods.
      loader: gives each picture once.
      records: of its pictures.
      asks: batch -> question -> target; the same questions for every batch.
      numbers: an explanation, its batch and the n rows that are pictures -> what was
        answered to each question. Methods and layers share the logits, so the first
        explanation answers for all.
      parts: whether part images are read.
      name: of the progress bar.

    Yields:
      For each batch, (method, layer) -> the n pictures with their answers.
    """
    by_id = {record.example_id: record for record in records}
    batches = progress(
        loader.epoch(0), len(by_id), name, count=lambda batch: batch.mask.sum()
    )
    for batch in batches:
        rows = np.flatnonzero(batch.mask)
        if not rows.size:
            continue
        asked = asks(batch)
        given = batch.images, list(asked.values())
        found = explain(*given, seeds=seeds.of_ids(batch.example_ids))
        shown = [by_id[batch.example_ids[row]] for row in rows]
        geometry = [batch.geometry[row] for row in rows]
        known = regions.of_pictures(shown, geometry, parts)
        answered = numbers(next(iter(found.values())), batch, rows)
        yield {
            key: Chunk(
                shown,
                known,
                {
                    question: Answer(
                        result.cams[rows, place],
                        result.degenerate[rows, place],
                        result.trivial[rows, place],
                        answered[question],
                    )
                    for place, question in enumerate(asked)
                },
            )
            for key, result in found.items()
        }


def _of_entries(entries: Sequence[store.Entry], place: int) -> Answer:
    def stack(field: str) -> np.ndarray:
        return np.array([getattr(entry, field)[place] for entry in entries])

    return Answer(
        np.stack([entry.cam[place] for entry in entries]),
        stack("degenerate"),
        stack("trivial"),
        {
            "predicted": stack("label"),
            "probability": stack("probability"),
            "score": stack("score"),
        },
    )


Measures = Mapping[str, Callable[[Maps], np.ndarray]]


class HasLabels(Protocol):
    """A taxonomy, or what finds the taxa of a network's taxonomy by their names."""

    def labels(self, lineages: Iterable, rank: str) -> np.ndarray:
        """Labels at `rank`: int32 (N,), -1 for a taxon that the model does not have."""


def tabulate(
    chunks: Iterable[Chunk],
    taxonomy: HasLabels | Mapping[str, HasLabels],
    ranks: Mapping[str, str],
    parts: Mapping[str, int] | None = None,
    measured: Measures | None = None,
    pairs: bool = False,
) -> Table:
    """Measures every map and puts the numbers into one table.

    Args:
      chunks: the pictures with their answers; the same questions in each.
      taxonomy: of the labels, one for all questions or by question.
      ranks: question -> rank that it asks for.
      parts: name of a part, as "part_family" -> its label in the part images.
      measured: name -> function of Maps to (n, ...); default all of MEASURES.
      pairs: whether the maps of every two questions are compared.

    Returns:
      A table. Its values are those of the answers, "true", "degenerate", "trivial",
      the measures and the share of the energy on each part; measures are NaN where the
      question was trivial. Pictures have "object", "object_area" and `<part>_area`, and
      "group" if any is in a group.
    """
    if measured is None:
        measured = {name: one.compute for name, one in MEASURES.items()}
    several = isinstance(taxonomy, Mapping)
    taxonomies = taxonomy if several else dict.fromkeys(ranks, taxonomy)
    table = joined(
        [
            _of_chunk(chunk, taxonomies, ranks, parts or {}, measured, pairs)
            for chunk in chunks
        ]
    )
    if not (table.pictures["group"] != "").any():
        del table.pictures["group"]
    return table


def _of_chunk(chunk, taxonomies, ranks, parts, measured, pairs) -> Table:
    known = chunk.regions
    lineages = [record.lineage for record in chunk.records]
    pictures = {"object": known.kinds, "object_area": known.object_area()}
    pictures["group"] = np.array([record.group or "" for record in chunk.records])
    areas = measures.part_area(known, parts)
    pictures |= {f"{name}_area": area for name, area in areas.items()}
    by_question, energies = [], []
    for question, rank in ranks.items():
        answer = chunk.answers[question]
        maps = Maps(answer.cams, answer.degenerate, known)
        found = dict(answer.numbers)
        found["true"] = np.asarray(taxonomies[question].labels(lineages, rank))
        found |= {"degenerate": answer.degenerate, "trivial": answer.trivial}
        numbers = {name: compute(maps) for name, compute in measured.items()}
        numbers |= measures.part_energy(maps, parts)
        found |= {name: _asked(v, answer.trivial) for name, v in numbers.items()}
        by_question.append(found)
        if pairs:
            energies.append((maps.energy, answer.trivial))
    values = {
        name: np.stack([found[name] for found in by_question], axis=1)
        for name in by_question[0]
    }
    return Table(
        np.array([record.example_id for record in chunk.records]),
        np.array([lineage.path for lineage in lineages]),
        tuple(ranks),
        tuple(ranks.values()),
        values,
        pictures,
        _pairs(tuple(ranks), energies) if pairs else {},
    )


def _asked(values: np.ndarray, trivial: np.ndarray) -> np.ndarray:
    """NaN where nothing was asked, as by a step into an only child."""
    return np.where(trivial, np.nan, values) if values.ndim == 1 else values


def _pairs(
    questions: Sequence[str], energies: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict:
    """(question, question) -> measure -> (n,), NaN where one of them was not asked.

    Of energies: a measure that compares by min-max or by order is the same of heatmaps.
    """
    found = {}
    named = zip(questions, energies, strict=True)
    for (first, one), (second, other) in itertools.combinations(named, 2):
        (a, trivial), (b, likewise) = one, other
        measured = agreement.agreement_measures(a, b)
        measured["earth_mover"] = agreement.earth_movers_distance(a, b)
        found[first, second] = {
            name: _asked(values, trivial | likewise)
            for name, values in measured.items()
        }
    return found
