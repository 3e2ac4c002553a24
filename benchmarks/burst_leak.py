"""How much too high is a test accuracy when bursts are divided?

    python -m benchmarks.burst_leak --seeds=0,1,2

Draws birds in bursts, several pictures of one individual, and trains a network twice on
them: on a split that divides bursts, as if nobody knew of them, and on one that keeps
them together. Both are tested on their own test split and on individuals drawn for the
purpose, which neither has seen: the accuracy on these is what a test should predict.
docs/FIELD.md has the table that the command above makes.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
from ml_collections import FrozenConfigDict

from configs import synthetic_birds
from hiercam_keras import runtime, tables
from hiercam_keras.modes import eval as eval_mode
from hiercam_keras.modes import train
from hiercam_keras.modes.settings import Settings

_MODULE = "benchmarks.burst_leak"
SPLITS = {"bursts divided": "none", "bursts together": ""}
HEADER = ("seed", "split", "test images", "test", "95 %", "new birds", "test - new")


class Accuracy(NamedTuple):
    """Of one training: on its test split with its interval, and on new birds."""

    images: int
    test: float
    low: float
    high: float
    new: float


def small(image_size: int, output_stride: int) -> Any:
    """Four convolutions of stride 2; `output_stride` is 16."""
    import keras

    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    for filters in (16, 32, 64, 96):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(image, x)


def make_config(folder: Path, flags: argparse.Namespace, seed: int) -> Any:
    """The experiment of a seed, small: its birds are of that seed, too."""
    config = synthetic_birds.get_config()
    config.name = "bursts"
    config.seed = seed
    config.runs_dir = str(folder / "runs")
    config.data.root = str(folder / f"birds{seed}")
    config.data.cache_dir = str(folder / "cache")
    config.data.image_size = flags.image_size
    config.data.workers = 1
    config.data.pipeline = "arrays"
    config.data.batch_size = 16
    config.data.synthetic.update(
        {
            "orders": 2,
            "families": 2,
            "genera": 1,
            "species": 2,
            "images_per_species": flags.images,
            "images_per_burst": flags.burst,
            "image_size": (flags.image_size, flags.image_size + 8),
            "habitat_correlation": 0.0,
            "seed": seed,
        }
    )
    config.train.learning_rate = 2e-3
    config.model.backbone = flags.backbone
    config.model.weights = flags.weights
    config.train.epochs = flags.epochs
    config.train.keep_best = False
    config.data.fractions = (0.75, 0.0, 0.25)
    return config


def measure(
    folder: Path, flags: argparse.Namespace, seed: int, groups: str
) -> Accuracy:
    """Trains and tests one network.

    Args:
      folder: of the birds and runs.
      flags: of the command line.
      seed: of birds, split and training.
      groups: data.groups.
    """
    config = make_config(folder, flags, seed)
    config.data.groups = groups
    workdir = folder / "runs" / f"{groups or 'own'}{seed}"
    _run(train, "train", config, workdir)
    found = _accuracy(config, workdir, "test", None)
    new = make_config(folder, flags, seed)
    new.data.root = str(folder / f"new{seed}")
    new.data.synthetic.seed = 1000 + seed
    from hiercam_keras.data.sources import synthetic_source

    synthetic_source.ensure(Path(new.data.root), new.data.synthetic)
    # New birds have the names of those of the training, so its list names most of them.
    other = _accuracy(config, workdir, "train", new.data.root)
    return Accuracy(int(found["images"]), *_figures(found), float(other["accuracy"]))


def _figures(row: dict[str, str]) -> tuple[float, float, float]:
    return tuple(float(row[name] or "nan") for name in ("accuracy", "low", "high"))


def _accuracy(
    config: Any, workdir: Path, split: str, data_dir: str | None
) -> dict[str, str]:
    """The row of accuracy.csv for species."""
    out = workdir / f"eval-{split}-{'new' if data_dir else 'own'}"
    flags = {"out": str(out), "split": split, "data_dir": data_dir}
    # Intervals resample bursts, also where the split did not know of them.
    _run(eval_mode, "eval", config, workdir, overrides={"data.groups": ""}, **flags)
    columns = tables.read_csv(out / "accuracy.csv")
    row = list(columns["rank"]).index("species")
    return {name: values[row] for name, values in columns.items()}


def _run(module: Any, mode: str, config: Any, workdir: Path, **flags: Any) -> None:
    settings = Settings(
        mode=mode,
        config=FrozenConfigDict(config),
        rank=("species",),
        workdir=str(workdir),
        **flags,
    )
    module.run(settings)


def rows(found: dict[tuple[int, str], Accuracy]) -> list[list[str]]:
    """Rows of HEADER, and the means over the seeds."""
    made = []
    for (seed, split), one in found.items():
        interval = f"{one.low:.3f} to {one.high:.3f}"
        numbers = [f"{one.test:.3f}", interval, f"{one.new:.3f}"]
        gap = f"{one.test - one.new:+.3f}"
        made.append([str(seed), split, str(one.images), *numbers, gap])
    for split in SPLITS:
        several = [one for (_, name), one in found.items() if name == split]
        test, new = (
            np.array([getattr(o, n) for o in several]) for n in ("test", "new")
        )
        images = str(sum(one.images for one in several))
        numbers = [f"{test.mean():.3f}", "", f"{new.mean():.3f}"]
        made.append(["mean", split, images, *numbers, f"{(test - new).mean():+.3f}"])
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table and what it was made with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--images", type=int, default=40, help="of each of 8 species")
    parser.add_argument("--burst", type=int, default=5, help="pictures of a burst")
    parser.add_argument("--image_size", type=int, default=64, help="px")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--backbone", default=f"{_MODULE}:small", help="model.backbone")
    parser.add_argument("--weights", default="none", help="model.weights")
    parser.add_argument("--folder", default="", help="of birds and runs; a new one")
    flags = parser.parse_args(arguments)
    runtime.prepare_process()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(flags.folder or place)
        found = {}
        for seed in map(int, flags.seeds.split(",")):
            for split, groups in SPLITS.items():
                found[seed, split] = measure(folder, flags, seed, groups)
                print(seed, split, found[seed, split], file=sys.stderr, flush=True)
    for cells in [HEADER, ["---"] * len(HEADER), *rows(found)]:
        print("|", " | ".join(cells), "|")
    versions = runtime.versions()
    print("\n" + ", ".join(f"{name} {value}" for name, value in versions.items()))


if __name__ == "__main__":
    main()
