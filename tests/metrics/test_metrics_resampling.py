"""Intervals of ratios: against hand-worked cases and a slow loop of their own."""

import numpy as np
import pytest

from hiercam_keras.metrics import resampling, statistics


def test_a_lift_is_a_quotient_of_means():
    found = resampling.lift([0.5, 0.1], [0.1, 0.2], ["a", "b"])
    assert found.value == pytest.approx(0.6 / 0.3)
    # Two groups give three resamples: twice the one, both, twice the other.
    assert (found.low, found.high) == pytest.approx((0.5, 5.0))


def test_a_mean_has_the_interval_of_the_paired_statistics():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 5)
    values = rng.normal(size=150) + rng.normal(size=30)[groups]
    found = resampling.mean(values, groups, resamples=20_000)
    value, low, high = statistics.mean_interval(values, groups, resamples=20_000)
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)


def test_groups_are_resampled_whole():
    """Copies of the images of a group tell nothing new."""
    rng = np.random.default_rng(5)
    values, groups = rng.random(20), np.arange(20)
    once = resampling.mean(values, groups)
    often = resampling.mean(np.tile(values, 9), np.tile(groups, 9))
    assert often.value == pytest.approx(once.value)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        area = rng.uniform(0.05, 0.3, 60)
        energy = 2.0 * area * rng.lognormal(-0.02, 0.2, 60)
        found = resampling.lift(energy, area, np.arange(60), resamples=400, seed=trial)
        covered += found.low <= 2.0 <= found.high
    assert 175 <= covered <= 199


def test_repeats_are_resampled_too():
    """Seeds that differ widen the interval; seeds that agree do not."""
    values, groups = np.tile([0.4, 0.5, 0.6], 2), np.tile([0, 1, 2], 2)
    seeds = np.repeat([0, 1], 3)
    shift = 0.3 * seeds
    alone = resampling.mean(values + shift, groups)
    both = resampling.mean(values + shift, groups, seeds)
    assert both.value == pytest.approx(alone.value) == pytest.approx(0.65)
    # Extremes: one species and one seed drawn all the time.
    assert (both.low, both.high) == pytest.approx((0.4, 0.9), abs=0.04)
    same = resampling.mean(values, groups, seeds)
    once = resampling.mean(values[:3], groups[:3])
    assert (same.low, same.high) == pytest.approx((once.low, once.high), abs=0.01)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0)]
)
def test_verdicts(low, high, verdict):
    assert resampling.Estimate(0.0, low, high).verdict == verdict


def test_what_is_not_known_is_nan():
    one = resampling.mean([1.0, np.nan], ["a", "b"])
    assert one.value == 1.0 and np.isnan([one.low, one.high]).all() and not one.verdict
    none = resampling.mean([], [])
    assert np.isnan(none.value)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        resampling.of_sums([1.0, 2.0], ["a", "b"], lambda s: s[:, 0])
    with pytest.raises(ValueError, match="finite"):
        resampling.lift([np.nan], [1.0], ["a"])
