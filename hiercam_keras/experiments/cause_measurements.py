"""Effects and maps of a training on birds with one part exchanged, computed if missing.

The network is asked for the true taxa of a picture. Its maps are of the picture with
nothing exchanged, drawn as the exchanged ones are: without the losses of a JPEG. The
numbers of one training and split are a file next to the model (runs/.../looks/).
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from hiercam_keras import runtime, workdir
from hiercam_keras.cam import Explainer
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.data.exchanged import Drawn
from hiercam_keras.data.loader import Batch
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation import causal_effects, measures, regions
from hiercam_keras.evaluation.causal_effects import Effects
from hiercam_keras.evaluation.map_controls import CONTROLS
from hiercam_keras.evaluation.measures import Maps
from hiercam_keras.evaluation.question import TRUE, Question
from hiercam_keras.experiments.measurements import identity
from hiercam_keras.modes.load import RunData, make_loader
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network

PICTURE = "picture"  # the layer of controls that need the picture alone


@dataclasses.dataclass(frozen=True)
class Caused:
    """One training on N pictures of a split.

    Attributes:
      effects: of exchanged parts, and of the whole bird.
      parts: P names of the effects' parts that have an area of their own.
      targets: K pairs (kind, rank) of the maps: "label", "marginal", "step" or
        "contrast".
      views: V pairs (method, layer) of the maps; the layer as it is configured, "" for
        the usual one.
      energy: (V, N, K, P), share of a map's energy on each part.
      area: (N, P), share of the picture that each part fills.
    """

    effects: Effects
    parts: tuple[str, ...]
    targets: tuple[tuple[str, str], ...]
    views: tuple[tuple[str, str], ...]
    energy: np.ndarray
    area: np.ndarray

    def __len__(self) -> int:
        return len(self.area)


def measured(data: RunData, split: str, drawn: Drawn, options: Any) -> Caused:
    """The numbers of a finished training, read from disk if they exist.

    Args:
      data: the run.
      split: of the pictures, for the name of the file.
      drawn: the pictures and those with a part exchanged.
      options: the config's `causes`.
    """
    ids = [one.record.example_id for one in drawn.exchanged]
    about = {
        "methods": list(options.methods),
        "layers": list(options.layers),
        "kinds": list(options.kinds),
        "causes": drawn.digest,
    }
    digest = identity(data.run.model_path, ids, **about)
    path = data.run.path / "looks" / f"causes-{split}-{digest}.npz"
    if not path.exists():
        logging.info("measuring effects and maps of %s on %s", data.run.path, split)
        save(path, measure(data, drawn, options))
    return load(path)


def measure(data: RunData, drawn: Drawn, options: Any) -> Caused:
    """Effects of exchanged parts, and energies of maps on them."""
    runtime.start(data.config.seed, data.config.model.dtype)
    network = networks.load(data.run, data.config)
    explain = network.explainer([one or network.layer for one in options.layers])
    found = effects_of(network, data, drawn, explain.space)
    targets = targets_of(explain.space, found.ranks, options.kinds)
    labels = {part: drawn.labels[part] for part in found.parts if part in drawn.labels}
    views, energy, area = _energies(
        explain, data, drawn.plain, labels, targets, options
    )
    return Caused(found, tuple(labels), targets, views, energy, area)


def effects_of(
    network: Network, data: RunData, drawn: Drawn, space: ScoreSpace
) -> Effects:
    """Effects of every exchange on every score of the true taxa."""
    everything = [*drawn.plain, *(one.record for one in drawn.exchanged)]
    with make_loader(everything, data.truth, data.config, once=True) as loader:
        answers = network.predict(loader, "exchanged parts")
    logits = np.concatenate([answers.logits[rank] for rank in space.heads], axis=1)
    rows = {one: row for row, one in enumerate(answers.example_ids)}
    place = {record.example_id: row for row, record in enumerate(drawn.plain)}
    by_kind: dict[tuple[str, str], list] = {}
    for one in drawn.exchanged:
        by_kind.setdefault((one.part, one.how), []).append(one)
    exchanged = {
        kind: (
            np.array([place[one.of] for one in several]),
            logits[[rows[one.record.example_id] for one in several]],
        )
        for kind, several in by_kind.items()
    }
    ranks = [rank for rank in space.ranks if _has_siblings(space, rank)]
    return causal_effects.effects(
        space,
        [record.example_id for record in drawn.plain],
        [record.lineage.path for record in drawn.plain],
        {rank: data.labels(drawn.plain, rank) for rank in ranks},
        logits[[rows[record.example_id] for record in drawn.plain]],
        exchanged,
    )


def _has_siblings(space: ScoreSpace, rank: str) -> bool:
    group = space.groups[space.group(rank, "marginal")]
    return not space.only_child[group.start : group.start + group.size].all()


def targets_of(
    space: ScoreSpace, ranks: Sequence[str], kinds: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """(kind, rank) of the maps; marginals where they are not the labels' maps, too."""
    found = [(kind, rank) for kind in kinds for rank in ranks]
    if "label" in kinds:
        own = [rank for rank in space.heads if rank != space.finest]
        found += [("marginal", rank) for rank in ranks if rank in own]
    return tuple(found)


def _question(kind: str, rank: str) -> Question:
    if kind == "marginal":
        return Question(rank, "label", TRUE, "marginal")
    return Question(rank, kind, TRUE)


def _energies(
    explain: Explainer,
    data: RunData,
    plain: Sequence[Record],
    labels: Mapping[str, int],
    targets: Sequence[tuple[str, str]],
    options: Any,
) -> tuple[tuple[tuple[str, str], ...], np.ndarray, np.ndarray]:
    """Views, energies (V, N, K, P) and areas (N, P)."""
    questions = [_question(*target) for target in targets]
    methods = [name for name in options.methods if name in explain.methods]
    configured = dict(zip(explain.layers, options.layers, strict=True))
    by_id = {record.example_id: record for record in plain}
    energies: dict[tuple[str, str], list[np.ndarray]] = {}
    areas, order = [], []
    for batch, rows in data.batches(plain, "maps of causes"):
        shown = [by_id[batch.example_ids[row]] for row in rows]
        order += [record.example_id for record in shown]
        geometry = [batch.geometry[row] for row in rows]
        known = regions.of_pictures(shown, geometry, parts=True)
        areas.append(_columns(measures.part_area(known, labels)))
        for view, energy in _of_batch(
            explain, batch, rows, known, labels, questions, methods
        ):
            method, layer = view
            view = method, configured.get(layer, layer)
            energies.setdefault(view, []).append(energy)
    place = [order.index(record.example_id) for record in plain]
    stacked = [np.concatenate(several)[place] for several in energies.values()]
    return tuple(energies), np.stack(stacked), np.concatenate(areas)[place]


def _of_batch(
    explain, batch: Batch, rows, known, labels, questions, methods
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """((method, layer), energies (n, K, P)) of the pictures of one batch."""
    on_parts = functools.partial(_on_parts, known=known, labels=labels)
    asked = [question.asks(batch.labels) for question in questions]
    for view, found in explain.explain_many(batch.images, asked, methods).items():
        yield (
            view,
            np.stack(
                [
                    on_parts(found.cams[rows, k], found.degenerate[rows, k])
                    for k in range(len(asked))
                ],
                axis=1,
            ),
        )
    for name, control in CONTROLS.items():
        cams = control(np.asarray(batch.images)[rows])
        energy = on_parts(cams, np.zeros(len(rows), bool))
        yield (name, PICTURE), np.repeat(energy[:, None], len(asked), axis=1)


def _on_parts(cams, degenerate, known, labels) -> np.ndarray:
    return _columns(measures.part_energy(Maps(cams, degenerate, known), labels))


def _columns(by_part: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(by_part.values()), axis=1)


def save(path: Path, found: Caused) -> None:
    """Writes the numbers as arrays that `numpy.load` reads without pickle."""
    one = found.effects
    about = [one.ranks, one.parts, one.hows, found.parts, found.targets, found.views]
    arrays = {
        "example_ids": one.example_ids,
        "groups": one.groups,
        "turned": one.turned,
        "energy": found.energy,
        "area": found.area,
        "about": np.array(json.dumps(about)),
    }
    arrays |= {f"fall/{name}": values for name, values in one.falls.items()}
    with workdir.atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path) -> Caused:
    """Reads what `save` has written."""
    with np.load(path, allow_pickle=False) as arrays:
        ranks, parts, hows, own, targets, views = json.loads(str(arrays["about"]))
        falls = {
            name.removeprefix("fall/"): arrays[name]
            for name in arrays.files
            if name.startswith("fall/")
        }
        effects = Effects(
            arrays["example_ids"],
            arrays["groups"],
            tuple(ranks),
            tuple(parts),
            tuple(hows),
            falls,
            arrays["turned"],
        )
        return Caused(
            effects,
            tuple(own),
            tuple(map(tuple, targets)),
            tuple(map(tuple, views)),
            arrays["energy"],
            arrays["area"],
        )
