"""Benchmarks: what images with a coarser identification are worth to a training.

    python -m benchmarks.partial

Draws birds, cuts the labels of half of the training images to the genus or the family,
and trains a network of species for each seed: on all images (partial ones with the loss
of their marginal score), without the partial ones, and on the whole labels. An epoch of
all images has twice the steps, so the first two are also trained for twice the epochs
("2 x"). Accuracy at each rank is of the same test images, with whole labels. The result
is written after each training, so that the benchmark can be stopped and goes on where
it was.
"""

import argparse
import csv
import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

RANKS = ("order", "family", "genus", "species")  # of the table and of the result
CUT = ("genus", "family")  # in turn; each is known of a quarter of the images
KINDS = {
    "all images": {"cut": True, "partial": "keep"},
    "partial ones dropped": {"cut": True, "partial": "drop"},
    "whole labels": {"cut": False, "partial": "keep"},
    "partial ones dropped, 2 x": {"cut": True, "partial": "drop", "times": 2},
    "all images, 2 x": {"cut": True, "partial": "keep", "times": 2},
}
log = logging.getLogger("benchmarks")


def write_table(
    path: Path, root: Path, records: Any, seed: int, cut: bool, train: int
) -> dict[str, int]:
    """Writes a table of the birds; returns the number of training images by rank.

    Args:
      path: of the CSV file.
      root: folder that its paths are relative to.
      records: of the drawn birds.
      seed: of the choice of training images and of those with a coarser label.
      cut: whether half of the training images have a coarser label.
      train: training images of each species; the others are for the test.
    """
    rng = np.random.default_rng(seed)
    by_species: dict[tuple, list] = {}
    for record in records:
        by_species.setdefault(record.lineage.taxa, []).append(record)
    rows, counts = [], dict.fromkeys(RANKS, 0)
    for taxa in sorted(by_species):
        own = by_species[taxa]
        for turn, number in enumerate(rng.permutation(len(own))):
            record, known = own[number], "species"
            if cut and turn < train // 2:
                known = CUT[turn % len(CUT)]
            depth = record.lineage.ranks.index(known) + 1
            whole = [*taxa[:depth], *[""] * (len(taxa) - depth)]
            if turn < train:
                counts[known] += 1
            part = "train" if turn < train else "test"
            cells = whole[record.lineage.ranks.index("order") :]
            place = os.path.relpath(record.path, root)
            rows.append([place, record.example_id, part, *cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("path", "example_id", "split", *RANKS), *rows])
    return counts


def config_of(flags: argparse.Namespace) -> Any:
    """The experiment of the drawn birds, small."""
    from configs import synthetic_birds

    config = synthetic_birds.get_config()
    config.data.root = str(flags.folder / "birds")
    config.data.synthetic.orders = 2  # 24 species in 8 genera
    config.data.synthetic.images_per_species = flags.images
    config.data.synthetic.image_size = (80, 100)
    config.data.image_size = flags.size
    config.data.pipeline = "arrays"
    config.data.cache_dir = str(flags.folder / "cache")
    config.data.fractions = (0.8, 0.0, 0.2)
    config.model.backbone = flags.backbone
    config.model.weights = flags.weights
    config.model.output_stride = 32
    config.train.keep_best = False
    return config


def measure(config: Any, kind: str, seed: int, flags: argparse.Namespace) -> dict:
    """Trains once; accuracy at each rank, on the test images."""
    from ml_collections import FrozenConfigDict

    from hiercam_keras.data import sources
    from hiercam_keras.modes.load import open_run
    from hiercam_keras.modes.settings import Settings
    from hiercam_keras.modes.train import train
    from hiercam_keras.runs import network as networks

    records = sources.load(config.data, name=config.name).records
    how = KINDS[kind]
    folder = flags.folder / f"{kind.replace(' ', '_').replace(',', '')}-{seed}"
    root = Path(config.data.root)
    counts = write_table(folder / "t.csv", root, records, seed, how["cut"], flags.train)
    config = config.copy_and_resolve_references()
    config.seed = seed
    config.data.source, config.data.table = "csv_table", str(folder / "t.csv")
    config.data.partial = how["partial"]
    drops = how["partial"] == "drop"
    images = counts["species"] if drops else sum(counts.values())
    config.train.epochs = flags.epochs * how.get("times", 1)
    settings = Settings(
        mode="train",
        config=FrozenConfigDict(config),
        overrides={},
        rank=("species",),
        workdir=str(folder / "run"),
        overwrite=True,
    )
    run, _ = train(settings)
    data = open_run(settings, run)
    network = networks.load(run, data.config)
    with data.loader("test") as loader:
        found = network.predict(loader, f"{kind}, seed {seed}")
    scores = network.scores(found.logits)
    return {
        "kind": kind,
        "seed": seed,
        "images": images,
        "by_rank": {rank: n for rank, n in counts.items() if n},
        "epochs": config.train.epochs,
        "test": len(found.example_ids),
        "accuracy": {
            rank: float((scores[rank].argmax(-1) == found.labels[rank]).mean())
            for rank in RANKS
        },
    }


def table(rows: list[dict]) -> str:
    """The rows as Markdown: mean over the seeds, and the lowest and highest."""
    lines = ["| trained on | images | seeds | " + " | ".join(RANKS) + " |"]
    lines.append("|---" * (len(RANKS) + 3) + "|")
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        cells = [kind, str(own[0]["images"]), str(len(own))]
        for rank in RANKS:
            values = [row["accuracy"][rank] for row in own]
            cells.append(
                f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    from hiercam_keras import runtime

    runtime.prepare_process()  # before keras is imported
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".cache/partial"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60, help="of each species")
    parser.add_argument("--train", type=int, default=40, help="of each, for training")
    parser.add_argument("--epochs", type=int, default=12, help="on all images")
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--backbone", default="benchmarks.search_network:build")
    parser.add_argument("--weights", default="none")
    flags = parser.parse_args()
    flags.folder = flags.folder.resolve()
    flags.folder.mkdir(parents=True, exist_ok=True)
    path = flags.folder / "results.json"
    rows = json.loads(path.read_text()) if path.is_file() else []
    config = config_of(flags)
    for kind in KINDS:
        for seed in range(flags.seeds):
            if any((row["kind"], row["seed"]) == (kind, seed) for row in rows):
                continue
            rows.append(measure(config, kind, seed, flags))
            path.write_text(json.dumps(rows, indent=1))
            log.info("%s", rows[-1])
    versions = ", ".join(f"{k} {v}" for k, v in runtime.versions().items())
    print(f"{rows[0]['test']} test images; {versions}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
