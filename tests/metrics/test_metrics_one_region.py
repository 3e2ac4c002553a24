"""Levels with one region: never claimed wrongly, and claimed for plain blobs."""

import numpy as np
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics.one_region import is_one_region

EIGHT = np.ones((3, 3))


def truth(image):
    """One region and no hole, level by level, from labels of both sides."""
    found = np.zeros(256, bool)
    for level in range(256):
        above = image > level
        regions = scipy.ndimage.label(above, EIGHT)[1]
        # With a border around, all that is outside is one piece; the rest are holes.
        pieces = scipy.ndimage.label(np.pad(~above, 1, constant_values=True))[1]
        found[level] = regions == 1 and pieces == 1
    return found


def maps(largest):
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
    return hnp.arrays(np.uint8, shapes, elements=st.integers(0, largest))


@settings(max_examples=150, deadline=None)
@given(st.one_of(maps(3), maps(12), maps(255)))
def test_what_is_claimed_is_true(image):
    claimed = is_one_region(image)
    assert not (claimed & ~truth(image)).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_is_claimed_of_smooth_maps_is_true(seed):
    drawn = np.random.default_rng(seed).random((5, 5))
    smooth = scipy.ndimage.zoom(drawn, 8, order=1)
    image = (smooth / smooth.max() * 255).astype(np.uint8)
    assert not (is_one_region(image) & ~truth(image)).any()


def test_every_level_of_one_blob_is_claimed():
    y, x = np.mgrid[:40, :50]
    image = (255 * np.exp(-((y - 18) ** 2 + (x - 30) ** 2) / 90)).astype(np.uint8)
    expected = truth(image)
    assert expected[: image.max()].all()
    np.testing.assert_array_equal(is_one_region(image), expected)


def test_two_blobs_are_one_region_below_their_saddle():
    row = [0, 90, 200, 60, 40, 60, 120, 30, 0]
    image = np.zeros((5, 9), np.uint8)
    image[2] = row
    claimed = is_one_region(image)
    assert claimed[:40].all()  # one region, no inner minimum
    assert not claimed[40:120].any()  # two
    assert claimed[120:200].all()  # the higher one alone
    assert not claimed[200:].any()


def test_a_hole_is_no_single_region():
    image = np.full((7, 7), 50, np.uint8)
    image[3, 3] = 20
    claimed = is_one_region(image)
    assert claimed[:20].all()
    assert not claimed[20:].any()


def test_constant_maps():
    assert not is_one_region(np.zeros((4, 4), np.uint8)).any()
    np.testing.assert_array_equal(
        np.flatnonzero(is_one_region(np.full((4, 4), 7, np.uint8))), np.arange(7)
    )
