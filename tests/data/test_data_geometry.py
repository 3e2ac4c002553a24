import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiercam_keras.data import geometry
from hiercam_keras.data.geometry import Geometry
from hiercam_keras.errors import UserError

sides = st.integers(4, 5000)


def test_classification_is_the_recipes_256_for_224():
    # 500 x 400: short side 400 -> 256, so 320 x 256; crops (320-224)/2 and (256-224)/2.
    g = geometry.of(500, 400, 224, "classification")
    assert geometry.resized_shape(500, 400, 224, "classification") == (320, 256)
    assert (g.offset_x, g.offset_y) == (-48, -16)
    assert g.scale_x == pytest.approx(0.64) and g.scale_y == pytest.approx(0.64)
    # The original's center is the input's center.
    np.testing.assert_allclose(g.to_input([250, 200]), [112, 112])
    # A box is scaled by 0.64 and moved by the crop: 100*.64-48=16, 50*.64-16=16, ...
    np.testing.assert_allclose(g.to_input([100, 50, 300, 350]), [16, 16, 144, 208])


def test_localization_sees_the_whole_image():
    g = geometry.of(500, 400, 224, "localization")
    np.testing.assert_allclose(g.to_input([0, 0, 500, 400]), [0, 0, 224, 224])


def test_mirrored_axis_swaps_the_corners_of_a_box():
    # x_in = 100 - x: the box 10..30 is seen at 70..90.
    g = Geometry(100, 100, -1.0, 1.0, 100.0, 0.0, 100)
    np.testing.assert_allclose(g.to_input([10, 20, 30, 40]), [70, 20, 90, 40])
    np.testing.assert_allclose(g.to_original([70, 20, 90, 40]), [10, 20, 30, 40])


@given(sides, sides, st.sampled_from([32, 128, 224]), st.sampled_from(geometry.LAYOUTS))
def test_there_and_back(width, height, size, layout):
    g = geometry.of(width, height, size, layout)
    points = np.array([[0.0, 0.0], [width / 3, height / 2], [width, height]])
    np.testing.assert_allclose(g.to_original(g.to_input(points)), points, atol=1e-6)
    # The input is inside the resized image: no pixel is padding.
    corners = g.to_input([0, 0, width, height])
    assert corners[0] <= 0 and corners[1] <= 0
    assert corners[2] >= size - 1e-6 and corners[3] >= size - 1e-6


@given(sides, sides)
def test_row_keeps_what_float32_can(width, height):
    g = geometry.of(width, height, 224, "classification")
    row = g.to_row()
    assert row.dtype == np.float32 and row.shape == (7,)
    back = Geometry.from_row(row)
    assert (back.width, back.height, back.size) == (width, height, 224)
    assert back.scale_x == pytest.approx(g.scale_x, rel=1e-6)


def test_wrong_shapes_are_refused():
    g = geometry.of(10, 10, 8, "localization")
    with pytest.raises(ValueError, match=r"\(7,\)"):
        Geometry.from_row(np.zeros(6))
    with pytest.raises(ValueError, match="points"):
        g.to_input(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="layout"):
        geometry.of(10, 10, 8, "square")
    with pytest.raises(ValueError, match="mask"):
        geometry.resize_mask(np.zeros((4, 4, 3)), g)


def test_resize_mask_keeps_labels_and_place():
    mask = np.zeros((4, 8), np.uint8)
    mask[:, 4:] = 7
    # The whole 8 x 4 image becomes 8 x 8: every row twice.
    g = geometry.of(8, 4, 8, "localization")
    np.testing.assert_array_equal(
        geometry.resize_mask(mask, g), np.repeat(mask, 2, axis=0)
    )
    # Half the resolution, stretched over the same image.
    small = mask[::2, ::2]
    np.testing.assert_array_equal(
        geometry.resize_mask(small, g), np.repeat(mask, 2, axis=0)
    )
    # Mirrored: the label is on the left.
    mirrored = Geometry(8, 4, -1.0, 2.0, 8.0, 0.0, 8)
    np.testing.assert_array_equal(
        geometry.resize_mask(mask, mirrored), np.repeat(mask[:, ::-1], 2, axis=0)
    )


def test_resize_mask_is_zero_outside_the_original():
    g = Geometry(4, 4, 1.0, 1.0, 2.0, 0.0, 8)
    seen = geometry.resize_mask(np.ones((4, 4), np.uint8), g)
    expected = np.zeros((8, 8), np.uint8)
    expected[:4, 2:6] = 1
    np.testing.assert_array_equal(seen, expected)


def test_a_mask_of_another_shape_is_refused():
    g = geometry.of(40, 20, 8, "localization")
    assert geometry.resize_mask(np.ones((21, 41)), g).all()  # rounding
    assert geometry.resize_mask(np.ones((10, 20)), g).all()  # another resolution
    with pytest.raises(UserError, match="mask of 20 x 40 pixels .* image of 40 x 20"):
        geometry.resize_mask(np.ones((40, 20)), g)
