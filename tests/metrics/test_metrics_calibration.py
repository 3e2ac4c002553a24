"""Calibration: bins and errors by hand, temperatures that are known."""

import math

import numpy as np
import pytest

from hiercam_keras.metrics import calibration as cal
from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.taxonomy.scores import softmax


def test_bins_by_hand():
    # Two bins: (0 .. 0.5] holds 0.2 and 0.5, (0.5 .. 1] holds 0.6, 0.8 and 1.0.
    confidence = [0.2, 0.5, 0.6, 0.8, 1.0]
    correct = [False, True, True, False, True]
    table = cal.reliability(confidence, correct, bins=2)
    assert table["count"].tolist() == [2, 3]
    np.testing.assert_allclose(table["confidence"], [0.35, 0.8])
    np.testing.assert_allclose(table["accuracy"], [0.5, 2 / 3])
    assert table["low"].tolist() == [0, 0.5] and table["high"].tolist() == [0.5, 1]
    # 2/5 * 0.15 + 3/5 * 0.1333.
    found = cal.expected_calibration_error(confidence, correct, bins=2)
    assert found == pytest.approx(0.4 * 0.15 + 0.6 * (0.8 - 2 / 3))


def test_empty_bins_and_edges():
    table = cal.reliability([0.0, 1.0, np.float32(1) + 1e-6], [0, 1, 1], bins=4)
    assert table["count"].tolist() == [1, 0, 0, 2]
    assert np.isnan(table["accuracy"][1])
    assert cal.expected_calibration_error([0.0, 1.0], [0, 1]) == 0
    assert math.isnan(cal.expected_calibration_error([], []))
    with pytest.raises(ValueError, match="not logits"):
        cal.reliability([3.2], [1])
    with pytest.raises(ValueError, match="twice"):
        cal.reliability([0.5], [1, 0])
    with pytest.raises(ValueError, match="at least 1"):
        cal.reliability([0.5], [1], bins=0)


def test_equal_counts():
    rng = np.random.default_rng(0)
    confidence = rng.random(100) ** 0.1
    table = cal.reliability(confidence, rng.random(100) < 0.5, 10, equal_counts=True)
    assert table["count"].tolist() == [10] * 10
    # All alike: one bin holds all, and nothing is lost.
    same = cal.reliability(np.full(8, 0.7), np.ones(8), 4, equal_counts=True)
    assert same["count"].sum() == 8


def test_overconfidence_is_found():
    # Always sure, half right: the error is one half.
    assert cal.expected_calibration_error(np.ones(4), [1, 0, 1, 0]) == 0.5


def test_losses_by_hand():
    logits = np.log([[0.8, 0.2], [0.5, 0.5]])
    expected = -(math.log(0.8) + math.log(0.5)) / 2
    assert cal.negative_log_likelihood(logits, [0, 1]) == pytest.approx(expected)
    # (0.2^2 + 0.2^2 + 0.5^2 + 0.5^2)/2.
    assert cal.brier_score(logits, [0, 1]) == pytest.approx(0.29)
    confidence, correct = cal.confidence_and_correct(logits, [1, 0])
    np.testing.assert_allclose(confidence, [0.8, 0.5])
    assert correct.tolist() == [False, True]
    assert math.isnan(cal.negative_log_likelihood(np.zeros((0, 2)), np.zeros(0, int)))
    assert math.isnan(cal.brier_score(np.zeros((0, 2)), np.zeros(0, int)))


def test_temperature_in_closed_form():
    # Logits (a, 0), three of four right: p = 3/4, so a/T = log 3.
    logits = np.array([[2.0, 0.0]] * 4)
    found = cal.fit_temperature(logits, [0, 0, 0, 1])
    assert found == pytest.approx(2 / math.log(3), rel=1e-5)


def test_temperature_is_recovered_and_helps():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4000, 5)) * 2
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits)])
    assert cal.fit_temperature(logits, labels) == pytest.approx(1, abs=0.06)
    sharp = logits * 3
    temperature = cal.fit_temperature(sharp, labels)
    assert temperature == pytest.approx(3, abs=0.18)
    before = cal.expected_calibration_error(*cal.confidence_and_correct(sharp, labels))
    after = cal.expected_calibration_error(
        *cal.confidence_and_correct(sharp / temperature, labels)
    )
    assert after < 0.03 < before
    # No neighbor is better.
    best = cal.negative_log_likelihood(sharp / temperature, labels)
    for factor in (0.99, 1.01):
        near = cal.negative_log_likelihood(sharp / (temperature * factor), labels)
        assert near > best


def test_temperature_without_a_minimum_comes_from_the_ends():
    low, high = cal.TEMPERATURE_RANGE
    assert cal.fit_temperature([[1e-2, 0.0]], [0]) == pytest.approx(low)
    assert cal.fit_temperature([[3.0, 0.0]], [1]) == pytest.approx(high)
    with pytest.raises(ValueError, match="no images"):
        cal.fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_a_temperature_at_a_limit_of_the_search_is_recognized():
    """All right: no minimum. As good as random logits: the flattest softmax."""
    sure, labels = np.array([[9.0, 0.0], [0.0, 9.0]] * 5), np.array([0, 1] * 5)
    low = cal.fit_temperature(sure, labels)
    high = cal.fit_temperature(sure, np.array([1, 0] * 5))
    assert (low, high) == pytest.approx(cal.TEMPERATURE_RANGE)
    assert cal.at_limit(low) and cal.at_limit(high)
    assert cal.temperature_text(high) == "20.00 (limit of the search)"
    mixed = np.array([0, 1] * 4 + [1, 0])  # 8 of 10 right
    inner = cal.fit_temperature(sure, mixed)
    # p = 0.8 minimizes the loss: 9 / T = log 4.
    assert inner == pytest.approx(9 / np.log(4), rel=1e-5)
    assert cal.temperature_text(inner) == f"{inner:.2f}"
    assert not cal.at_limit(inner)


def test_points_of_a_curve_have_enough_images():
    """Bins of 4, 0, 7, 2, 10 and 3 images: the first three are joined, the next two,
    and the remainder joins the last point."""
    count = np.array([4, 0, 7, 2, 10, 3])
    table = {
        "count": count,
        "confidence": np.array([0.1, np.nan, 0.4, 0.6, 0.8, 0.95]),
        "accuracy": np.array([0.25, np.nan, 3 / 7, 1.0, 0.6, 1.0]),
    }
    found = cal.points(table, 10)
    np.testing.assert_array_equal(found["count"], [11, 15])
    np.testing.assert_allclose(found["accuracy"], [4 / 11, 11 / 15])
    np.testing.assert_allclose(
        found["confidence"], [(0.4 + 2.8) / 11, (1.2 + 8 + 2.85) / 15]
    )
    low, high = wilson_interval([4, 11], [11, 15])
    np.testing.assert_allclose(found["low"], low)
    np.testing.assert_allclose(found["high"], high)
    assert len(cal.points(table, 26)["count"]) == 1
    assert all(len(one) == 0 for one in cal.points(table, 27).values())
    table["count"] = count * 0
    assert len(cal.points(table, 1)["count"]) == 0
