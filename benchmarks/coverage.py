"""Simulation: how often do 95 % intervals of grouped images contain the truth?

    python -m benchmarks.coverage --trials=2000 --seed=0

Draws data sets of 5, 10, 20 and 50 groups (species) with unequal numbers of images from
populations with a known true value, and counts the intervals that contain it. `ours` is
`metrics.resampling` as the program calls it. The command above makes the table of
docs/METRICS.md; `--trials=50` shows within seconds that it runs.
"""

import argparse
import itertools
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy
from scipy.special import ndtr, ndtri, stdtrit

from hiercam_keras.metrics import resampling
from hiercam_keras.metrics.classification import score_interval

GROUPS = (5, 10, 20, 50)
DRAWS = 4000  # of the methods that the program does not use
_CHUNK = 25  # data sets at a time
_EXACT_GROUPS = 10


class Sample(NamedTuple):
    """Data sets of one population.

    Attributes:
      sums: (T, G, D), sums over the images of each of G groups in T data sets.
      truth: value of the statistic in the population.
      kind: "mean", "share" (column 0 counts hits, column 1 images), "ratio" (quotient
        of the columns 0 and 1) or "maximum" (of the quotients by column 0).
    """

    sums: np.ndarray
    truth: float
    kind: str


def statistic(sums: np.ndarray, kind: str) -> np.ndarray:
    """Column sums (..., D) -> values (...)."""
    if kind == "maximum":
        return (sums[..., 1:] / sums[..., :1]).max(-1)
    return sums[..., 0] / sums[..., 1]


def _sizes(rng, shape):
    """Images of a group: 1 to 60, median 5, a few with most of them."""
    return np.clip(np.ceil(rng.lognormal(1.5, 1.0, shape)), 1, 60)


def _means(rng, shape, effect, noise, sizes=None):
    sizes = _sizes(rng, shape) if sizes is None else sizes
    tops = sizes * effect + np.sqrt(sizes) * noise * rng.normal(size=shape)
    return np.stack([tops, sizes], -1)


def _normal(rng, shape):
    return Sample(_means(rng, shape, rng.normal(size=shape), 1.5), 0.0, "mean")


def _skewed(rng, shape):
    effect = rng.lognormal(0, 1, shape)
    return Sample(_means(rng, shape, effect, 0.5), float(np.exp(0.5)), "mean")


def _one_large(rng, shape):
    """The first group has as many images as all others together."""
    sizes = np.full(shape, 10.0)
    sizes[:, 0] = 10.0 * (shape[1] - 1)
    return Sample(_means(rng, shape, rng.normal(size=shape), 1.5, sizes), 0.0, "mean")


def _share(alpha, beta):
    def draw(rng, shape):
        sizes = _sizes(rng, shape)
        hits = rng.binomial(sizes.astype(int), rng.beta(alpha, beta, shape))
        return Sample(np.stack([hits, sizes], -1), alpha / (alpha + beta), "share")

    return draw


def _share_of_single_images(rng, shape):
    hits = rng.binomial(1, 0.9, shape)
    return Sample(np.stack([hits, np.ones(shape)], -1), 0.9, "share")


def _share_by_size(rng, shape):
    """Species with more images are harder: size and accuracy depend on each other."""
    effect, sizes = rng.beta(1.8, 1.2, shape), _sizes(rng, shape)
    sizes = np.where(effect < 0.5, 3 * sizes, sizes)
    cells = (np.arange(200_000) + 0.5) / 200_000
    every = scipy.special.betaincinv(1.8, 1.2, cells)
    truth = np.average(every, weights=np.where(every < 0.5, 3, 1))
    hits = rng.binomial(sizes.astype(int), effect)
    return Sample(np.stack([hits, sizes], -1), float(truth), "share")


def _accuracy_gap(rng, shape):
    """Paired: right by one model only counts 1, by the other only -1."""
    sizes = _sizes(rng, shape)
    shift = rng.normal(0, 0.12, shape)
    more, less = np.clip([0.1 + shift / 2, 0.1 - shift / 2], 0, 0.5)
    first = rng.binomial(sizes.astype(int), more)
    second = rng.binomial(sizes.astype(int) - first, less / (1 - more))
    return Sample(np.stack([first - second, sizes], -1), 0.0, "mean")


def _lift(rng, shape):
    """Energy on a part over its area: both skewed, and by species."""
    area = _sizes(rng, shape) * rng.lognormal(-3.5, 0.5, shape)
    effect = rng.lognormal(np.log(1.5) - 0.18, 0.6, shape)
    energy = area * effect * rng.gamma(4, 1 / 4, shape)
    return Sample(
        np.stack([energy, area * rng.gamma(8, 1 / 8, shape)], -1), 1.5, "ratio"
    )


def _maximum(rng, shape):
    """Accuracy at the best of 20 thresholds, chosen on the data set itself.

    As boxes of maps are: an image is right over a range of thresholds.
    """
    thresholds = np.linspace(0, 1, 20)
    sizes = _sizes(rng, shape).astype(int)

    def right(effect):
        center = 0.45 + effect + rng.normal(0, 0.15, effect.shape)
        half = rng.uniform(0, 0.5, effect.shape)
        return np.abs(thresholds - center[:, None]) < half[:, None]

    group = np.repeat(np.arange(sizes.size), sizes.ravel())
    hits = np.zeros((sizes.size, len(thresholds)))
    np.add.at(hits, group, right(rng.normal(0, 0.1, sizes.size)[group]))
    sums = np.concatenate([sizes[..., None], hits.reshape(*shape, -1)], -1)
    truth = right(rng.normal(0, 0.1, 400_000)).mean(0).max()
    return Sample(sums.astype(float), float(truth), "maximum")


SCENARIOS: dict[str, Callable[[Any, tuple[int, int]], Sample]] = {
    "mean, normal": _normal,
    "mean, lognormal": _skewed,
    "mean, one group has half": _one_large,
    "accuracy 0.6": _share(1.8, 1.2),
    "accuracy 0.95": _share(3.8, 0.2),
    "accuracy 0.9, one image each": _share_of_single_images,
    "accuracy, worse in large groups": _share_by_size,
    "difference of accuracies": _accuracy_gap,
    "lift": _lift,
    "accuracy at the best threshold": _maximum,
}


def ours(sample: Sample, seed: int) -> np.ndarray:
    """Intervals (2, T) by `metrics.resampling`, with 5 groups too."""
    return np.array([_ours(sums, sample.kind, seed) for sums in sample.sums]).T


def _ours(sums: np.ndarray, kind: str, seed: int) -> tuple[float, float]:
    groups = np.arange(len(sums))
    if kind == "share":
        hits, sizes = sums.astype(int).T
        images = np.concatenate(
            [np.arange(n) < k for k, n in zip(hits, sizes, strict=True)]
        )
        found = resampling.share(images, np.repeat(groups, sizes), seed=seed)
    else:
        weights = sums[:, 0] if kind == "maximum" else sums[:, 1]
        found = resampling.of_sums(
            sums, groups, lambda s: statistic(s, kind), weights=weights, seed=seed
        )
    return found.low, found.high


def others(sample: Sample, seed: int) -> dict[str, np.ndarray]:
    """Method -> intervals (2, T)."""
    sums, _, kind = sample
    trials, size, _ = sums.shape
    value, error, influence = _jackknife(sums, kind)
    t = stdtrit(size - 1, 0.975)
    found = {"jackknife t": np.stack([value - t * error, value + t * error])}
    if kind != "maximum":
        means = sums[..., 0] / sums[..., 1]
        half = t * means.std(1, ddof=1) / np.sqrt(size)
        found["t of group means"] = means.mean(1) + np.stack([-half, half])
    if kind == "share":
        total = sums[..., 1].sum(1)
        found["Wilson"] = np.stack(score_interval(value, total, -ndtri(0.025)))
    found |= _bootstraps(sums, kind, value, influence, seed)
    if kind == "mean":
        found["sign flips"] = _sign_flips(sums, value, error, seed)
    return found


def _jackknife(sums: np.ndarray, kind: str) -> tuple[np.ndarray, ...]:
    """Values, standard errors, and what each group adds to the value: (T, G)."""
    total = sums.sum(1, keepdims=True)
    value, without = statistic(total[:, 0], kind), statistic(total - sums, kind)
    size = sums.shape[1]
    influence = without.mean(1, keepdims=True) - without
    error = np.sqrt(((without - value[:, None]) ** 2).sum(1) * (size - 1) / size)
    return value, error, influence


def _bootstraps(sums, kind, value, influence, seed) -> dict[str, np.ndarray]:
    """Percentile, BCa (Efron 1987), and studentized where the error is a formula."""
    trials, size, _ = sums.shape
    rng = np.random.default_rng([seed, size])
    names = ("percentile", "BCa", *(() if kind == "maximum" else ("bootstrap t",)))
    found = {name: np.empty((2, trials)) for name in names}
    spread = (influence**2).sum(1) ** 1.5
    skew = (influence**3).sum(1) / (6 * np.where(spread > 0, spread, 1))
    for start in range(0, trials, _CHUNK):
        at = slice(start, start + _CHUNK)
        often = rng.multinomial(size, np.full(size, 1 / size), DRAWS).astype(float)
        drawn = np.einsum("rg,tgd->rtd", often, sums[at], optimize=True)
        values = statistic(drawn, kind)
        found["percentile"][:, at] = np.quantile(values, [0.025, 0.975], axis=0)
        below = (values < value[at]).mean(0) + (values == value[at]).mean(0) / 2
        shift = ndtri(np.clip(below, 1 / DRAWS, 1 - 1 / DRAWS))
        for side, z in enumerate(ndtri([0.025, 0.975])):
            tails = ndtr(shift + (shift + z) / (1 - skew[at] * (shift + z)))
            found["BCa"][side, at] = [
                np.quantile(column, tail)
                for column, tail in zip(values.T, tails, strict=True)
            ]
        if "bootstrap t" in found:
            found["bootstrap t"][:, at] = _studentized(sums[at], often, drawn, values)
    return found


def _studentized(sums, often, drawn, values) -> np.ndarray:
    """Efron's bootstrap t with the linearized standard error of a quotient."""
    a, b = sums[..., 0], sums[..., 1]
    squares = (
        often @ (a * a).T
        - 2 * values * (often @ (a * b).T)
        + values**2 * (often @ (b * b).T)
    )
    value = a.sum(1) / b.sum(1)
    error = np.sqrt(((a - value[:, None] * b) ** 2).sum(1)) / b.sum(1)
    errors = np.sqrt(np.maximum(squares, 0)) / drawn[..., 1]
    away = values - value
    huge = np.sign(away) * 1e9  # resamples without any spread
    score = np.divide(away, errors, out=huge, where=errors > 1e-12)
    low, high = np.quantile(score, [0.025, 0.975], axis=0)
    return np.stack([value - high * error, value - low * error])


def _sign_flips(sums, value, error, seed) -> np.ndarray:
    """Means that a sign-flip test over groups does not reject, by bisection."""
    size = sums.shape[1]
    if size <= _EXACT_GROUPS:
        signs = ((np.arange(2**size)[:, None] >> np.arange(size)) & 1) * 2.0 - 1
    else:
        signs = np.random.default_rng([seed, size]).choice([-1.0, 1.0], (999, size))
    a, b = sums[..., 0], sums[..., 1]
    flipped, scale = signs @ a.T, signs @ b.T
    ends = []
    for way in (-1, 1):
        inside, outside = value.copy(), value + way * np.maximum(20 * error, 1e-9)
        for _ in range(30):
            middle = (inside + outside) / 2
            observed = np.abs(a.sum(1) - middle * b.sum(1)) * (1 - 1e-9)
            kept = (np.abs(flipped - middle * scale) >= observed).mean(0) > 0.05
            inside = np.where(kept, middle, inside)
            outside = np.where(kept, outside, middle)
        ends.append(outside)
    return np.stack(ends)


def coverage(name: str, size: int, trials: int, seed: int) -> dict[str, tuple]:
    """Method -> (share of intervals with the truth, median length)."""
    rng = np.random.default_rng([seed, list(SCENARIOS).index(name), size])
    sample = SCENARIOS[name](rng, (trials, size))
    found = {"ours": ours(sample, seed), **others(sample, seed)}
    return {
        method: (
            float(np.mean((low <= sample.truth) & (sample.truth <= high))),
            float(np.median(high - low)),
        )
        for method, (low, high) in found.items()
    }


METHODS = (
    "ours",
    "percentile",
    "BCa",
    "bootstrap t",
    "jackknife t",
    "t of group means",
    "sign flips",
    "Wilson",
)


def rows(
    trials: int, seed: int, sizes: tuple[int, ...] = GROUPS
) -> Iterator[tuple[str, ...]]:
    """Population, coverage in percent by method with `sizes` in a cell, our lengths.

    Lengths are medians, over those of the percentile method.
    """
    for name in SCENARIOS:
        by_size = [coverage(name, size, trials, seed) for size in sizes]
        cells = [
            " ".join(f"{100 * one[method][0]:.0f}" for one in by_size)
            if method in by_size[0]
            else ""
            for method in METHODS
        ]
        lengths = " ".join(
            f"{one['ours'][1] / max(one['percentile'][1], 1e-12):.2f}"
            if one["percentile"][1] > 0
            else "–"
            for one in by_size
        )
        yield name, *cells, lengths


def main() -> None:
    """Prints the table and what it was made with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000, help="data sets a cell")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    resampling.MIN_GROUPS = 2  # to see what intervals of 5 groups would be
    header = ("population", *METHODS, "length of ours")
    body = rows(flags.trials, flags.seed)
    for cells in itertools.chain([header, ["---"] * len(header)], body):
        print("|", " | ".join(cells), "|", flush=True)
    print(
        f"\n{flags.trials} data sets a cell, seed {flags.seed}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}"
    )


if __name__ == "__main__":
    sys.exit(main())
