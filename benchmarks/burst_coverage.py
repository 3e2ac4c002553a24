"""Simulation: which intervals contain the truth if images come in bursts?

    python -m benchmarks.burst_coverage --trials=1000 --seed=0

Draws answers, right or wrong, for images in bursts (or visits) of species. The chance
of a right answer depends on the species and on the burst by normal effects on the
probit scale, so the true accuracy is a formula. Counts how often 95 % intervals contain
it: those that resample images, groups or species, and those of the program, which
resample the labels of `metrics.clusters`. docs/METRICS.md has the table.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy
from scipy.special import ndtr

from hiercam_keras.metrics import clusters, resampling

MEAN = 0.6  # of the chance of a right answer, on the probit scale
METHODS = ("images", "groups", "species", "program")


class Sample(NamedTuple):
    """One data set and its true accuracy.

    Attributes:
      hits: bool (N,).
      taxa, groups: (N,) labels.
      truth: the accuracy in the population.
    """

    hits: np.ndarray
    taxa: np.ndarray
    groups: np.ndarray
    truth: float


def bursts(
    rng: np.random.Generator,
    num_species: int,
    per_species: int,
    by_species: float,
    by_burst: float,
    fixed: bool = False,
) -> Sample:
    """Bursts of 1 to 20 images, each of one species.

    Args:
      rng: of the sample.
      num_species: number of species.
      per_species: bursts of each.
      by_species, by_burst: standard deviations of the effects.
      fixed: whether the truth is that of the same species in other bursts; otherwise
        it is that of other species.
    """
    effect = MEAN + by_species * rng.standard_normal(num_species)
    taxon = np.repeat(np.arange(num_species), per_species)
    sizes = np.clip(rng.lognormal(1.2, 0.8, len(taxon)).round(), 1, 20).astype(int)
    score = effect[taxon] + by_burst * rng.standard_normal(len(taxon))
    hits = rng.random(sizes.sum()) < np.repeat(ndtr(score), sizes)
    truth = ndtr(MEAN / np.sqrt(1 + by_species**2 + by_burst**2))
    if fixed:
        truth = ndtr(effect / np.sqrt(1 + by_burst**2)).mean()
    return Sample(
        hits,
        np.repeat(_named("s", taxon), sizes),
        np.repeat(_named("g", np.arange(len(taxon))), sizes),
        float(truth),
    )


def visits(
    rng: np.random.Generator,
    num_species: int,
    num_visits: int,
    by_species: float,
    by_visit: float,
) -> Sample:
    """Visits that each see a fifth of the species, one to six images of each.

    The truth is that of the same species in other visits.
    """
    effect = MEAN + by_species * rng.standard_normal(num_species)
    shift = by_visit * rng.standard_normal(num_visits)
    seen = max(1, num_species // 5)
    taxon = np.stack([rng.permutation(num_species)[:seen] for _ in range(num_visits)])
    sizes = rng.integers(1, 7, taxon.shape)
    score = np.repeat((effect[taxon] + shift[:, None]).ravel(), sizes.ravel())
    place = np.repeat(np.arange(num_visits), sizes.sum(1))
    return Sample(
        rng.random(len(score)) < ndtr(score),
        np.repeat(_named("s", taxon.ravel()), sizes.ravel()),
        _named("v", place),
        float(ndtr(effect / np.sqrt(1 + by_visit**2)).mean()),
    )


def _named(letter: str, numbers: np.ndarray) -> np.ndarray:
    return np.char.add(letter, numbers.astype(str))


SCENARIOS: dict[str, Callable[[np.random.Generator], Sample]] = {
    "5 species, 20 bursts each, same species": lambda rng: bursts(
        rng, 5, 20, 0.5, 1.0, fixed=True
    ),
    "30 species, 6 bursts each, other species": lambda rng: bursts(
        rng, 30, 6, 0.7, 1.0
    ),
    "30 species, 6 bursts each, species do not differ": lambda rng: bursts(
        rng, 30, 6, 0.0, 1.0
    ),
    "30 species, 6 bursts each, bursts do not differ": lambda rng: bursts(
        rng, 30, 6, 0.7, 0.0
    ),
    "20 species, 25 visits of 4 species, same species": lambda rng: visits(
        rng, 20, 25, 0.5, 1.0
    ),
}


def intervals(sample: Sample, seed: int, draws: int) -> dict[str, tuple[float, float]]:
    """Method -> interval."""
    labels = {
        "images": None,
        "groups": sample.groups,
        "species": sample.taxa,
        "program": clusters.independent(sample.taxa, sample.groups),
    }
    found = {}
    for name, groups in labels.items():
        one = resampling.share(sample.hits, groups, seed=seed, draws=draws)
        found[name] = one.low, one.high
    return found


def coverage(
    name: str, trials: int, seed: int, draws: int = 1000
) -> dict[str, tuple[float, float]]:
    """Method -> (share of intervals with the truth, median length); NaN without any."""
    rng = np.random.default_rng([seed, list(SCENARIOS).index(name)])
    hit = {method: [] for method in METHODS}
    length = {method: [] for method in METHODS}
    for _ in range(trials):
        sample = SCENARIOS[name](rng)
        for method, (low, high) in intervals(sample, seed, draws).items():
            hit[method].append(low <= sample.truth <= high)
            length[method].append(high - low)
    return {
        method: (
            float(np.mean(hit[method])) if np.isfinite(lengths).any() else np.nan,
            float(np.median(lengths)),
        )
        for method, lengths in length.items()
    }


def rows(trials: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Population, coverage in percent and median length by method."""
    for name in SCENARIOS:
        found = coverage(name, trials, seed)
        yield (
            name,
            *(
                "–" if np.isnan(share) else f"{100 * share:.0f} ({length:.3f})"
                for share, length in found.values()
            ),
        )


def main() -> None:
    """Prints the table and what it was made with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="data sets a row")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    header = ("population, and what the truth is of", *METHODS)
    for cells in [header, ["---"] * len(header), *rows(flags.trials, flags.seed)]:
        print("|", " | ".join(cells), "|", flush=True)
    print(
        f"\n{flags.trials} data sets a row, seed {flags.seed}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, SciPy "
        f"{scipy.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
