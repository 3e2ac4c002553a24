"""The window with most energy: hand-worked and against every window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics.patches import best_windows


def test_a_single_hot_cell():
    cams = np.zeros((8, 8))
    cams[1, 6] = 2.0
    box, held = best_windows(cams, 0.25)
    assert held == pytest.approx(1.0)
    x0, y0, x1, y1 = box * 8
    assert (x1 - x0, y1 - y0) == (2, 2)
    assert x0 <= 6 < x1 and y0 <= 1 < y1


def test_two_spots_and_negative_evidence():
    cams = np.full((1, 4, 4), -1.0)
    cams[0, 0, 0], cams[0, 3, 2], cams[0, 3, 3] = 3.0, 2.0, 2.0
    box, held = best_windows(cams, 0.5)
    np.testing.assert_allclose(box[0], [0.5, 0.5, 1.0, 1.0])
    assert held[0] == pytest.approx(4 / 7)


def test_nothing_gives_the_middle():
    box, held = best_windows(np.zeros((2, 8, 8)), 0.5)
    np.testing.assert_allclose(box, [[0.25, 0.25, 0.75, 0.75]] * 2)
    np.testing.assert_allclose(held, 0.25)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float64, (6, 7), elements=st.floats(-1, 5, width=16)),
    st.floats(0.1, 1.0),
)
def test_no_other_window_holds_more(cams, share):
    box, held = best_windows(cams, share)
    positive = np.maximum(cams, 0)
    positive = positive / positive.sum() if positive.sum() else np.full((6, 7), 1 / 42)
    tall, wide = max(1, round(share * 6)), max(1, round(share * 7))
    every = [
        positive[top : top + tall, left : left + wide].sum()
        for top in range(6 - tall + 1)
        for left in range(7 - wide + 1)
    ]
    assert held == pytest.approx(max(every), abs=1e-8)
    assert ((box >= 0) & (box <= 1)).all()


def test_a_share_out_of_range():
    with pytest.raises(ValueError, match="0 < share"):
        best_windows(np.zeros((4, 4)), 0.0)
