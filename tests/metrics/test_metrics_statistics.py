"""Paired statistics: small cases by hand, coverage and error rates by simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.metrics import statistics as stats


def test_paired_difference_by_hand():
    # Differences 1 2 3, each its own group: d_z = 2/1; of 8 sign patterns only the
    # observed one and its mirror reach 6.
    found = stats.paired_difference([2, 4, 6], [1, 2, 3])
    assert (found.count, found.groups) == (3, 3)
    assert (found.mean_a, found.mean_b, found.difference) == (4, 2, 2)
    assert found.p_value == 2 / 8
    assert found.effect_size == 2
    assert found.share_greater == 1
    assert math.isnan(found.low)  # too few groups for an interval


def test_groups_are_the_unit():
    # Two species, 1 and 9 images: with two groups no p is below 2/4.
    a = np.array([1.0] * 10)
    found = stats.paired_difference(a, np.zeros(10), [0] + [1] * 9)
    assert found.groups == 2 and found.p_value == 0.5
    assert found.effect_size == math.inf
    alone = stats.paired_difference(a, np.zeros(10))
    assert alone.p_value == 2 / 2**10


def test_pairs_without_a_value_are_left_out():
    found = stats.paired_difference([1, np.nan, 3, np.inf], [0, 0, 4, 0])
    assert found.count == 2 and found.difference == 0
    assert found.share_greater == 0.5
    assert found.p_value == 1
    empty = stats.paired_difference([], [])
    assert empty.count == 0 and math.isnan(empty.p_value)
    one = stats.paired_difference([1.0], [0.0])
    assert math.isnan(one.low) and one.p_value == 1


def test_no_difference_at_all():
    found = stats.paired_difference([5.0] * 30, [5.0] * 30)
    assert found.p_value == 1 and found.effect_size == 0
    assert (found.low, found.high) == (0, 0)
    assert found.share_greater == 0.5


def test_result_is_a_function_of_the_arguments():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    groups = np.arange(60) // 3
    one = stats.paired_difference(a, b, groups, draws=500)
    assert one == stats.paired_difference(a, b, groups, draws=500)
    other = stats.paired_difference(a, b, groups, draws=500, seed=1)
    assert other.low != one.low and other.difference == one.difference
    back = stats.paired_difference(b, a, groups, draws=500)
    assert back.difference == -one.difference and back.p_value == one.p_value
    # Scale does not matter to p.
    tiny = stats.paired_difference(a * 1e-9, b * 1e-9, groups, draws=500)
    assert tiny.p_value == one.p_value


def test_sign_flips_agree_with_scipy():
    rng = np.random.default_rng(2)
    delta = rng.normal(0.35, 1, size=40)
    found = stats.paired_difference(delta, np.zeros(40), draws=20_000)
    expected = scipy.stats.ttest_1samp(delta, 0).pvalue
    assert found.p_value == pytest.approx(expected, rel=0.25)
    strong = stats.paired_difference(delta + 5, np.zeros(40), draws=999)
    assert strong.p_value == 1 / 1000  # never 0


def test_false_alarms_are_as_rare_as_said():
    rng = np.random.default_rng(3)
    p = [
        stats.paired_difference(x, y, np.arange(45) // 3, draws=199).p_value
        for x, y in rng.normal(size=(300, 2, 45))
    ]
    assert np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04, then never smaller.
    found = stats.holm([0.03, 0.01, 0.04, 0.02])
    np.testing.assert_allclose(found, [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(stats.holm([0.5, 0.9]), [1, 1])
    with_nan = stats.holm([np.nan, 0.02])
    assert math.isnan(with_nan[0]) and with_nan[1] == 0.02
    assert stats.holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(deadline=None)
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(p):
    adjusted = stats.holm(p)
    raw = np.array(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw * len(p), 1) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()


def test_compare_all_corrects_over_the_table():
    rng = np.random.default_rng(4)
    base = rng.normal(size=50)
    pairs = {"same": (base, base), "shifted": (base + 1, base + rng.normal(size=50))}
    table = stats.compare_all(pairs, draws=999)
    assert list(table) == ["same", "shifted"]
    assert table["same"]["p_holm"] == 1
    shifted = table["shifted"]
    assert shifted["p_holm"] == pytest.approx(2 * shifted["p_value"])
    assert shifted["difference"] > 0.5


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="twice"):
        stats.paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="groups have shape"):
        stats.paired_difference([1, 2], [1, 2], [0])
