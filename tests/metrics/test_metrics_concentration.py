"""Size and place of maps: hand-worked maps, bounds, and maps without energy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics import concentration as con
from hiercam_keras.metrics.maps import box_coverage, top_area

ONE = np.zeros((4, 4))
ONE[1, 2] = 7.0  # all energy in row 1, column 2
FLAT = np.full((4, 4), 0.3)
ZERO = np.zeros((4, 4))
RAMP = np.arange(16.0).reshape(4, 4)
STACK = np.stack([ONE, FLAT, ZERO, RAMP])


def test_top_area_splits_ties():
    assert top_area(RAMP, 0.25).sum() == 4
    assert top_area(RAMP, 0.25)[3].tolist() == [1, 1, 1, 1]
    # A quarter is 4 pixels: the one, and 3 shared by 15 zeros.
    top = top_area(ONE, 0.25)
    assert top[1, 2] == 1 and top[0, 0] == pytest.approx(3 / 15)
    np.testing.assert_allclose(top_area(FLAT, 0.25), 0.25)
    # 0.3 * 16 = 4.8: four whole pixels and 0.8 of the fifth.
    top = top_area(RAMP, 0.3)
    assert top[2, 3] == pytest.approx(0.8) and top.sum() == pytest.approx(4.8)
    assert (top_area(RAMP, 1.0) == 1).all()
    for share in (0, 1.1):
        with pytest.raises(ValueError, match="expected 0 < share"):
            top_area(RAMP, share)


def test_area_above():
    # The ramp's min-max values are i/15: above 0.5 are 8 .. 15.
    assert con.area_above(STACK).tolist() == [1 / 16, 0, 0, 8 / 16]
    assert con.area_above(RAMP, 0.9).tolist() == 2 / 16  # 14/15 and 15/15


def test_area_at_energy():
    # The ramp sums to 120; 15 + 14 + 13 + 12 = 54, and 6 of the next 11 make 60.
    expected = [0.5 / 16, 0.5, 0.5, (4 + 6 / 11) / 16]
    np.testing.assert_allclose(con.area_at_energy(STACK), expected, rtol=1e-12)
    np.testing.assert_allclose(con.area_at_energy(STACK, 1.0), [1 / 16, 1, 1, 15 / 16])


def test_entropy_and_gini():
    np.testing.assert_allclose(con.entropy(STACK)[:3], [0, 1, 1], atol=1e-12)
    halves = np.array([[0.5, 0.5, 0.0, 0.0]])
    assert con.entropy(halves) == pytest.approx(0.5)
    assert con.entropy(halves, normalized=False) == pytest.approx(np.log(2))
    assert con.entropy([[3.0]]) == 0
    np.testing.assert_allclose(con.gini(STACK)[:3], [15 / 16, 0, 0], atol=1e-12)
    # 0 1 2 3: (-3*0 - 1*1 + 1*2 + 3*3)/(4*6) = 10/24.
    assert con.gini([[0.0, 3.0, 1.0, 2.0]]) == pytest.approx(10 / 24)


def test_centroid():
    # Row 1 and column 2 of four: x = 2.5/4, y = 1.5/4.
    centers = con.centroid(STACK)
    assert centers.shape == (4, 2)
    np.testing.assert_allclose(centers[0], [0.625, 0.375])
    np.testing.assert_allclose(centers[1:3], 0.5)
    # Energy 1 and 3 at x = .25 and .75 of a map twice as wide as high.
    np.testing.assert_allclose(con.centroid([[1.0, 3.0]]), [0.625, 0.5])


def test_blobs():
    maps = np.zeros((5, 6, 6))
    maps[1, 0, 0] = maps[1, 5, 5] = maps[1, 0, 5] = 1  # three corners
    maps[2, 1, 1] = maps[2, 2, 2] = 1  # touch at a corner: one
    maps[3, 5, 5] = 1
    maps[4, 0, 0] = 1  # neighbors of map 3 along the stack only
    assert con.num_blobs(maps).tolist() == [0, 3, 1, 1, 1]
    assert con.num_blobs(maps.reshape(5, 1, 6, 6)).shape == (5, 1)
    assert con.num_blobs(maps[1]) == 3
    assert con.num_blobs(np.zeros((2, 3, 3))).tolist() == [0, 0]
    weak = np.array([[1.0, 0.0, 0.4, 0.0, 0.6]])
    assert con.num_blobs(weak) == 2
    assert con.num_blobs(weak, 0.3) == 3


def test_energy_inside():
    mask = np.zeros((4, 4), bool)
    mask[1] = True  # a quarter of the area; the ramp's row 1 holds 4+5+6+7 = 22/120
    inside = con.energy_inside(STACK, mask)
    np.testing.assert_allclose(inside, [1, 0.25, 0.25, 22 / 120])
    assert con.area_share(mask) == 0.25
    masks = np.stack([mask, ~mask, mask, mask])
    np.testing.assert_allclose(con.energy_inside(STACK, masks)[1], 0.75)
    with pytest.raises(ValueError, match="divide by 255"):
        con.energy_inside(ONE, mask * 255)
    with pytest.raises(ValueError, match="as the maps'"):
        con.energy_inside(ONE, np.ones((2, 2)))


def test_box_coverage():
    # x 0.5 .. 2, y 1 .. 2.25 on 3 x 4 pixels.
    cover = box_coverage([0.5, 1, 2, 2.25], (3, 4))
    expected = [[0, 0, 0, 0], [0.5, 1, 0, 0], [0.125, 0.25, 0, 0]]
    np.testing.assert_allclose(cover, expected)
    outside = box_coverage([[-5, -5, 99, 99], [3, 3, 2, 2]], (3, 4))
    assert outside[0].min() == 1 and outside[1].max() == 0
    with pytest.raises(ValueError, match="expected"):
        box_coverage([1, 2, 3], (3, 4))


def test_shape_measures_has_one_value_per_map():
    table = con.shape_measures(STACK)
    assert set(table) == {
        "area_above",
        "area_at_energy",
        "entropy",
        "gini",
        "centroid_x",
        "centroid_y",
        "blobs",
    }
    assert all(values.shape == (4,) for values in table.values())
    assert all(np.isfinite(values).all() for values in table.values())


MAPS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(MAPS)
@settings(deadline=None)
def test_bounds_and_scale_invariance(maps):
    table = con.shape_measures(maps)
    pixels = maps.shape[1] * maps.shape[2]
    for name, values in table.items():
        assert np.isfinite(values).all(), name
        assert (values >= 0).all(), name
        if name != "blobs":
            assert (values <= 1 + 1e-9).all(), name
    assert (table["area_at_energy"] <= 0.5 + 1e-9).all()
    assert (table["gini"] <= 1 - 1 / pixels + 1e-9).all()
    for name, values in con.shape_measures(maps.astype(np.float64) * 4).items():
        np.testing.assert_allclose(values, table[name], rtol=1e-9, atol=1e-9)


@given(MAPS)
@settings(deadline=None)
def test_batched_equals_looped(maps):
    together = con.shape_measures(maps)
    for i, one in enumerate(maps):
        for name, value in con.shape_measures(one).items():
            np.testing.assert_allclose(value, together[name][i], rtol=1e-12, atol=1e-12)
