"""Rank correlation over the parts of a picture."""

import numpy as np
import pytest
import scipy.stats

from hiercam_keras.metrics.part_ranks import rank_correlation


def test_values_worked_out_by_hand():
    """Of 1 2 3 4 and 1 3 2 4 it is 1 - 6 * 2 / (4 * 15) = 0.8."""
    a = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1], [1, 1, 1, 1]])
    b = np.array([[1, 3, 2, 4], [10, 20, 30, 40], [1, 2, 3, 4], [1, 2, 3, 4]])
    found = rank_correlation(a, b)
    np.testing.assert_allclose(found[:3], [0.8, 1, -1])
    assert np.isnan(found[3])  # there is no ranking of equal parts


def test_ties_and_parts_that_are_not_known():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 50, 6)).astype(float)
    a[rng.random(a.shape) < 0.2] = np.nan
    found = rank_correlation(a, b)
    for row, value in enumerate(found):
        known = np.isfinite(a[row])
        some = len(set(a[row][known])) > 1 and len(set(b[row][known])) > 1
        if known.sum() < 3 or not some:
            assert np.isnan(value)
            continue
        expected = scipy.stats.spearmanr(a[row][known], b[row][known]).statistic
        assert value == pytest.approx(expected)
    with pytest.raises(ValueError, match="expected"):
        rank_correlation(a, b[:, :3])
