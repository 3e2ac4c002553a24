"""Do the maps of a store change when the model's weights are made random?

    <store>/sanity_cascading.csv, .json     and the same of independent

Written next to the map store that --mode=cam makes, for some of its pictures. Every
stage asks for the taxa that the trained model was asked for, else a change of the
answer would pass for a change of the map.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import tables, workdir
from hiercam_keras.cam import randomization, seeds, store, targets
from hiercam_keras.data.records import Record
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import clusters
from hiercam_keras.metrics.sanity import sanity_table
from hiercam_keras.modes.load import RunData, drawn
from hiercam_keras.progress import progress
from hiercam_keras.runs.network import Network

HEADER = ("stage", "layer", "measure", "mean", "low", "high", "count")


def check_options(options: Any) -> None:
    """A UserError where `config.sanity` cannot be, before anything is made."""
    for name, known in (
        ("order", ("", *randomization.ORDERS)),
        ("kind", randomization.KINDS),
    ):
        if options[name] not in known:
            raise UserError(
                f"config.sanity.{name}={options[name]!r}, expected one of "
                f"{', '.join(filter(None, known))}."
            )


def check(
    network: Network, data: RunData, folder: Path, records: Sequence[Record]
) -> str:
    """Writes the tables of `config.sanity.order`; returns a line about them.

    Args:
      network: the run's; it is not changed.
      data: the run's images.
      folder: of the map store; its first target is asked.
      records: of its pictures; `config.sanity.images` of them are drawn by the seed,
        and held in memory.

    Raises:
      UserError: a layer that cannot be made random, or no picture with a map.
    """
    options, seed = data.config.sanity, data.config.seed
    maps = store.open(folder)
    chosen = drawn([r for r in records if r.example_id in maps], options.images, seed)
    if not chosen:
        raise UserError(
            f"config.sanity.images={options.images} leaves no picture, expected 1 or "
            "more, or -1 for all that have a map."
        )
    images, ids = images_of(chosen, data)
    entries = [maps.get(example_id) for example_id in ids]
    by_id = {record.example_id: record for record in chosen}
    shown = [by_id[example_id] for example_id in ids]
    taxa = np.array([record.lineage.path for record in shown])
    groups = np.array([record.group or "" for record in shown])
    rows = sanity_table(
        np.stack([entry.cam[0] for entry in entries]),
        _stages(
            network,
            data,
            images,
            maps.ranks[0],
            [int(e.label[0]) for e in entries],
            seeds.of_ids(ids),
        ),
        groups=clusters.independent(taxa, groups),
        seed=seed,
    )
    path = folder / f"sanity_{options.order}"
    tables.write_csv(path.with_suffix(".csv"), HEADER, rows)
    about = {"order": options.order, "kind": options.kind, "images": len(ids)}
    about |= {
        "method": data.config.cam.method,
        "rows": [tables.json_row(row) for row in rows],
    }
    workdir.write_json(path.with_suffix(".json"), about)
    last = [row for row in rows if row["measure"] == "spearman_signed"][-1]
    return (
        f"{options.order} randomization down to {last['layer']}: rank correlation "
        f"{last['mean']:.2f} with the trained model's maps ({path}.csv)"
    )


def images_of(records: Sequence[Record], data: RunData) -> tuple[np.ndarray, list[str]]:
    """Images uint8 (N, S, S, 3) as the network takes them, held in memory, and their
    example_ids, in the order of the records."""
    images, ids = [], []
    for batch, rows in data.batches(records):
        images.append(batch.images[rows])
        ids += [batch.example_ids[row] for row in rows]
    return np.concatenate(images), ids


def _stages(
    network: Network,
    data: RunData,
    images: np.ndarray,
    rank: str,
    labels: list[int],
    drawn_by: np.ndarray,
) -> Iterator[tuple[str, np.ndarray]]:
    """(layer, maps) with more and more layers random, or one after the other."""
    options, cam = data.config.sanity, data.config.cam
    model, explain = network.model, network.explainer(cam.layer)
    asked = targets.label(labels, rank, data.score)
    layers = tuple(options.layers) or None
    stages = randomization.randomized(
        model, options.order, layers=layers, kind=options.kind, seed=data.config.seed
    )
    total = len(images) * randomization.num_stages(model, options.order, layers)
    for stage in progress(stages, total, "sanity", count=lambda _: len(images)):
        found = explain(
            images, asked, cam.method, seeds=drawn_by, variables=stage.variables
        )
        yield stage.layer, found.cams[:, 0]
