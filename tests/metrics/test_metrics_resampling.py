"""Estimates: hand-worked values, other implementations, properties, coverage."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from hiercam_keras.metrics import classification, resampling
from hiercam_keras.metrics.resampling import MIN_GROUPS, Estimate


def test_a_lift_is_a_quotient_of_means():
    assert resampling.lift([1.0, 3.0], [4.0, 1.0]).value == pytest.approx(4 / 5)
    found = resampling.lift([1.0, math.nan, 3.0], [4.0, 1.0, 1.0])
    assert found.value == pytest.approx(4 / 5) and found.n == found.groups == 2
    assert math.isnan(resampling.lift([1.0], [0.0]).value)
    area = np.linspace(1, 2, 20)
    found = resampling.lift(1.5 * area, area)
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))


def test_the_interval_is_that_of_scipy_with_expanded_tails():
    """SciPy resamples the indices of groups; its percentiles at our two tails."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 5)
    values = rng.normal(size=150) + rng.normal(size=30)[groups]
    found = resampling.mean(values, groups, draws=40_000)
    means = values.reshape(30, 5).mean(1)
    # Equal groups: 29 degrees of freedom; the spread of the draws lacks 30/29.
    tail = scipy.stats.norm.cdf(-math.sqrt(30 / 29) * scipy.stats.t.ppf(0.975, 29))
    expected = scipy.stats.bootstrap(
        (np.arange(30),),
        lambda index, axis: means[index].mean(axis),
        n_resamples=40_000,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.02)


def test_a_symmetric_mean_has_the_interval_of_t():
    values = scipy.stats.norm.ppf((np.arange(40) + 0.5) / 40)
    found = resampling.mean(values, draws=40_000)
    half = scipy.stats.t.ppf(0.975, 39) * scipy.stats.sem(values)
    assert (found.low, found.high) == pytest.approx((-half, half), rel=0.03)


def test_unequal_groups_count_as_fewer():
    """The same group means; one group with half of the images widens the interval."""
    values = np.arange(12) % 4 / 4
    equal = resampling.mean(values)
    groups = np.repeat(np.arange(12), [11] + [1] * 11)
    found = resampling.mean(values[groups], groups)
    assert found.high - found.low > 1.5 * (equal.high - equal.low)


def test_groups_are_resampled_whole():
    """Copies of the images of a group add no information."""
    rng = np.random.default_rng(5)
    values, groups = rng.random(20), np.arange(20)
    once = resampling.mean(values, groups)
    often = resampling.mean(np.tile(values, 9), np.tile(groups, 9))
    assert often.value == pytest.approx(once.value)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (once.n, often.n, often.groups) == (20, 180, 20)


def test_below_ten_groups_there_is_a_value_and_no_interval():
    groups = np.repeat(np.arange(MIN_GROUPS), 5)
    values = np.arange(5.0 * MIN_GROUPS)
    enough = resampling.mean(values, groups)
    assert not enough.too_few and enough.low < enough.value < enough.high
    few = resampling.mean(values[:-5], groups[:-5])
    assert few.too_few and few.groups == MIN_GROUPS - 1 and few.n == 45
    assert few.value == values[:-5].mean() and few.verdict == 0
    assert np.isnan([few.low, few.high]).all()
    assert math.isnan(resampling.share(np.ones(9)).low)


def test_a_share_of_single_images_is_wilsons_with_t():
    hits = np.arange(40) < 32
    found = resampling.share(hits, draws=40_000)
    # 1/40 of the variance is lost to the mean: 40 trials, as many as there are.
    low, high = classification.score_interval(0.8, 40, scipy.stats.t.ppf(0.975, 39))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    # Booleans are a share. By repr: NaN is not equal to itself.
    assert repr(resampling.mean(hits, draws=40_000)) == repr(found)


def test_a_share_of_groups_that_agree_has_a_trial_a_group():
    """Each species all right or all wrong: 20 trials, however many images."""
    groups = np.repeat(np.arange(20), 50)
    found = resampling.share(groups % 2 == 0, groups, draws=40_000)
    low, high = classification.score_interval(0.5, 20, scipy.stats.t.ppf(0.975, 19))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert found.n == 1000


def test_all_right_is_not_sure():
    groups = np.repeat(np.arange(12), 30)
    found = resampling.share(np.ones(360), groups)
    t = scipy.stats.t.ppf(0.975, 11)
    assert found.high == 1 and found.low == pytest.approx(12 / (12 + t**2))
    with pytest.raises(ValueError, match="other values than 0 and 1"):
        resampling.share([0.5, 1.0])


def test_repeats_are_resampled_too():
    """Seeds that differ widen the interval; seeds that agree do not."""
    rng = np.random.default_rng(0)
    values, groups = np.tile(rng.random(15), 2), np.tile(np.arange(15), 2)
    seeds = np.repeat([0, 1], 15)
    shift = 0.3 * seeds
    alone = resampling.mean(values + shift, groups)
    both = resampling.mean(values + shift, groups, seeds)
    assert both.value == pytest.approx(alone.value)
    # Extremes: one seed drawn twice moves the mean by 0.15.
    assert both.low < alone.low - 0.08 and both.high > alone.high + 0.08
    same = resampling.mean(values, groups, seeds)
    once = resampling.mean(values[:15], groups[:15])
    assert (same.low, same.high) == pytest.approx((once.low, once.high))


def test_estimates_of_one_seed_share_their_draws():
    """So the interval of a sum of two measures is the one of their draws' sums."""
    rng = np.random.default_rng(2)
    values, groups = rng.random((2, 60)), np.arange(60) // 3
    first, again = (resampling.mean(values[0], groups, seed=s) for s in (4, 4))
    other = resampling.mean(values[0], groups, seed=5)
    assert repr(first) == repr(again) and first.low != other.low
    shifted = resampling.mean(values[0] + 1, groups, seed=4)
    assert shifted.low == pytest.approx(first.low + 1)
    # A wide table is cut into pieces, and draws the same.
    columns = np.concatenate([values[:1], np.ones((1, 60)), rng.random((90, 60))]).T
    wide = resampling.of_sums(columns, groups, lambda s: s[:, 0] / s[:, 1], seed=4)
    assert (wide.low, wide.high) == pytest.approx((first.low, first.high))


def test_a_difference_pairs_images():
    rng = np.random.default_rng(8)
    a, groups = rng.random(50), np.arange(50) // 2
    found = resampling.difference(a + 0.1, a, groups)
    assert (found.value, found.low, found.high) == pytest.approx((0.1,) * 3)
    assert found.verdict == 1 and (found.n, found.groups) == (50, 25)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0)]
)
def test_verdicts(low, high, verdict):
    assert Estimate(0.0, low, high).verdict == verdict


def test_what_is_not_known_is_nan():
    one = resampling.mean([1.0, np.nan], ["a", "b"])
    assert one.value == 1.0 and np.isnan([one.low, one.high]).all() and not one.verdict
    for none in (resampling.mean([], []), resampling.share([np.nan], ["a"])):
        assert np.isnan(none.value) and none.n == 0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \(N, D\)"):
        resampling.of_sums([1.0, 2.0], ["a", "b"], lambda s: s[:, 0])
    with pytest.raises(ValueError, match="finite"):
        resampling.of_sums([[np.nan]], ["a"], lambda s: s[:, 0])
    with pytest.raises(ValueError, match=r"expected \(N,\)"):
        resampling.lift([1.0], [1.0, 2.0])


def test_an_estimate_is_printed_with_what_it_rests_on():
    nan = float("nan")
    known = resampling.Estimate(1.234, 1.1, 1.35, 60, 12, 0.0213)
    assert str(known) == "1.23 (1.1 to 1.35), n = 60 in 12 groups, p = 0.021"
    few = resampling.Estimate(-0.0, nan, nan, 1, 1)
    assert str(few) == "0, n = 1 in 1 group"
