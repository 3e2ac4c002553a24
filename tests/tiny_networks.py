"""Networks that were trained elsewhere, of two convolutions, for tests of imports."""

import csv
from pathlib import Path

import keras
import numpy as np
import tiny_birds
from ml_collections import FrozenConfigDict

from hiercam_keras import tables
from hiercam_keras.modes.load import open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import parse_class_name

SIDE = 48  # px


def lineages(folder: Path) -> list[dict[str, str]]:
    """The drawn birds' taxa by rank, one a species."""
    found = [parse_class_name(path.name) for path in sorted(folder.iterdir())]
    return [dict(zip(one.ranks, one.taxa, strict=True)) for one in found]


def write_labels(path: Path, rows: list[dict[str, str]]) -> Path:
    """A table with the four ranks, and what else the rows have."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    header = [name for name in header if name not in ("kingdom", "phylum", "class")]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, header, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def features(side: int = SIDE, first: bool = False):
    """An image input and its features, of two convolutions."""
    layout = {"data_format": "channels_first"} if first else {}
    image = keras.Input((3, side, side) if first else (side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for number, filters in enumerate((8, 12), 1):
        name = f"conv{number}"
        x = keras.layers.Conv2D(
            filters, 3, 3, "same", activation="relu", name=name, **layout
        )(x)
    return image, keras.layers.GlobalAveragePooling2D(**layout)(x)


def network(outputs: int, activation: str | None = None, seed: int = 0):
    """A network of random weights with one head."""
    keras.utils.set_random_seed(seed)
    image, x = features()
    scores = keras.layers.Dense(outputs, activation=activation, name="head")(x)
    return keras.Model(image, scores, name="net")


def families(species):
    """One row a family."""
    found = {
        row["family"]: {"order": row["order"], "family": row["family"]}
        for row in species
    }
    return list(found.values())


def imported(config, folder: Path, model, rows, name: str = "mine", **fields) -> Path:
    """Saves a network, imports it, and gives its run folder."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.keras"
    if model is not None:
        model.save(file)
    labels = write_labels(folder / f"{name}.csv", rows)
    run = folder / name
    said = tiny_birds.run(
        "import",
        config,
        model=str(file),
        labels=str(labels),
        workdir=str(run),
        fields=fields,
    )
    assert f"wrote {run}" in said
    return run


def asked(mode: str, config, run: Path, images: Path, **flags):
    return tiny_birds.run(mode, config, workdir=str(run), data_dir=str(images), **flags)


def pixels(config, run: Path, images: Path) -> tuple[list[str], np.ndarray]:
    """The example_ids of all images, and what the network is given."""
    settings = Settings(
        mode="eval", config=FrozenConfigDict(config), data_dir=str(images)
    )
    data = open_run(settings, run_folder.read(run))
    with data.loader("test") as loader:
        batches = [
            (np.array(one.example_ids, object)[one.mask], one.images[one.mask])
            for one in loader.epoch(0)
        ]
    ids, found = zip(*batches, strict=True)
    return np.concatenate(ids).tolist(), np.concatenate(found)


def columns_of(run: Path, name: str) -> dict[str, np.ndarray]:
    return {
        k: np.array(v) for k, v in tables.read_csv(run / "eval/test" / name).items()
    }


def binomials(rows) -> np.ndarray:
    return np.array([f"{row['genus']} {row['species']}" for row in rows], object)
