"""Fine-tuning at `order` on the photographs: k folds, several seeds, four beginnings.

    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.finetune
    HIERCAM_REAL_DATA=/folder python -m benchmarks.real.finetune \
        --networks=b0-none --seeds=0,1

A process compiles the training step once for a network; every fold and seed begins
with the weights of its seed, the optimizer's state and the dropout's seeds set back.
Photographs are decoded once. Each finished fold is appended to --out, and a second call
trains the missing ones only. The settings were chosen before any result was seen, are
the same for all networks, and no fold chooses anything: the last step's weights count.
"""

import argparse
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hiercam_keras import runtime

runtime.prepare_process()

import keras  # noqa: E402 - the backend is chosen above
import numpy as np  # noqa: E402
from absl import logging  # noqa: E402

from benchmarks.real import photographs  # noqa: E402
from configs import default  # noqa: E402
from hiercam_keras import tables, workdir  # noqa: E402
from hiercam_keras.data import augment, resize_windows  # noqa: E402
from hiercam_keras.data.records import Record  # noqa: E402
from hiercam_keras.models import heads, xla_layers  # noqa: E402
from hiercam_keras.taxonomy.tree import Taxonomy  # noqa: E402
from hiercam_keras.training.callbacks import EpochSeed  # noqa: E402
from hiercam_keras.training.compiling import compile_model  # noqa: E402
from hiercam_keras.training.forward import predict_batch  # noqa: E402

RANK = "order"
# Name in the tables -> model.backbone and model.weights.
NETWORKS = {
    "lite0-imagenet": ("efficientnet_lite0", "imagenet"),
    "lite0-none": ("efficientnet_lite0", "none"),
    "b0-synthetic": ("efficientnet_b0", "synthetic"),
    "b0-none": ("efficientnet_b0", "none"),
}
OUT = photographs.ROOT / ".cache" / "real" / "folds.jsonl"


class Photos:
    """Photographs decoded once: random crops to learn from, center crops to test on."""

    def __init__(self, records: list[Record], size: int, options: Any):
        """Reads them; `options` is `config.augment`, `size` the model's side in px."""
        self.size, self._options = size, options
        self._windows, self._pixels = {}, {}
        for training, jitter in ((True, options.crop_jitter), (False, 0.0)):
            windows = resize_windows.plan(records, size, "classification", jitter)
            self._windows[training] = windows
            self._pixels[training] = [
                resize_windows.read(record.path, windows, place)
                for place, record in enumerate(records)
            ]

    def center(self, places: np.ndarray) -> np.ndarray:
        """What eval sees: uint8 (B, S, S, 3)."""
        return np.stack([self._pixels[False][place] for place in places])

    def crops(self, places: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Crops as `config.augment` asks, of one epoch: uint8 (B, S, S, 3)."""
        drawn = augment.draw(self._options, seed, epoch, places, self.size)
        extent = self._windows[True].extent[places]
        starts = augment.crop_starts(drawn.shift, extent, self.size)
        recolor = augment.changes_color(self._options)
        return np.stack(
            [
                augment.apply(
                    self._pixels[True][place],
                    starts[row],
                    augment.Augmentation(*(values[row] for values in drawn)),
                    self.size,
                    recolor,
                )
                for row, place in enumerate(places)
            ]
        )


class Network:
    """A compiled network that begins again from the weights of any seed.

    Attributes:
      steps: batches of an epoch.
    """

    def __init__(self, config: Any, num_labels: int, steps_per_epoch: int):
        """Builds and compiles it as `config` says."""
        self._config, self._num_labels = config, num_labels
        self.steps = steps_per_epoch
        self._model = xla_layers.accelerate(self._built(0), config.model.fast_layers)
        compile_model(self._model, {RANK: num_labels}, config.train, self.steps)
        optimizer = self._model.optimizer
        self._optimizer = [
            (one, keras.ops.convert_to_numpy(one)) for one in optimizer.variables
        ]
        self._begun: tuple[int, list[np.ndarray]] = -1, []

    def fit(self, photos: Photos, places: np.ndarray, labels: np.ndarray, seed: int):
        """Trains from the weights of `seed` on the photographs at `places`."""
        if self._begun[0] != seed:
            self._begun = seed, self._built(seed).get_weights()
        for variable, value in self._optimizer:
            variable.assign(value)
        self._model.set_weights(self._begun[1])
        epochs = self._config.train.epochs
        self._model.fit(
            self._batches(photos, places, labels, seed),
            epochs=epochs,
            steps_per_epoch=self.steps,
            shuffle=False,
            callbacks=[EpochSeed(seed)],
            verbose=0,
        )

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, labels) of center crops, in batches of one shape."""
        size = self._config.data.batch_size
        found = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            rows = np.minimum(np.arange(size), len(part) - 1)
            found.append(predict_batch(self._model, part[rows])[: len(part)])
        return np.concatenate(found)

    def _batches(self, photos, places, labels, seed) -> Iterator[tuple]:
        size, steps = self._config.data.batch_size, self.steps
        for epoch in range(self._config.train.epochs):
            order = augment.permutation(seed, epoch, len(places))[: size * steps]
            for batch in np.split(places[order], steps):
                images = photos.crops(batch, seed, epoch)
                yield images, labels[batch].astype(np.int32)

    def _built(self, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self._config.model
        return heads.build_model(
            model.backbone,
            self._config.data.image_size,
            {RANK: self._num_labels},
            dropout=model.dropout,
            bn_momentum=model.bn_momentum,
            drop_connect=model.drop_connect,
            weights=model.weights,
        )


def settings(network: str, size: int, epochs: int) -> Any:
    """The config of a network: the defaults, and what so few photographs need."""
    config = default.get_config()
    config.model.backbone, config.model.weights = NETWORKS[network]
    config.data.image_size, config.data.batch_size = size, 8
    config.train.epochs, config.train.schedule = epochs, "cosine"
    config.model.bn_momentum = 0.9  # the default needs several hundred steps
    config.model.drop_connect = 0.0  # short runs learn faster
    return config


def read(path: Path) -> list[dict]:
    """The folds in the file; a line that a kill cut short is none."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def summary(rows: Sequence[dict], records: Sequence[Record], folds: int) -> list[dict]:
    """Right answers of each photograph: a row of folds.csv.

    Args:
      rows: of one settings' folds.
      records: of every photograph that was tested.
      folds: of each seed. A network's seeds count up to the first that has fewer, so
        that those of two networks are the same ones.

    Returns:
      example_id, species and order, and for each network 1 (right) and 0 by seed, 0
      first, with blanks between them.
    """
    found: dict[str, dict[int, list[dict]]] = {}
    for row in rows:
        found.setdefault(row["network"], {}).setdefault(row["seed"], []).append(row)
    table = [
        {
            "example_id": record.example_id,
            "species": record.lineage.display_name("species"),
            "order": photographs.order_of(record),
        }
        for record in records
    ]
    for name in filter(found.get, NETWORKS):
        seeds = []
        for number in itertools.count():
            parts = found[name].get(number, [])
            if len({row["fold"] for row in parts}) < folds:
                break
            seeds.append(dict(pair for row in parts for pair in row["answers"]))
        for line in table if seeds else ():
            hits = (answers[line["example_id"]] == line["order"] for answers in seeds)
            line[name] = " ".join(str(int(hit)) for hit in hits)
    return table


def write_summary(flags: argparse.Namespace, records: Sequence[Record]) -> None:
    """Writes folds.csv, and folds.json with what was run and on what."""
    named = settings_name(flags)
    rows = [row for row in read(flags.out) if row["settings"] == named]
    table = summary(rows, records, flags.folds)
    tables.write_csv(flags.tables / "folds.csv", list(table[0]), table)
    costs: dict[str, dict] = {}
    for row in rows:
        cost = costs.setdefault(row["network"], {"folds": 0, "cpu_seconds": 0.0})
        cost["folds"] += 1
        cost["cpu_seconds"] = round(cost["cpu_seconds"] + row["cpu_seconds"], 1)
    about = {
        "settings": named,
        "steps": sorted({row["steps"] for row in rows}),
        "networks": costs,
        "versions": runtime.versions(),
    }
    workdir.write_json(flags.tables / "folds.json", about)


def settings_name(flags: argparse.Namespace) -> str:
    """What folds must have in common to be in one table."""
    return f"{flags.size}px-{flags.epochs}epochs-{flags.folds}folds"


def train_missing(flags: argparse.Namespace) -> list[Record]:
    """Trains every fold that the file does not have; returns what is tested."""
    records, left_out = photographs.testable(photographs.records())
    taxonomy = Taxonomy(record.lineage for record in records)
    labels = np.array([taxonomy.label(record.lineage, RANK) for record in records])
    names = taxonomy.names(RANK)
    logging.info("%d photographs of %s; left out: %s", len(records), names, left_out)
    keys = ("settings", "network", "seed", "fold")
    done = {tuple(row[key] for key in keys) for row in read(flags.out)}
    photos = Photos(records, flags.size, default.get_config().augment)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    networks: dict[str, Network] = {}
    # Seed by seed, so that a stop leaves all networks with about as many seeds.
    for seed, name, fold in itertools.product(
        flags.seeds, flags.networks, range(flags.folds)
    ):
        key = settings_name(flags), name, seed, fold
        if key in done:
            continue
        if name not in networks:
            config = settings(name, flags.size, flags.epochs)
            steps = _steps(len(records), flags.folds, config.data.batch_size)
            networks[name] = Network(config, len(names), steps)
        begin, used = time.perf_counter(), time.process_time()
        tested = photographs.folds(records, flags.folds, seed) == fold
        networks[name].fit(photos, np.flatnonzero(~tested), labels, seed)
        places = np.flatnonzero(tested)
        found = networks[name].logits(photos.center(places)).argmax(-1)
        row = {
            **dict(zip(keys, key, strict=True)),
            "trained": int((~tested).sum()),
            "steps": networks[name].steps * flags.epochs,
            "seconds": round(time.perf_counter() - begin, 1),
            "cpu_seconds": round(time.process_time() - used, 1),
            "answers": [
                [records[place].example_id, names[label]]
                for place, label in zip(places, found, strict=True)
            ],
        }
        with flags.out.open("a") as file:
            file.write(f"\n{json.dumps(row)}\n")  # after a line that was cut short
        logging.info(
            "%s, seed %d, fold %d: %d of %d right, %.0f s, %.0f s of processor time",
            name,
            seed,
            fold,
            (found == labels[tested]).sum(),
            len(found),
            row["seconds"],
            row["cpu_seconds"],
        )
    return records


def _steps(count: int, folds: int, batch_size: int) -> int:
    """Batches of an epoch: whole ones of the smallest training part.

    One species has two photographs, so a fold may have one more than its share.
    """
    return (count - -(-count // folds) - 1) // batch_size


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; networks and seeds as lists."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real.finetune")
    add = parser.add_argument
    add("--networks", default=",".join(NETWORKS), help="names, with commas")
    add("--seeds", default="0,1,2,3,4", help="with commas")
    add("--folds", type=int, default=5)
    add("--epochs", type=int, default=12)
    add("--size", type=int, default=128, help="side of the model's input, px")
    add("--out", type=Path, default=OUT, help="a line of JSON for each fold")
    add("--tables", type=Path, default=photographs.TABLES, help="for folds.csv")
    flags = parser.parse_args(arguments)
    flags.networks = flags.networks.split(",")
    unknown = set(flags.networks) - set(NETWORKS)
    if unknown:
        parser.error(f"networks {unknown}, expected some of {', '.join(NETWORKS)}")
    flags.seeds = [int(seed) for seed in flags.seeds.split(",")]
    return flags


def main() -> None:
    """Trains what is missing, and writes the tables of what there is."""
    flags = parse()
    runtime.start(0)
    write_summary(flags, train_missing(flags))


if __name__ == "__main__":
    main()
