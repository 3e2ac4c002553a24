"""Benchmarks: whether believed names are right as often as --mode=calibrate promises.

    python -m benchmarks.belief --run=runs/synthetic_birds/species/seed0

Draws new pictures of the run's species (another seed of the generator), asks the
network once, and divides the pictures at random many times into a calibration part and
a test part. A promise is kept in a division if the names at every rank are right in the
wanted share of the test part or more. The same thresholds are tried on pictures with
other habitats, where the promise does not hold.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from hiercam_keras.metrics import belief

WANTED = (0.8, 0.9, 0.95)
log = logging.getLogger("benchmarks")


def ask(run: Path, cache: Path, seed: int, images: int, **fields: Any) -> Path:
    """Answers of a run for new pictures: probabilities and true labels, as .npz.

    Args:
      run: a run folder, trained on drawn birds.
      cache: folder for pictures and answers.
      seed: of the pictures.
      images: of each species.
      **fields: of `data.synthetic`, other than at the training.
    """
    from ml_collections import ConfigDict

    from hiercam_keras import runtime
    from hiercam_keras.data import sources
    from hiercam_keras.modes.load import make_loader
    from hiercam_keras.runs import network as networks
    from hiercam_keras.runs import run_folder

    changes = "-".join(f"{name}{value}" for name, value in fields.items())
    name = f"{run.parent.parent.name}-{seed}-{images}-{changes}"
    path = cache / f"{name}.npz"
    if path.is_file():
        return path
    this = run_folder.read_finished(run)
    config = ConfigDict(this.config.to_dict())
    config.data.root = str(cache / name)
    config.data.synthetic.seed = seed
    config.data.synthetic.images_per_species = images
    for field, value in fields.items():
        config.data.synthetic[field] = value
    runtime.start(config.seed, config.model.dtype, 1)
    network = networks.load(this, config)
    records = sources.load(config.data, name=config.name).records
    with make_loader(records, network.taxonomy, config, once=True) as loader:
        found = network.predict(loader, name)
    finest = network.finest
    shares = network.probabilities(finest, found.logits[finest])
    np.savez(path, shares=shares, truth=found.labels[finest])
    return path


def measured(
    taxonomy: Any,
    finest: str,
    answers: Mapping[str, np.ndarray],
    splits: int,
    part: int,
) -> list[dict[str, Any]]:
    """One row for each wanted accuracy and rule.

    Args:
      taxonomy: of the labels.
      finest: rank of the probabilities.
      answers: shares (N, labels) and truth (N,).
      splits: number of random divisions.
      part: calibration pictures; the others are the test part.
    """
    paths = belief.paths(answers["shares"], taxonomy, finest)
    leaves = answers["truth"]
    truth = {rank: taxonomy.parents(finest, rank)[leaves] for rank in paths.ranks}
    right = np.stack(
        [paths.taxa[:, i] == truth[r] for i, r in enumerate(paths.ranks)], 1
    )
    rows = []
    for wanted in WANTED:
        rng = np.random.default_rng(0)
        kept, named, accuracy, said = 0, [], [], []
        for _ in range(splits):
            order = rng.permutation(len(leaves))
            own, rest = order[:part], order[part:]
            chosen = belief.calibrate(_of(paths, own), _labels(truth, own), wanted)
            depth = belief.believed(_of(paths, rest), chosen.values)
            sure = depth[:, None] >= np.arange(len(paths.ranks))
            with np.errstate(invalid="ignore"):
                shares = (sure & right[rest]).sum(0) / sure.sum(0)
            kept += bool(np.all((shares >= wanted) | (sure.sum(0) == 0)))
            named.append(sure.mean(0))
            accuracy.append(shares)
            said.append(
                belief.coverage(_of(paths, rest), depth, taxonomy, finest).mean()
            )
        low, high = scipy.stats.binomtest(kept, splits).proportion_ci()
        rows.append(
            {
                "rule": f"calibrated, {wanted:g}",
                "kept": f"{kept} of {splits} ({low:.3f} to {high:.3f})",
                "named": np.mean(named, 0),
                "accuracy": _mean_of_known(np.array(accuracy)),
                "coverage": float(np.mean(said)),
            }
        )
    fixed, depth = belief.roll_up(answers["shares"], taxonomy, finest)
    rows.append(_row("rollup", fixed, depth, truth, taxonomy, finest))
    for at, rank in enumerate(paths.ranks):
        every = np.full(len(leaves), at)
        rows.append(_row(f"top-1 {rank}", paths, every, truth, taxonomy, finest))
    return rows


def shifted(
    taxonomy: Any,
    finest: str,
    answers: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    wanted: float = 0.9,
) -> dict[str, Any]:
    """Names of pictures of another distribution, by thresholds of all of `answers`."""
    found = [belief.paths(one["shares"], taxonomy, finest) for one in (answers, other)]
    truths = [
        {rank: taxonomy.parents(finest, rank)[one["truth"]] for rank in found[0].ranks}
        for one in (answers, other)
    ]
    chosen = belief.calibrate(found[0], truths[0], wanted)
    depth = belief.believed(found[1], chosen.values)
    name = f"calibrated, {wanted:g}, habitats exchanged"
    return _row(name, found[1], depth, truths[1], taxonomy, finest)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; 0 where all are NaN."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)


def _of(paths: belief.Paths, chosen: np.ndarray) -> belief.Paths:
    return belief.Paths(paths.ranks, paths.taxa[chosen], paths.probabilities[chosen])


def _labels(truth: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict:
    return {rank: labels[chosen] for rank, labels in truth.items()}


def _row(name, paths, depth, truth, taxonomy, finest) -> dict[str, Any]:
    sure = depth[:, None] >= np.arange(len(paths.ranks))
    right = np.stack(
        [paths.taxa[:, i] == truth[r] for i, r in enumerate(paths.ranks)], 1
    )
    return {
        "rule": name,
        "kept": "",
        "named": sure.mean(0),
        "accuracy": (sure & right).sum(0) / np.maximum(sure.sum(0), 1),
        "coverage": float(belief.coverage(paths, depth, taxonomy, finest).mean()),
    }


def table(rows: list[dict[str, Any]], ranks: tuple[str, ...]) -> str:
    """The rows as Markdown: for each rank the share named and its accuracy."""
    header = ["rule", "promise kept", *ranks, "coverage"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [
            f"{share:.1%}: {right:.3f}" if share else "none"
            for share, right in zip(row["named"], row["accuracy"], strict=True)
        ]
        cells = [row["rule"], row["kept"], *cells, f"{row['coverage']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    from hiercam_keras import runtime

    runtime.prepare_process()  # before keras is imported
    from hiercam_keras.runs import run_folder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/belief"))
    parser.add_argument("--images", type=int, default=40, help="new ones of a species")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--part", type=int, default=300, help="calibration pictures")
    flags = parser.parse_args()
    flags.cache.mkdir(parents=True, exist_ok=True)
    this = run_folder.read_finished(flags.run)
    taxonomy, finest = this.taxonomy(), this.ranks[-1]
    own = np.load(ask(flags.run, flags.cache, 1001, flags.images))
    other = np.load(
        ask(flags.run, flags.cache, 1002, flags.images, habitat_correlation=0.0)
    )
    rows = measured(taxonomy, finest, own, flags.splits, flags.part)
    rows.append(shifted(taxonomy, finest, own, other))
    ranks = tuple(r for r in taxonomy.ranks if taxonomy.num_labels(r) > 1)
    print(f"{len(own['truth'])} new pictures, {flags.part} of them for calibration\n")
    print(table(rows, ranks))


if __name__ == "__main__":
    main()
