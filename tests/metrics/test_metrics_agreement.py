"""Agreement of two maps: hand-worked pairs and slow float64 references."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics import agreement as agree

RNG = np.random.default_rng(7)
A, B = RNG.random((2, 3, 20, 24))
FLAT = np.full((20, 24), 0.2)
ZERO = np.zeros((20, 24))


def slow_ssim(a, b):
    """Wang et al. 2004, window by window, in Python floats."""
    offsets = range(-5, 6)
    weight = {
        (i, j): math.exp(-(i * i + j * j) / (2 * 1.5**2))
        for i in offsets
        for j in offsets
    }
    total = math.fsum(weight.values())
    a, b = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
    values = []
    for y in range(5, a.shape[0] - 5):
        for x in range(5, a.shape[1] - 5):
            cells = [
                (w / total, float(a[y + i, x + j]), float(b[y + i, x + j]))
                for (i, j), w in weight.items()
            ]
            ma = math.fsum(w * p for w, p, _ in cells)
            mb = math.fsum(w * q for w, _, q in cells)
            va = math.fsum(w * (p - ma) ** 2 for w, p, _ in cells)
            vb = math.fsum(w * (q - mb) ** 2 for w, _, q in cells)
            cov = math.fsum(w * (p - ma) * (q - mb) for w, p, q in cells)
            top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
            values.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return math.fsum(values) / len(values)


def test_ssim_equals_the_slow_loop():
    mixed = 0.5 * A + 0.5 * B
    for one, other in ((A, B), (A, mixed)):
        found = agree.ssim(one, other)
        expected = [slow_ssim(x, y) for x, y in zip(one, other, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_ssim_of_equal_constant_and_small_maps():
    np.testing.assert_allclose(agree.ssim(A, A), 1, rtol=1e-12)
    np.testing.assert_allclose(agree.ssim(A, 5 * A), 1, rtol=1e-9)  # min-max first
    assert agree.ssim(FLAT, ZERO) == pytest.approx(1)  # both show nothing
    assert 0 <= agree.ssim(A[0], FLAT) < 0.1
    small = RNG.random((7, 7))
    assert agree.ssim(small, small) == pytest.approx(1)
    assert agree.ssim(small, small[::-1]) < 0.9


def test_pearson_by_hand_and_by_numpy():
    # (0 1 2), (0 2 1): deviations -1 0 1 and -1 1 0: 1/(sqrt 2 sqrt 2).
    assert agree.pearson([[0, 1, 2]], [[0, 2, 1]]) == pytest.approx(0.5)
    expected = [
        np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(A, B, strict=True)
    ]
    np.testing.assert_allclose(agree.pearson(A, B), expected, rtol=1e-10)
    assert agree.pearson(A, 3 * A + 1).min() == pytest.approx(1)
    assert agree.pearson(A[0], A[0].max() - A[0]) == pytest.approx(-1)
    assert agree.pearson(A, FLAT).tolist() == [0, 0, 0]
    assert agree.pearson(FLAT, FLAT) == 0
    tiny = A[0] * 1e-250
    assert agree.pearson(tiny, A[0]) == pytest.approx(1)


def test_spearman_by_hand():
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0)/(4 * 15) = 0.8.
    assert agree.spearman([[0, 1, 5, 9]], [[1, 7, 2, 8]]) == pytest.approx(0.8)
    # Ties share ranks: 1.5 1.5 3 against 1 2 3, so 1.5/sqrt(1.5 * 2).
    assert agree.spearman([[0, 0, 4]], [[1, 2, 3]]) == pytest.approx(1.5 / 3**0.5)
    np.testing.assert_allclose(agree.spearman(A, A**3), 1)
    assert agree.spearman(A, ZERO).tolist() == [0, 0, 0]


def test_negative_values_are_clipped_first():
    signed = np.array([[-3.0, -1.0, 0.0, 2.0]])
    assert agree.spearman(signed, [[0, 0, 0, 1]]) == pytest.approx(1)


def test_iou_at_equal_area():
    left, right, middle = np.zeros((3, 4, 4))
    left[:, :2] = right[:, 2:] = middle[:, 1:3] = 1
    assert agree.iou_at_equal_area(left, left, 0.5) == 1
    assert agree.iou_at_equal_area(left, right, 0.5) == 0
    assert agree.iou_at_equal_area(left, middle, 0.5) == pytest.approx(4 / 12)
    # A constant map agrees by chance with all: 0.5/1.5 and 0.2/1.8.
    assert agree.iou_at_equal_area(left, np.zeros((4, 4)), 0.5) == pytest.approx(1 / 3)
    assert agree.iou_at_equal_area(FLAT, ZERO, 0.2) == pytest.approx(0.2 / 1.8)
    # Single pixels far apart, regions of 4: 3 more of 15 zeros each. Expected
    # overlap: 2 pixels at 1 * 0.2 and 14 at 0.2 * 0.2.
    one, other = np.zeros((2, 4, 4))
    one[0, 0] = other[3, 3] = 1
    assert agree.iou_at_equal_area(one, other, 1 / 16) == 0
    both = 2 * 0.2 + 14 * 0.04
    expected = both / (8 - both)
    assert agree.iou_at_equal_area(one, other, 0.25) == pytest.approx(expected)


def test_containment_is_not_symmetric():
    coarse, fine = np.zeros((2, 4, 4))
    coarse[:, :2] = 1
    fine[0, 0] = 1
    fine[0, 3] = 3
    assert agree.containment(fine, coarse, 0.5) == pytest.approx(0.25)
    # The fine map's top half: two pixels whole, 6 of 14 zeros: 1/8 each of energy.
    expected = (1 + 7 * 6 / 14) / 8
    assert agree.containment(coarse, fine, 0.5) == pytest.approx(expected)
    assert agree.containment(np.zeros((4, 4)), coarse, 0.5) == pytest.approx(0.5)
    assert agree.containment(fine, np.zeros((4, 4)), 0.25) == pytest.approx(0.25)


def test_centroid_shift():
    one, other = np.zeros((2, 4, 8))
    one[0, 0] = other[3, 4] = 1  # 4 of 8 columns and 3 of 4 rows apart
    shift = math.hypot(0.5, 0.75)
    assert agree.centroid_shift(one, other) == pytest.approx(shift)
    assert agree.centroid_shift(A, A).max() == 0


def slow_transport(a, b):
    """Optimal transport with city-block distances: every cell to every cell."""
    a, b = a / a.sum(), b / b.sum()
    cells = list(itertools.product(range(a.shape[0]), range(a.shape[1])))
    size = len(cells)
    cost = [
        abs(p[0] - q[0]) / a.shape[0] + abs(p[1] - q[1]) / a.shape[1]
        for p in cells
        for q in cells
    ]
    rows = np.kron(np.eye(size), np.ones(size))
    columns = np.kron(np.ones(size), np.eye(size))
    answer = scipy.optimize.linprog(
        cost,
        A_eq=np.vstack([rows, columns])[:-1],
        b_eq=np.concatenate([a.ravel(), b.ravel()])[:-1],
    )
    return answer.fun


def test_earth_mover_by_hand():
    one, other = np.zeros((2, 4, 8))
    one[0, 0] = other[3, 4] = 5
    assert agree.earth_movers_distance(one, other) == pytest.approx(3 / 4 + 4 / 8)
    # Half of it stays: half of the work.
    other[0, 0] = 5
    assert agree.earth_movers_distance(one, other) == pytest.approx(1.25 / 2)
    assert agree.earth_movers_distance(one, one) == 0
    assert agree.earth_movers_distance(FLAT, ZERO) == 0
    # A corner against uniform on 2 x 2: 1/4 each over 0, 1/2, 1/2, 1.
    corner = np.array([[1.0, 0], [0, 0]])
    found = agree.earth_movers_distance(corner, np.zeros((2, 2)))
    assert found == pytest.approx(0.5)


def test_earth_mover_equals_full_transport():
    a, b = RNG.random((2, 4, 5)) ** 4
    assert agree.earth_movers_distance(a, b) == pytest.approx(slow_transport(a, b))


def test_earth_mover_is_a_metric_and_batched():
    maps = RNG.random((3, 6, 6)) ** 3
    table = agree.earth_movers_distance(maps[:, None], maps)
    assert table.shape == (3, 3)
    np.testing.assert_allclose(table, table.T, atol=1e-9)
    assert (np.diag(table) == 0).all()
    assert table[0, 2] <= table[0, 1] + table[1, 2] + 1e-9


def test_earth_mover_on_large_maps_keeps_mass_where_it_is():
    # 20 pixels over 8 cells: 2.5 pixels each, so pixel 2 is in two cells.
    pooled = agree._coarsen(np.ones((20, 24)) / 480, 8)
    np.testing.assert_allclose(pooled, 1 / 64)
    one, other = np.zeros((2, 16, 16))
    one[0, 0] = other[0, 15] = 1
    assert agree.earth_movers_distance(one, other) == pytest.approx(7 / 8)
    assert agree.earth_movers_distance(one, other, cells=16) == pytest.approx(15 / 16)


def test_different_sizes_are_refused():
    for measure in (agree.pearson, agree.ssim, agree.earth_movers_distance):
        with pytest.raises(ValueError, match="resize both to the model input"):
            measure(np.ones((4, 4)), np.ones((5, 4)))


PAIRS = hnp.arrays(
    np.float32,
    st.tuples(st.just(2), st.integers(1, 3), st.integers(2, 12), st.integers(2, 12)),
    elements=st.floats(-10, 10, width=32),
)


@given(PAIRS)
@settings(deadline=None, max_examples=60)
def test_bounds_symmetry_and_batching(pair):
    a, b = pair
    there, back = agree.agreement_measures(a, b), agree.agreement_measures(b, a)
    bounds = {"iou": (0, 1), "containment": (0, 1), "centroid_shift": (0, 2**0.5)}
    for name, values in there.items():
        low, high = bounds.get(name, (-1, 1))
        assert values.shape == (len(a),)
        assert (values >= low - 1e-9).all() and (values <= high + 1e-9).all(), name
        if name != "containment":
            np.testing.assert_allclose(values, back[name], atol=1e-9)
        single = agree.agreement_measures(a[0], b[0])[name]
        np.testing.assert_allclose(single, values[0], rtol=1e-9, atol=1e-12)
