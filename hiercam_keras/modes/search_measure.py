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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras import locks, workdir
from hiercam_keras.cam import randomization, store, targets
from hiercam_keras.cam.base_explainer import BaseExplainer
from hiercam_keras.cam.methods import get_methods
from hiercam_keras.cam.program import INPUT
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
    """A method at a layer; the layer of methods of the input is "input"."""

    method: str
    layer: str

    @property
    def name(self) -> str:
        return self.method if self.layer == INPUT else f"{self.method} at {self.layer}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
      question: of kind "label"; its method and layer do not count.
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
        if method.source == "input":
            found.append(Candidate(method.name, INPUT))
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
      split: whose pictures are measured; no other ones are read.
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
    truth = [[r.lineage.taxa, r.boxes, *_stamp(r.mask_path)] for r in records]
    return store.key(
        store.identity(
            weights=weights,
            example_ids=[record.example_id for record in records],
            method=candidate.method,
            layer=candidate.layer,
            targets=[plan.question.name],
            preprocessing={"image_size": data.config.data.image_size},
            few=len(few),
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
    layers = dict.fromkeys(one.layer for one in missing if one.layer != INPUT)
    explain = network.explainer(list(layers))
    methods = tuple(dict.fromkeys(one.method for one in missing))
    batch_size = data.config.cam.batch_size
    with explain_out_of_memory(batch_size, "cam.batch_size"):
        tables, cams = _answered(
            explain, data, records, few, plan.question, methods, missing
        )
        first = next(iter(tables.values()))
        place = {one: row for row, one in enumerate(first.example_ids)}
        few = [one for one in few if one.example_id in place]
        rows = [place[one.example_id] for one in few]
        labels = first.values["label"][rows, 0].astype(int)
        images, ids = images_of(few, data) if few else (np.zeros(0), [])
        alike = {one: np.full(len(few), np.nan) for one in missing}
        if few and plan.randomize:
            random = _random_maps(network, explain, images, labels, methods, plan, data)
            alike = {one: _alike(cams[one], random[one]) for one in missing}
        size = min(batch_size, len(few))
        todo = [
            (one, start) for one in missing for start in range(0, len(few), size or 1)
        ]
        measured: dict[str, np.ndarray] = {}
        name = "deletion and insertion"
        score = _Score(network, labels, plan) if few else None
        for one, start in progress(
            todo, len(missing) * len(few), name, count=lambda _: size
        ):
            some = np.minimum(np.arange(start, start + size), len(few) - 1)
            found = score(images, cams[one], ids, some)
            for key, values in found.items():
                column = measured.setdefault(key, np.full(len(few), np.nan))
                column[some] = values
            if start + size >= len(few):
                measured[ranking.SIMILARITY] = alike[one]
                _save(missing[one], tables[one], rows, measured)
                measured = {}
    if not few:
        for one, path in missing.items():
            _save(path, tables[one], rows, {})


def _answered(
    explain: BaseExplainer,
    data: RunData,
    records: list[Record],
    few: list[Record],
    question: Question,
    methods: Sequence[str],
    missing: Sequence[Candidate],
) -> tuple[dict[Candidate, Table], dict[Candidate, np.ndarray]]:
    """The tables with the energies, and the maps of some pictures, by candidate."""
    config = data.config
    measured = {ranking.ENERGY: MEASURES[ranking.ENERGY].compute}
    parts: dict[Candidate, list[Table]] = {one: [] for one in missing}
    kept: dict[Candidate, dict[str, np.ndarray]] = {one: {} for one in missing}
    wanted = {record.example_id for record in few}

    def asks(batch: Any) -> dict[str, targets.Target]:
        return {_ASKED: question.asks(batch.labels)}

    def numbers(result: Any, batch: Any, rows: np.ndarray) -> dict[str, dict]:
        found = result.rank_probabilities(question.rank, question.score)[rows]
        return {
            _ASKED: {
                "predicted": found.argmax(-1),
                "label": result.labels[rows, 0],
                "probability": result.probabilities[rows, 0],
            }
        }

    batch_size = min(config.cam.batch_size, len(records))
    with make_loader(
        records, data.truth, config, batch_size=batch_size, once=True
    ) as loader:
        batches = streamed(
            explain, loader, records, asks, methods, numbers, name="maps"
        )
        for chunks in batches:
            for key, chunk in chunks.items():
                one = Candidate(*key)
                if one not in parts:
                    continue
                answer = chunk.answers[_ASKED]
                chunk = chunk._replace(answers={one.name: answer})
                rank = {one.name: question.rank}
                parts[one].append(
                    tabulate([chunk], data.truth, rank, measured=measured)
                )
                for record, cam in zip(chunk.records, answer.cams, strict=True):
                    if record.example_id in wanted:
                        kept[one][record.example_id] = cam
    cams = {
        one: np.array([by_id[r.example_id] for r in few if r.example_id in by_id])
        for one, by_id in kept.items()
    }
    return {one: table.joined(several) for one, several in parts.items()}, cams


def _random_maps(
    network, explain, images, labels, methods, plan, data
) -> dict[Candidate, np.ndarray]:
    """Maps of the same taxa by the network with all its weights made random."""
    *_, last = randomization.randomized(
        network.model, "cascading", kind=plan.kind, seed=data.config.seed
    )
    question = plan.question
    asked = targets.label(labels, question.rank, question.score)
    found = explain.explain_many(images, asked, methods, variables=last.variables)
    return {Candidate(*key): result.cams[:, 0] for key, result in found.items()}


def _alike(trained: np.ndarray, changed: np.ndarray) -> np.ndarray:
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
