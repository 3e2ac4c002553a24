"""Measures the maps of many layers and methods, and keeps what is measured.

    <folder>/pieces/<key>.npz       the table of one layer and method

All maps of a batch come from one pass of the Explainer. Deletion, insertion and the
maps of random weights take dozens of passes, so they are made for some of the pictures
only, one layer and method after the other, and each is written when it is done: a later
call measures the missing ones. The key depends on all that the numbers depend on.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import locks, workdir
from hiercam_keras.cam import randomization, seeds, store, targets
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.methods import METHODS, get_methods
from hiercam_keras.data.records import Record
from hiercam_keras.errors import explain_out_of_memory
from hiercam_keras.evaluation import ranking, table
from hiercam_keras.evaluation.faithfulness import measure_batch
from hiercam_keras.evaluation.measures import MEASURES
from hiercam_keras.evaluation.question import TRUE, Question
from hiercam_keras.evaluation.table import Table
from hiercam_keras.evaluation.tabulate import streamed, tabulate
from hiercam_keras.metrics.faithfulness.measure import Choices
from hiercam_keras.metrics.sanity import similarity
from hiercam_keras.modes import detected
from hiercam_keras.modes.load import RunData, make_loader
from hiercam_keras.modes.make_maps import known_records
from hiercam_keras.modes.sanity import images_of
from hiercam_keras.progress import progress
from hiercam_keras.runs.network import Network

# Methods that look at neither the network nor the picture: one layer shows them all.
CONTROLS = ("random", "center_gaussian")
_ASKED = "asked"  # the name of the only question
_CURVES = ("deletion", "insertion", "deletion_gain", "insertion_gain")


class Candidate(NamedTuple):
    """A method at a layer.

    Methods of the input, of attention and of several layers have the `Method.place` in
    place of a layer; then `placed` is True.
    """

    method: str
    layer: str
    placed: bool = False

    @property
    def name(self) -> str:
        return self.method if self.placed else f"{self.method} at {self.layer}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
      question: of kind "label", without method and layer.
      images: pictures that are measured at most, drawn by the seed, those with a known
        object first; -1 for all.
      few: how many of them have deletion and insertion measured, and are compared with
        maps of random weights; -1 for all.
      choices: of deletion and insertion.
      randomize: whether maps of random weights are made.
      kind: of the randomization, see `cam.randomization`.
    """

    question: Question
    images: int
    few: int
    choices: Choices
    randomize: bool = True
    kind: str = "shuffle"


def candidates_of(
    methods: Sequence[str], layers: Sequence[str]
) -> tuple[Candidate, ...]:
    """Every method at every layer; controls at the first one only.

    Args:
      methods: names in METHODS.
      layers: paths.

    Raises:
      UserError: an unknown method.
    """
    found = []
    for method in get_methods(methods):
        if method.place is not None:
            found.append(Candidate(method.name, method.place, placed=True))
            continue
        places = layers[:1] if method.name in CONTROLS else layers
        found += [Candidate(method.name, layer) for layer in places]
    return tuple(found)


def measure(
    network: Network,
    data: RunData,
    split: str,
    candidates: Sequence[Candidate],
    plan: Plan,
    folder: Path,
) -> Table:
    """A table with a row for each picture and a question for each candidate.

    Its values are those of the answers, `ranking.ENERGY`, `ranking.FAITHFULNESS`,
    "deletion", "insertion" and their gains, and `ranking.SIMILARITY`; NaN where they
    are unknown or were not measured.

    Args:
      network, data: of the run.
      split: train, val or test; no pictures of another one are read.
      candidates: of `candidates_of`.
      plan: what is measured.
      folder: of the pieces.
    """
    records = data.records(split)
    if plan.question.target == TRUE:
        records = known_records(data, records, plan.question.rank)
    records = drawn(records, plan.images, data.config.seed)
    few = records if plan.few < 0 else records[: plan.few]
    weights = store.weights_digest(network.model.weights)
    paths = {
        one: folder / "pieces" / f"{_key(one, plan, data, weights, records, few)}.npz"
        for one in candidates
    }
    workdir.make_dir(folder)
    if not all(path.exists() for path in paths.values()):
        with locks.hold(folder, "its layers and methods are measured"):
            missing = {one: p for one, p in paths.items() if not p.exists()}
            if missing:
                _measure(network, data, records, few, plan, missing)
    return table.combined([table.load(path) for path in paths.values()])


def drawn(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """At most `count` records (-1: all) in an order drawn by the seed, those with a box
    or a mask first."""
    order = np.random.default_rng(seed).permutation(len(records))
    found = [records[i] for i in order]
    found.sort(key=lambda one: not (one.boxes or one.mask_path))
    return found if count < 0 else found[:count]


def _key(candidate, plan, data, weights, records, few) -> str:
    truth = [[r.lineage.taxa, r.group, r.boxes, *_stamp(r.mask_path)] for r in records]
    return store.key(
        store.identity(
            weights=weights,
            example_ids=[record.example_id for record in records],
            method=candidate.method,
            layer=candidate.layer,
            own_layer=data.config.cam.layer if candidate.placed else "",
            targets=[plan.question.name],
            preprocessing={
                "image_size": data.config.data.image_size,
                **detected.identity(records),
            },
            few=len(few),
            seeds="example_id" if METHODS[candidate.method].draws else "",
            choices=vars(plan.choices),
            randomized=plan.kind if plan.randomize else "",
            seed=data.config.seed,
            truth=hashlib.sha256(repr(truth).encode()).hexdigest(),
        )
    )


def _stamp(path: Path | None) -> tuple:
    """What changes when somebody draws a mask again."""
    if path is None:
        return ()
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _measure(
    network: Network,
    data: RunData,
    records: list[Record],
    few: list[Record],
    plan: Plan,
    missing: dict[Candidate, Path],
) -> None:
    """Writes the tables that are missing."""
    layers = [one for one in missing if not one.placed]
    placed = [one for one in missing if one.placed]
    with explain_out_of_memory(data.config.cam.batch_size, "cam.batch_size"):
        # Methods of no single layer may depend on the layer of the Explainer, which is
        # the run's own for them.
        for some, named in (
            (layers, list(dict.fromkeys(one.layer for one in layers))),
            (placed, data.config.cam.layer),
        ):
            if some:
                asked = _Asked(network, network.explainer(named), data, plan, some)
                asked.write(records, few, missing)


class _Asked:
    """Candidates that one Explainer is asked for."""

    def __init__(
        self,
        network: Network,
        explain: BaseExplainer,
        data: RunData,
        plan: Plan,
        candidates: Sequence[Candidate],
    ):
        self._network, self._explain, self._data = network, explain, data
        self._plan, self._by_key = plan, {one[:2]: one for one in candidates}
        self._methods = tuple(dict.fromkeys(one.method for one in candidates))

    def write(
        self,
        records: list[Record],
        few: list[Record],
        paths: dict[Candidate, Path],
    ) -> None:
        """Measures the candidates and writes their tables."""
        tables, cams = self._answered(records, {one.example_id for one in few})
        first = next(iter(tables.values()))
        place = {one: row for row, one in enumerate(first.example_ids)}
        few = [one for one in few if one.example_id in place]
        if not few:
            for one, found in tables.items():
                _save(paths[one], found, [], {})
            return
        rows = [place[one.example_id] for one in few]
        cams = {
            one: np.array([by_id[record.example_id] for record in few])
            for one, by_id in cams.items()
        }
        labels = first.values["label"][rows, 0].astype(int)
        images, ids = images_of(few, self._data)
        alike = self._alike(images, labels, seeds.of_ids(ids), cams)
        score = _Score(self._network, labels, self._plan)
        size = min(self._data.config.cam.batch_size, len(few))
        todo = [(one, start) for one in tables for start in range(0, len(few), size)]
        measured: dict[str, np.ndarray] = {}
        for one, start in progress(
            todo,
            len(tables) * len(few),
            "deletion and insertion",
            count=lambda item: min(size, len(few) - item[1]),
        ):
            some = np.minimum(np.arange(start, start + size), len(few) - 1)
            for name, values in score(images, cams[one], ids, some).items():
                measured.setdefault(name, np.full(len(few), np.nan))[some] = values
            if start + size >= len(few):
                measured[ranking.SIMILARITY] = alike[one]
                _save(paths[one], tables[one], rows, measured)
                measured = {}

    def _answered(
        self, records: list[Record], wanted: Collection[str]
    ) -> tuple[dict[Candidate, Table], dict[Candidate, dict[str, np.ndarray]]]:
        """The tables with the energies, and the maps of the `wanted` pictures by id."""
        config, question = self._data.config, self._plan.question
        measures = {ranking.ENERGY: MEASURES[ranking.ENERGY].compute}
        parts: dict[Candidate, list[Table]] = {}
        kept: dict[Candidate, dict[str, np.ndarray]] = {}

        def asks(batch: Any) -> dict[str, targets.Target]:
            return {_ASKED: question.asks(batch.labels)}

        def numbers(result: Any, batch: Any, rows: np.ndarray) -> dict[str, dict]:
            found = result.rank_probabilities(question.rank, question.score)[rows]
            answered = {"predicted": found.argmax(-1), "label": result.labels[rows, 0]}
            return {_ASKED: answered | {"probability": result.probabilities[rows, 0]}}

        truth, size = self._data.truth, min(config.cam.batch_size, len(records))
        with make_loader(records, truth, config, batch_size=size, once=True) as loader:
            for chunks in streamed(
                functools.partial(self._explain.explain_many, methods=self._methods),
                loader, records, asks, numbers, name="maps",
            ):  # fmt: skip
                for key in chunks.keys() & self._by_key.keys():
                    one, answer = self._by_key[key], chunks[key].answers[_ASKED]
                    chunk = chunks[key]._replace(answers={one.name: answer})
                    rank = {one.name: question.rank}
                    found = tabulate([chunk], truth, rank, measured=measures)
                    parts.setdefault(one, []).append(found)
                    by_id = kept.setdefault(one, {})
                    for record, cam in zip(chunk.records, answer.cams, strict=True):
                        if record.example_id in wanted:
                            by_id[record.example_id] = cam
        order = [one for one in self._by_key.values() if one in parts]
        return {one: table.joined(parts[one]) for one in order}, kept

    def _alike(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        drawn_by: np.ndarray,
        cams: dict[Candidate, np.ndarray],
    ) -> dict[Candidate, np.ndarray]:
        """Similarities (n,) to the maps of the same taxa by random weights."""
        if not self._plan.randomize:
            return {one: np.full(len(images), np.nan) for one in cams}
        *_, last = randomization.randomized(
            self._network.model,
            "cascading",
            kind=self._plan.kind,
            seed=self._data.config.seed,
        )
        question = self._plan.question
        found = self._explain.explain_many(
            images,
            targets.label(labels, question.rank, question.score),
            self._methods,
            seeds=drawn_by,
            variables=last.variables,
        )
        return {
            one: _similarity(trained, found[one[:2]].cams[:, 0])
            for one, trained in cams.items()
        }


def _similarity(trained: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Rank correlations (n,); NaN where a map is constant or not finite."""
    finite = np.isfinite(trained).all((1, 2)) & np.isfinite(changed).all((1, 2))
    trained, changed = (
        np.where(finite[:, None, None], maps, 0.0) for maps in (trained, changed)
    )
    return similarity(trained, changed)["spearman_signed"]


class _Score:
    """Deletion and insertion of maps, by the network that made them."""

    def __init__(self, network: Network, labels: np.ndarray, plan: Plan):
        question = plan.question
        self._scorer, self._choices = network.scorer(), plan.choices
        self._rows = self._scorer.rows(labels, question.rank, question.score)

    def __call__(
        self, images: np.ndarray, cams: np.ndarray, ids: Sequence[str], some: Any
    ) -> dict[str, np.ndarray]:
        """The numbers of the pictures `some`, by name."""
        score = functools.partial(self._scorer, rows=self._rows[some])
        names = [ids[i] for i in some]
        found = measure_batch(score, images[some], cams[some], names, self._choices)
        numbers = {name: found.numbers[name] for name in _CURVES}
        numbers[ranking.FAITHFULNESS] = numbers["insertion"] - numbers["deletion"]
        return numbers


def _save(
    path: Path, found: Table, rows: Sequence[int], measured: dict[str, np.ndarray]
) -> None:
    """Writes a table with more values for some of its rows."""
    values = dict(found.values)
    for name in (*_CURVES, ranking.FAITHFULNESS, ranking.SIMILARITY):
        column = np.full((len(found), 1), np.nan)
        if name in measured:
            column[rows, 0] = measured[name]
        values[name] = column
    table.save(path, dataclasses.replace(found, values=values))
