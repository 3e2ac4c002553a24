"""Quotients of sums: hand-worked values, and that groups widen the interval."""

import math

import numpy as np
import pytest

from hiercam_keras.metrics.ratios import ratio_interval


def test_the_ratio_is_that_of_the_sums():
    ratio, _, _ = ratio_interval([1.0, 3.0], [2.0, 2.0])
    assert ratio == 1.0  # the mean of the quotients 0.5 and 1.5 would be 1 as well
    ratio, _, _ = ratio_interval([1.0, 3.0], [4.0, 1.0])
    assert ratio == pytest.approx(4 / 5)  # and not (1/4 + 3) / 2
    ratio, _, _ = ratio_interval([1.0, math.nan, 3.0], [4.0, 1.0, 1.0])
    assert ratio == pytest.approx(4 / 5)


def test_equal_quotients_leave_no_interval():
    below = np.linspace(1, 2, 20)
    ratio, low, high = ratio_interval(1.5 * below, below)
    assert (ratio, low, high) == pytest.approx((1.5, 1.5, 1.5))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        below = rng.uniform(0.5, 1.5, 60)
        above = below * rng.normal(2.0, 0.8, 60)
        _, low, high = ratio_interval(above, below, resamples=300, seed=seed)
        hits += low <= 2.0 <= high
    assert 0.88 <= hits / 200 <= 0.985


def test_alike_pictures_of_one_group_count_once():
    rng = np.random.default_rng(0)
    above = rng.uniform(0, 2, 12)
    groups = np.repeat(np.arange(12), 10)
    below = np.ones(120)
    _, low, high = ratio_interval(np.repeat(above, 10), below, groups)
    _, alone_low, alone_high = ratio_interval(np.repeat(above, 10), below)
    assert high - low > 2 * (alone_high - alone_low)


def test_what_cannot_be_said_is_nan():
    assert all(math.isnan(x) for x in ratio_interval([1.0], [0.0]))
    ratio, low, high = ratio_interval([1.0, 2.0], [1.0, 1.0], groups=["a", "a"])
    assert ratio == 1.5 and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="expected .N,. twice"):
        ratio_interval([1.0], [1.0, 2.0])
