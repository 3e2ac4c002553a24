"""Effects and maps of a training on birds with one part exchanged, computed if missing.

The network is asked for the true taxa of a picture. Its maps are of the picture with
nothing exchanged, drawn as the exchanged ones are: without the losses of a JPEG. The
effects and the maps of one training and split are a file each, next to the model
(runs/.../looks/).
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
from hiercam_keras.cam import seeds
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.data.exchanged import Drawn
from hiercam_keras.data.loader import Batch
from hiercam_keras.evaluation import causal_effects, measures, regions, table
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
class MapEnergy:
    """Energy of the maps of N pictures on their parts.

    Attributes:
      example_ids: (N,) text.
      parts: P names, of those that have an area of their own.
      targets: K pairs (kind, rank) of the maps: "label", "marginal", "step" or
        "contrast".
      views: V pairs (method, layer) of the maps; the layer as it is configured, "" for
        the usual one.
      energy: (V, N, K, P), share of a map's energy on each part.
      area: (N, P), share of the picture that each part fills.
    """

    example_ids: np.ndarray
    parts: tuple[str, ...]
    targets: tuple[tuple[str, str], ...]
    views: tuple[tuple[str, str], ...]
    energy: np.ndarray
    area: np.ndarray


@dataclasses.dataclass(frozen=True)
class Caused:
    """One training on N pictures of a split, effects and maps in the same order."""

    effects: Effects
    maps: MapEnergy

    def __len__(self) -> int:
        return len(self.maps.area)


def measured(data: RunData, split: str, drawn: Drawn, options: Any) -> Caused:
    """The numbers of a finished training, read from disk if they exist.

    Args:
      data: the run.
      split: of the pictures, for the names of the files.
      drawn: the pictures and those with a part exchanged.
      options: the config's `causes`.
    """
    ids = [record.example_id for record in drawn.plain]
    asked = [one.record.example_id for one in drawn.exchanged]
    about = {
        "methods": list(options.methods),
        "layers": list(options.layers),
        "kinds": list(options.kinds),
    }
    places = {
        "effects": identity(data.run.model_path, asked, causes=drawn.digest),
        "maps": identity(data.run.model_path, ids, causes=drawn.digest, **about),
    }
    paths = {
        name: data.run.path / "looks" / f"causes-{name}-{split}-{digest}.npz"
        for name, digest in places.items()
    }
    if not all(path.exists() for path in paths.values()):
        logging.info("measuring causes and maps of %s on %s", data.run.path, split)
        runtime.start(data.config.seed, data.config.model.dtype)
        network = networks.load(data.run, data.config)
        if not paths["effects"].exists():
            save_effects(paths["effects"], effects_of(network, data, drawn))
        if not paths["maps"].exists():
            save_maps(paths["maps"], maps_of(network, data, drawn, options))
    return Caused(load_effects(paths["effects"]), load_maps(paths["maps"]))


def effects_of(network: Network, data: RunData, drawn: Drawn) -> Effects:
    """Effects of every exchange on every score of the true taxa."""
    space = network.scorer().space
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


def targets_of(space: ScoreSpace, kinds: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(kind, rank) of the maps; marginals where they are not the labels' maps, too."""
    ranks = [rank for rank in space.ranks if _has_siblings(space, rank)]
    found = [(kind, rank) for kind in kinds for rank in ranks]
    if "label" in kinds:
        own = [rank for rank in space.heads if rank != space.finest]
        found += [("marginal", rank) for rank in ranks if rank in own]
    return tuple(found)


def _question(kind: str, rank: str) -> Question:
    if kind == "marginal":
        return Question(rank, "label", TRUE, "marginal")
    return Question(rank, kind, TRUE)


def maps_of(network: Network, data: RunData, drawn: Drawn, options: Any) -> MapEnergy:
    """Energies of the maps of the pictures with nothing exchanged."""
    explain = network.explainer([one or network.layer for one in options.layers])
    targets = targets_of(explain.space, options.kinds)
    questions = [_question(*target) for target in targets]
    methods = [name for name in options.methods if name in explain.methods]
    configured = dict(zip(explain.layers, options.layers, strict=True))
    by_id = {record.example_id: record for record in drawn.plain}
    energies: dict[tuple[str, str], list[np.ndarray]] = {}
    areas, order = [], []
    for batch, rows in data.batches(drawn.plain, "maps of causes"):
        shown = [by_id[batch.example_ids[row]] for row in rows]
        order += [record.example_id for record in shown]
        geometry = [batch.geometry[row] for row in rows]
        known = regions.of_pictures(shown, geometry, parts=True)
        areas.append(_columns(measures.part_area(known, drawn.labels)))
        for (method, layer), energy in _of_batch(
            explain, batch, rows, known, drawn.labels, questions, methods
        ):
            view = method, configured.get(layer, layer)
            energies.setdefault(view, []).append(energy)
    place = [order.index(record.example_id) for record in drawn.plain]
    stacked = [np.concatenate(several)[place] for several in energies.values()]
    return MapEnergy(
        np.array(order)[place],
        tuple(drawn.labels),
        targets,
        tuple(energies),
        np.stack(stacked),
        np.concatenate(areas)[place],
    )


def _of_batch(
    explain, batch: Batch, rows, known, labels, questions, methods
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """((method, layer), energies (n, K, P)) of the pictures of one batch."""
    on_parts = functools.partial(_on_parts, known=known, labels=labels)
    asked = [question.asks(batch.labels) for question in questions]
    drawn = seeds.of_ids(batch.example_ids)
    explained = explain.explain_many(batch.images, asked, methods, seeds=drawn)
    for view, found in explained.items():
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


def save_effects(path: Path, found: Effects) -> None:
    """Writes effects as arrays that `numpy.load` reads without pickle."""
    _save(
        path,
        [found.ranks, found.parts, found.hows],
        example_ids=found.example_ids,
        groups=found.groups,
        turned=found.turned,
        **found.falls,
    )


def load_effects(path: Path) -> Effects:
    """Reads what `save_effects` has written; raises as `table.read_arrays`."""
    arrays = table.read_arrays(path)
    ranks, parts, hows = map(tuple, json.loads(str(arrays["about"])))
    falls = {name: arrays[name] for name in causal_effects.SCORES}
    ids, groups, turned = (arrays[name] for name in ("example_ids", "groups", "turned"))
    return Effects(ids, groups, ranks, parts, hows, falls, turned)


def save_maps(path: Path, found: MapEnergy) -> None:
    """Writes energies as arrays that `numpy.load` reads without pickle."""
    _save(
        path,
        [found.parts, found.targets, found.views],
        example_ids=found.example_ids,
        energy=found.energy,
        area=found.area,
    )


def load_maps(path: Path) -> MapEnergy:
    """Reads what `save_maps` has written; raises as `table.read_arrays`."""
    arrays = table.read_arrays(path)
    parts, targets, views = json.loads(str(arrays["about"]))
    return MapEnergy(
        arrays["example_ids"],
        tuple(parts),
        tuple(map(tuple, targets)),
        tuple(map(tuple, views)),
        arrays["energy"],
        arrays["area"],
    )


def _save(path: Path, about: list, **arrays: np.ndarray) -> None:
    arrays["about"] = np.array(json.dumps(about))
    with workdir.atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)
