"""Overlays: where they are hot, where they show the picture, what they refuse."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hiercam_keras.errors import UserError
from hiercam_keras.report import overlay as overlays
from hiercam_keras.report.overlay import heat_layer, overlay, save_image


def gray(side: int = 16, value: int = 128) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def ramp(side: int = 16) -> np.ndarray:
    return np.linspace(0, 1, side * side, dtype=np.float32).reshape(side, side)


def test_cold_pixels_keep_a_gray_picture_and_hot_ones_change():
    heatmap = np.zeros((16, 16), np.float32)
    heatmap[4, 5] = 1.0
    changed = np.any(overlay(gray(), heatmap) != gray(), axis=2)
    assert changed[4, 5]
    assert changed.sum() == 1


def test_peak_color_is_the_blend_worked_out_by_hand():
    # inferno ends in (0.988362, 0.998364, 0.644924); alpha 0.5 gives opacity 0.75:
    # 128 * 0.25 + 255 * 0.75 * (0.988362, 0.998364, 0.644924) = 221.0, 222.9, 155.3
    heatmap = np.zeros((16, 16), np.float32)
    heatmap[0, 0] = 1.0
    assert overlay(gray(), heatmap, alpha=0.5)[0, 0].tolist() == [221, 223, 155]


def test_opacity_grows_with_heat():
    picture = overlay(gray(value=0), ramp(), alpha=0.7).astype(int).sum(axis=2).ravel()
    # The colormap grows in lightness as well: on black the sum can only rise.
    assert np.all(np.diff(picture) >= -1)
    assert picture[-1] > picture[128] > picture[0] == 0


def test_alpha_zero_is_the_picture_and_alpha_one_hides_it_under_the_peak():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(image, ramp(), alpha=0.0), image)
    other = overlay(255 - image, ramp(), alpha=1.0)
    np.testing.assert_array_equal(
        overlay(image, ramp(), alpha=1.0)[-1, -1], other[-1, -1]
    )


def test_low_resolution_map_is_stretched_over_the_whole_picture():
    heatmap = np.array([[0.0, 0.0], [0.0, 1.0]], np.float32)
    changed = np.abs(overlay(gray(32), heatmap).astype(int) - 128).sum(axis=2)
    assert changed[31, 31] > changed[20, 20] > changed[2, 2] == 0


@pytest.mark.parametrize("heatmap", [np.zeros((4, 4)), np.full((4, 4), 0.7)])
def test_map_of_a_single_value_is_hatched_gray_and_never_a_cold_map(heatmap):
    image = np.zeros((48, 48, 3), np.uint8)
    image[..., 0] = 200
    result = overlay(image, heatmap)
    assert np.all(result[..., 0] == result[..., 1])
    assert len(np.unique(result)) == 2  # ground and stripes
    np.testing.assert_array_equal(result, overlay(image, ramp(), degenerate=True))


@given(side=st.integers(1, 9), alpha=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_any_map_gives_a_picture_of_the_same_size(side, alpha, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (7, 12, 3), dtype=np.uint8)
    result = overlay(image, rng.random((side, side + 1)), alpha)
    assert result.shape == image.shape and result.dtype == np.uint8


@pytest.mark.parametrize(
    ("image", "heatmap", "alpha", "message"),
    [
        (gray().astype(np.float32), ramp(), 0.5, "uint8"),
        (gray()[..., :2], ramp(), 0.5, "height, width, 3"),
        (gray(), ramp()[None], 0.5, "height, width"),
        (gray(), ramp() * 3, 0.5, "from 0 to 3"),
        (gray(), ramp() * np.nan, 0.5, "nan"),
        (gray(), ramp(), 1.5, "alpha is 1.5"),
    ],
)
def test_what_does_not_fit_is_named(image, heatmap, alpha, message):
    with pytest.raises(UserError, match=message):
        overlay(image, heatmap, alpha)


def test_unknown_colormap_names_some_that_will_do():
    with pytest.raises(UserError, match="'rainbowish'.*viridis"):
        overlay(gray(), ramp(), colormap="rainbowish")


def test_heat_layer_over_the_picture_is_near_the_overlay():
    heatmap = ramp(32)
    layer = np.asarray(heat_layer(heatmap, (32, 32)).convert("RGBA"), np.float32)
    opacity = layer[..., 3:] / 255 * 0.75
    blend = 128 * (1 - opacity) + layer[..., :3] * opacity
    difference = np.abs(blend - overlay(gray(32), heatmap, alpha=0.5).astype(float))
    assert difference.max() < 4  # 128 levels against 256


def test_heat_layer_of_no_map_is_a_hatch():
    layer = heat_layer(np.zeros((4, 4)), (24, 24))
    pixels = np.asarray(layer.convert("RGBA"))
    assert set(np.unique(pixels[..., 3])) == {0, 150}


@pytest.mark.parametrize(
    ("name", "format", "kind"),
    [("a.png", None, "PNG"), ("a.jpg", None, "JPEG"), ("sub/a.out", "jpg", "JPEG")],
)
def test_save_image_writes_the_format_and_leaves_nothing_else(
    tmp_path, name, format, kind
):
    path = tmp_path / name
    save_image(path, gray(), format)
    with Image.open(path) as image:
        assert image.format == kind and image.size == (16, 16)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_save_image_refuses_other_formats_and_places(tmp_path):
    with pytest.raises(UserError, match="'bmp'"):
        save_image(tmp_path / "a.bmp", gray())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the folder"):
        save_image(tmp_path / "file" / "a.png", gray())


def test_png_keeps_every_pixel(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_image(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as loaded:
        np.testing.assert_array_equal(np.asarray(loaded), image)


def test_colors_are_in_order_of_lightness():
    luma = overlays.colors(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(luma) > 0)


def test_the_color_bar_of_pages_has_the_colors_of_heat():
    """The gradient of style.css, stop by stop."""
    css = (Path(overlays.__file__).parent / "templates" / "style.css").read_text()
    stops = re.findall(r"rgb\((\d+) (\d+) (\d+) / ([\d.]+)\)", css)
    heat = np.linspace(0, 1, len(stops), dtype=np.float32)
    found = np.array(stops, float)
    np.testing.assert_allclose(found[:, :3], 255 * overlays.colors(heat), atol=0.51)
    np.testing.assert_allclose(found[:, 3], overlays.opacity_of(heat), atol=0.006)


def test_a_color_bar_goes_from_hot_to_the_picture():
    bar = overlays.color_bar(32, 2)
    assert bar.shape == (32, 2, 3) and bar[-1, 0].tolist() == [150, 150, 150]
    hottest = overlay(gray(value=150), np.eye(16, dtype=np.float32))[0, 0]
    np.testing.assert_array_equal(bar[0, 0], hottest)
