"""Rows of maps on a common scale: hand-worked values, remarks, degenerate maps."""

import numpy as np
import pytest

from hiercam_keras.cam import heatmaps
from hiercam_keras.cam.map_scale import check_scale, remark, show_row
from hiercam_keras.errors import UserError

STRONG = [[0.0, 4.0], [-3.0, 2.0]]
WEAK = [[0.0, 0.2], [0.1, -9.0]]  # 5 % of the largest
EVEN = [[3.0, 2.7], [2.7, 2.7]]  # varies by 10 %


def test_a_color_is_a_value_in_the_whole_row():
    row = show_row(np.array([STRONG, WEAK, EVEN]), 2, "row")
    assert row.top == 4.0 and row.heat.dtype == np.float32
    np.testing.assert_allclose(row.heat[0], [[0, 1], [0, 0.5]])
    np.testing.assert_allclose(row.heat[1], [[0, 0.05], [0.025, 0]], atol=1e-7)
    np.testing.assert_allclose(row.heat[2], [[0.75, 0.675], [0.675, 0.675]])
    assert row.remarks == (
        "",
        "weak: its largest value is 5 % of the row's",
        "nearly constant: it varies by 10 %",
    )


def test_on_its_own_scale_a_map_is_the_heatmap_and_the_remarks_stay():
    cams = np.array([STRONG, WEAK, EVEN])
    row = show_row(cams, 6)
    np.testing.assert_array_equal(row.heat, heatmaps.heatmap(cams, 6))
    assert row.heat[1].max() == row.heat[2].max() == 1
    assert row.top is None and row.remarks == show_row(cams, 6, "row").remarks


def test_maps_without_a_common_unit_are_not_compared():
    row = show_row(np.array([STRONG, WEAK, EVEN]), 4, "row", one_unit=False)
    assert row.top is None and row.heat.max((1, 2)).tolist() == [1, 1, 1]
    assert row.remarks == ("", "", "nearly constant: it varies by 10 %")


def test_degenerate_maps_do_not_count():
    cams = np.array([WEAK, np.full((2, 2), 7.0), [[np.inf, 1], [0, 0]], -np.eye(2)])
    row = show_row(cams, 2, "row")
    assert row.top == pytest.approx(0.2)
    assert row.heat[0].max() == 1 and not row.heat[1:].any()
    assert row.remarks == ("", "", "", "")
    nothing = show_row(cams[1:], 2, "row")
    assert nothing.top is None and not nothing.heat.any()


def test_the_order_of_two_values_of_a_row_is_kept():
    rng = np.random.default_rng(0)
    cams = rng.normal(size=(3, 4, 5))
    row = show_row(cams, (4, 5), "row")
    np.testing.assert_allclose(row.heat * row.top, np.maximum(cams, 0), rtol=1e-6)


def test_both_remarks_and_small_shares():
    assert remark(np.array([[1.0, 0.999]]), 0.001) == (
        "weak: its largest value is under 1 % of the row's; "
        "nearly constant: it varies by under 1 %"
    )


def test_an_unknown_scale():
    with pytest.raises(
        UserError, match="config.report.scale is 'page', expected .*row"
    ):
        check_scale("page")


def test_a_sure_step_is_weak_by_its_gradient(explain, small_model, tree, images):
    """Values of a step scale with 1 - P, so a common scale is not the default."""
    from hiercam_keras.cam import targets

    result = explain(images, targets.step("species", 3))  # against 4, its only sibling
    logits = result.logits
    share = 1 / (1 + np.exp(logits[:, 3] - logits[:, 4]))  # 1 - P(3 | genus)
    difference = explain(images, targets.contrast("species", 3, against=4)).cams
    np.testing.assert_allclose(
        result.cams,
        share[:, None, None, None] * difference,
        atol=1e-5 * np.abs(difference).max(),
    )
