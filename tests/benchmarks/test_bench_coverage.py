"""The simulation of docs/METRICS.md: its truths, its methods, its table."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmarks import coverage
from hiercam_keras.metrics import resampling

DOCS = Path(__file__).parents[2] / "docs" / "METRICS.md"


@pytest.mark.parametrize("name", coverage.SCENARIOS)
def test_the_truth_is_that_of_a_large_sample(name):
    rng = np.random.default_rng(5)
    size = 30_000 if name == "mean, lognormal" else 6_000
    sample = coverage.SCENARIOS[name](rng, (4, size))
    found = coverage.statistic(sample.sums.sum(1), sample.kind)
    half = 6 * found.std(ddof=1) / 2
    assert found.mean() == pytest.approx(sample.truth, abs=half + 0.004)


def test_bca_is_that_of_scipy():
    rng = np.random.default_rng(0)
    sums = coverage.SCENARIOS["lift"](rng, (1, 40)).sums
    ours = coverage.others(coverage.Sample(sums, 1.5, "ratio"), seed=1)["BCa"][:, 0]
    theirs = scipy.stats.bootstrap(
        (np.arange(40),),
        lambda index, axis: coverage.statistic(sums[0][index].sum(-2), "ratio"),
        n_resamples=coverage.DRAWS,
        method="BCa",
        rng=2,
    ).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.06)


def test_sign_flips_are_those_of_the_test():
    """Its ends are where the program's own test begins to reject."""
    rng = np.random.default_rng(0)
    sums = coverage.SCENARIOS["mean, normal"](rng, (1, 10)).sums
    found = coverage.others(coverage.Sample(sums, 0.0, "mean"), seed=0)["sign flips"]
    from hiercam_keras.metrics.statistics import sign_flip_test

    for low, high in found.T:
        inside, outside = 0.999 * low + 0.001 * high, low - 0.001 * (high - low)
        tops, sizes = sums[0].T
        assert sign_flip_test(tops - inside * sizes) > 0.05
        assert sign_flip_test(tops - outside * sizes) <= 0.05


def test_small_samples_of_a_fast_run():
    """What the table says, in small: ours covers, percentiles and Wilson do not."""
    normal = coverage.coverage("mean, normal", 10, 150, 0)
    assert normal["ours"][0] >= 0.92 > normal["percentile"][0]
    right = coverage.coverage("accuracy 0.6", 20, 150, 0)
    assert right["ours"][0] >= 0.9 and right["Wilson"][0] < 0.75
    cells = next(coverage.rows(3, 0, sizes=(10, 20)))
    assert cells[0] == "mean, normal" and len(cells) == len(coverage.METHODS) + 2
    assert re.fullmatch(r"\d+ \d+", cells[1])


def test_the_page_has_the_table_of_the_command():
    text = DOCS.read_text("utf-8")
    assert "python -m benchmarks.coverage --trials=2000 --seed=0" in text
    for name in coverage.SCENARIOS:
        assert f"\n| {name} | " in text
    assert f"fewer than {resampling.MIN_GROUPS} groups" in text
    assert f"{resampling.DRAWS:,} draws" in text
