"""--mode=predict: the likeliest taxa at every rank, with probabilities, as a CSV."""

from pathlib import Path
from typing import Any

import numpy as np

from hiercam_keras import runtime, tables, wording
from hiercam_keras.data import loader
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.modes.load import config_of, find_runs, open_run, with_fields
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs.network import Network
from hiercam_keras.training.predict import Predictions

HEADER = ("example_id", "rank", "place", "taxon", "lineage", "probability")


def run(settings: Settings) -> str:
    """Writes predictions of --image, or of a split; returns the first of them."""
    (this,) = find_runs(settings, [settings.rank])
    config = config_of(settings, this)
    if settings.image:
        records = photos.load_photos(settings.image, config.data.get("cache_dir"))
        batches = photo_loader(records, config)
        default = Path(this.path / "predict" / "photos.csv")
    else:
        batches = open_run(settings, this).loader(settings.split)
        default = Path(this.path / "predict" / f"{settings.split}.csv")
    devices = settings.config.distribution.devices
    runtime.start(config.seed, config.model.dtype, devices)
    network = networks.load(this, config)
    with batches:
        found = network.predict(batches, "predict")
    rows = prediction_rows(found, network, settings.top_k)
    path = Path(settings.out) if settings.out else default
    tables.write_csv(path, HEADER, rows)
    shown = [row for row in rows if row[0] == found.example_ids[0] and row[2] == 1]
    text = tables.format_table(("rank", "taxon", "probability"), _brief(shown))
    images = wording.count(len(found.example_ids), "image")
    if len(found.example_ids) > 1:
        images += ", the first of them above"
    return f"{found.example_ids[0]}\n{text}\n{images}: {path}"


def photo_loader(records: list[Record], config: Any) -> loader.Loader:
    """Batches of photographs whose lineage need not be known."""
    size = min(config.data.batch_size, len(records))
    data = with_fields(config.data, batch_size=size, cache_mb=0, disk_cache="")
    return loader.make_loader(records, {}, data, seed=config.seed)


def prediction_rows(
    found: Predictions, network: Network, top_k: int
) -> list[list[Any]]:
    """Rows of `HEADER`: for each image and rank its `top_k` taxa, the best first."""
    rows, taxonomy = [], network.taxonomy
    for rank, logits in network.scores(found.logits).items():
        probability = network.probabilities(rank, logits)
        best = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k]
        names, prefixes = taxonomy.names(rank), taxonomy.prefixes(rank)
        for number, example_id in enumerate(found.example_ids):
            for place, label in enumerate(best[number], 1):
                lineage = "/".join(prefixes[label])
                share = float(probability[number, label])
                rows.append([example_id, rank, place, names[label], lineage, share])
    order = {example_id: i for i, example_id in enumerate(found.example_ids)}
    return sorted(rows, key=lambda row: order[row[0]])


def _brief(rows: list[list[Any]]) -> list[list[Any]]:
    return [[rank, taxon, share] for _, rank, _, taxon, _, share in rows]
