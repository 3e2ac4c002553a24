"""Heatmaps and profiles: hand-worked values, resizing of other libraries, no NaN."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from hiercam_keras.cam import heatmaps, profiles
from hiercam_keras.errors import UserError

CAM = np.array([[-1.0, 1.0], [3.0, 5.0]], np.float32)


def test_heatmap_by_hand():
    """ReLU gives [[0, 1], [3, 5]]. At 2 x 4 the half-pixel centers of a row are at
    -1/4, 1/4, 3/4 and 5/4 of its cells. The result is divided by the range 5."""
    row0 = [0, 0.25, 0.75, 1]
    row1 = [3, 3.5, 4.5, 5]
    found = heatmaps.heatmap(CAM, (2, 4))
    np.testing.assert_allclose(found, np.array([row0, row1]) / 5, atol=1e-7)
    assert found.dtype == np.float32


def test_minimum_is_taken_off_after_resizing():
    found = heatmaps.heatmap(CAM + 3, 2)  # 2, 4, 6, 8
    np.testing.assert_allclose(found, [[0, 1 / 3], [2 / 3, 1]], atol=1e-7)


def test_resize_like_jax_and_pillow():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    found = heatmaps.resize(maps, (11, 9))
    expected = jax.image.resize(maps, (2, 11, 9), "bilinear")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pillow = Image.fromarray(maps[0]).resize((9, 11), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found[0], np.asarray(pillow), atol=1e-5)


def test_bicubic_weights_by_hand():
    """Keys' kernel with a = -0.75 at the distances 1.25, 0.25, 0.75 and 1.75."""
    step = np.zeros((1, 6), np.float64)
    step[0, 2] = 1
    found = heatmaps.resize(step, (1, 12), "bicubic")[0]
    # Taps of the new cell 5: its center is 2.25, so cell 2 is 0.25 away.
    a = -0.75
    near = (a + 2) * 0.25**3 - (a + 3) * 0.25**2 + 1
    far = a * 1.75**3 - 5 * a * 1.75**2 + 8 * a * 1.75 - 4 * a
    assert found[5] == pytest.approx(near) and found[1] == pytest.approx(far)
    np.testing.assert_allclose(heatmaps.resize(np.ones((3, 3)), 7, "bicubic"), 1)


BAD = {
    "zero": np.zeros((3, 3)),
    "constant": np.full((3, 3), 0.1),
    "negative": np.full((3, 3), -2.0) + np.eye(3),
    "nan": np.full((3, 3), np.nan),
    "infinite": np.where(np.eye(3) > 0, np.inf, 0),
    "rounding on a constant": 1 + 1e-8 * np.eye(3),
}


@pytest.mark.parametrize("kind", BAD)
def test_degenerate_maps_give_zeros(kind):
    maps = np.stack([BAD[kind], np.eye(3)]).astype(np.float32)
    np.testing.assert_array_equal(heatmaps.is_degenerate(maps), [True, False])
    found = heatmaps.heatmap(maps, 7)
    assert not found[0].any() and found[1].max() == 1


def test_energy_adds_up_to_one_and_keeps_its_place():
    found = heatmaps.energy(np.stack([CAM, -np.abs(CAM)]), 4)
    np.testing.assert_allclose(found.sum((-2, -1)), [1, 1], atol=1e-6)
    np.testing.assert_allclose(found[1], 1 / 16)  # nothing positive: no place
    # Relu leaves 1, 3, 5: at the layer's own size the shares are 0, 1/9, 3/9, 5/9.
    own = heatmaps.energy(CAM, 2)
    np.testing.assert_allclose(own, np.array([[0, 1], [3, 5]]) / 9, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.float32, (2, 3, 4), elements=st.floats(-(2.0**99), 2.0**99, width=32)
    ),
    st.sampled_from(sorted(profiles.PROFILES)),
)
def test_every_profile_stays_between_0_and_1(cams, profile):
    found = profiles.postprocess(cams, (5, 6), profile)
    assert np.isfinite(found).all()
    assert found.min() >= 0 and found.max() <= 1 + 1e-6


def test_heatmap_does_not_depend_on_the_scale_of_the_cam():
    np.testing.assert_allclose(
        heatmaps.heatmap(CAM * 1e-20, 5), heatmaps.heatmap(CAM * 1e20, 5), atol=1e-6
    )


def test_pytorch_grad_cam_profile_by_hand():
    """[[0, 1], [3, 5]] / (5 + 1e-7), the same size, then once more."""
    once = np.array([[0, 1], [3, 5]]) / (5 + 1e-7)
    expected = once / (once.max() + 1e-7)
    found = profiles.postprocess(CAM, 2, "pytorch_grad_cam")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # A weak map stays weak: its maximum is no larger than the 1e-7 below the line.
    weak = profiles.postprocess(CAM * 1e-9, 2, "pytorch_grad_cam")
    assert weak.max() == pytest.approx((5e-9 / 1.05e-7) / (5e-9 / 1.05e-7 + 1e-7))


def test_wsol_profile_keeps_negative_evidence():
    found = profiles.postprocess(CAM, 2, "wsol")
    np.testing.assert_allclose(found, [[0, 1 / 3], [2 / 3, 1]], atol=1e-6)
    assert not profiles.postprocess(np.full((3, 3), 0.1), 5, "wsol").any()


def test_unknown_profile():
    with pytest.raises(UserError, match="unknown profile 'torch'.*hiercam"):
        profiles.postprocess(CAM, 2, "torch")
