"""Accuracy, top-k, confusion and intervals against figures worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics import classification as cls


def test_top_k_and_ties():
    logits = np.array([[3, 2, 1, 0], [0, 1, 2, 3], [1, 1, 1, 1]])
    assert cls.true_label_place(logits, [1, 0, 2]).tolist() == [1, 3, 2]
    assert cls.top_k_accuracy(logits, [1, 0, 2], k=1) == 0
    assert cls.top_k_accuracy(logits, [1, 0, 2], k=2) == pytest.approx(1 / 3)
    assert cls.top_k_accuracy(logits, [1, 0, 2], k=3) == pytest.approx(2 / 3)
    assert cls.top_k_accuracy(logits, [1, 0, 2], k=9) == 1
    assert math.isnan(cls.top_k_accuracy(np.zeros((0, 4)), np.zeros(0, int)))
    # Constant logits do not make every label a hit.
    assert cls.top_k_accuracy(np.zeros((4, 4)), [0, 1, 2, 3], k=1) == 0.25


def test_a_logit_that_is_no_number_is_not_among_the_best():
    nan = np.full((4, 10), np.nan)
    assert cls.top_k_accuracy(nan, [1, 2, 3, 4], k=5) == 0
    others = np.where(np.arange(10) == 3, 1.0, nan)
    assert cls.top_k_accuracy(others, [3, 3, 3, 3], k=1) == 1


@given(
    hnp.arrays(np.int8, st.tuples(st.integers(1, 6), st.just(5))),
    st.data(),
)
@settings(deadline=None)
def test_place_is_that_of_a_stable_sort(logits, data):
    labels = data.draw(hnp.arrays(int, len(logits), elements=st.integers(0, 4)))
    order = np.argsort(-logits.astype(int), axis=1, kind="stable")
    expected = [
        list(row).index(label) for row, label in zip(order, labels, strict=True)
    ]
    assert cls.true_label_place(logits, labels).tolist() == expected
    hits = logits.argmax(axis=1) == labels
    assert cls.top_k_accuracy(logits, labels, 1) == pytest.approx(hits.mean())


def test_confusion_and_per_taxon_by_hand():
    labels = [0, 0, 0, 1, 1, 2]
    predicted = [0, 0, 1, 1, 0, 0]
    matrix = cls.confusion(labels, predicted, 4)
    cells = [*zip(matrix.true, matrix.predicted, matrix.count, strict=True)]
    assert cells == [(0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 1), (2, 0, 1)]
    assert matrix.dense()[0].tolist() == [2, 1, 0, 0]
    table = cls.per_taxon(matrix)
    assert table["support"].tolist() == [3, 2, 1, 0]
    assert table["predicted"].tolist() == [4, 2, 0, 0]
    assert table["correct"].tolist() == [2, 1, 0, 0]
    nan = np.nan
    np.testing.assert_allclose(table["precision"], [2 / 4, 1 / 2, nan, nan])
    np.testing.assert_allclose(table["recall"], [2 / 3, 1 / 2, 0, nan])
    np.testing.assert_allclose(table["f1"], [4 / 7, 2 / 4, 0, nan])
    assert cls.balanced_accuracy(matrix) == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_confusion_adds_up_over_batches():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 7, (2, 50))
    whole = cls.confusion(labels, predicted, 7)
    parts = cls.confusion(labels[:20], predicted[:20], 7) + cls.confusion(
        labels[20:], predicted[20:], 7
    )
    assert (parts.dense() == whole.dense()).all()
    assert parts.dense().sum() == 50
    assert cls.accuracy(labels, predicted) == np.trace(whole.dense()) / 50
    empty = cls.confusion([], [], 7)
    assert ((empty + whole).dense() == whole.dense()).all()
    assert math.isnan(cls.balanced_accuracy(empty))
    with pytest.raises(ValueError, match="7 and 3 labels"):
        whole + cls.confusion([0], [1], 3)


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="expected 0 .. 2"):
        cls.confusion([3], [0], 3)
    with pytest.raises(ValueError, match="expected 0 .. 2"):
        cls.confusion([-1], [0], 3)
    with pytest.raises(ValueError, match="expected integers"):
        cls.confusion([0.0], [0], 3)
    with pytest.raises(ValueError, match="differ in shape"):
        cls.confusion([0], [0, 1], 3)
    with pytest.raises(ValueError, match="differ in shape"):
        cls.accuracy([[0]], [0])


def test_majority_chance():
    # Commonest in training: 2 (three times). Two of five test images are 2.
    assert cls.majority_chance([2, 2, 0, 2, 1], [2, 0, 1, 2, 0], 3) == 0.4
    # Either is the commonest: right for two of three, or for one.
    assert cls.majority_chance([1, 0], [0, 0, 1], 2) == pytest.approx(1 / 2)
    assert cls.majority_chance([1, 0, 1, 0, 2], [1, 1, 2], 3) == pytest.approx(1 / 3)
    assert math.isnan(cls.majority_chance([], [0], 2))


def test_wilson_by_hand():
    # 8 of 10, z = 1.95996: center (8 + 1.92073)/13.84146 = 0.716740, spread
    # 1.95996 sqrt(1.6 + 0.960365)/13.84146 = 0.226577.
    low, high = cls.wilson_interval(8, 10)
    assert low == pytest.approx(0.490162, abs=1e-6)
    assert high == pytest.approx(0.943317, abs=1e-6)
    low, high = cls.wilson_interval([0, 10, 0], [10, 10, 0])
    assert low[0] == 0 and high[1] == 1
    # None of ten: z^2/(n + z^2) = 3.84146/13.84146.
    assert high[0] == pytest.approx(0.277533, abs=1e-6)
    assert (low[2], high[2]) == (0, 1)
    with pytest.raises(ValueError, match="between 0 and the total"):
        cls.wilson_interval(11, 10)


@given(st.integers(1, 1000), st.data())
@settings(deadline=None)
def test_wilson_holds_the_share_and_solves_its_equation(total, data):
    successes = data.draw(st.integers(0, total))
    low, high = cls.wilson_interval(successes, total)
    share = successes / total
    assert low <= share <= high
    for end in (float(low), float(high)):  # (share - p)^2 = z^2 p (1 - p)/n
        assert (share - end) ** 2 == pytest.approx(
            3.841458820694124 * end * (1 - end) / total, abs=1e-9
        )
