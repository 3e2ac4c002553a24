import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from hiercam_keras.data import augment

FULL = ConfigDict(
    {
        "horizontal_flip": True,
        "vertical_flip": True,
        "crop_jitter": 1.0,
        "brightness": 0.3,
        "contrast": 0.3,
        "saturation": 0.3,
        "hue": 0.1,
        "erasing_probability": 0.5,
        "erasing_area": (0.02, 0.2),
    }
)
NOTHING = augment.draw(None, 0, 0, np.arange(1), 8)


def one(drawn, i=0, **changes):
    """What is drawn for one image, with some of it set by hand."""
    single = augment.Augmentation(*(array[i] for array in drawn))
    return single._replace(**changes)


def color(**factors):
    """Color matrix and haze of set factors, as a config's largest draw."""
    neutral = dict.fromkeys(("brightness", "contrast", "saturation"), np.ones(1))
    given_factors = {key: np.array([value]) for key, value in factors.items()}
    matrix, haze = augment._color(**(neutral | {"turns": np.zeros(1)} | given_factors))
    return {"color": matrix[0].astype(np.float32), "haze": np.float32(haze[0])}


def test_draw_is_a_function_of_seed_epoch_and_index():
    together = augment.draw(FULL, 3, 5, np.arange(100), 64)
    picked = augment.draw(FULL, 3, 5, np.array([70, 2]), 64)
    for a, b in zip(together, picked, strict=True):
        np.testing.assert_array_equal(a[[70, 2]], b)
    for seed, epoch in ((4, 5), (3, 6)):
        other = augment.draw(FULL, seed, epoch, np.arange(100), 64)
        assert not np.array_equal(other.shift, together.shift)
        assert not np.array_equal(other.color, together.color)


def test_draws_are_uniform_and_independent():
    u = augment._uniform(0, 1, np.arange(20_000))
    assert u.min() >= 0 and u.max() < 1
    # 16 x 20,000 draws: means have a standard error of 0.002, correlations of 0.007.
    np.testing.assert_allclose(u.mean(axis=0), 0.5, atol=0.01)
    np.testing.assert_allclose(u.var(axis=0), 1 / 12, atol=0.003)
    correlation = np.corrcoef(u.T) - np.eye(16)
    assert np.abs(correlation).max() < 0.04
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 0.04
    # The same examples in the next epoch are drawn afresh.
    assert (
        abs(np.corrcoef(u[:, 0], augment._uniform(0, 2, np.arange(20_000))[:, 0])[0, 1])
        < 0.04
    )


def test_known_draw_stays_the_same():
    """Runs of one seed could not be compared if a new version drew otherwise."""
    u = augment._uniform(0, 0, np.array([0, 1]))
    np.testing.assert_allclose(
        u[:, 0], [0.7299633372740066, 0.1896582243390259], rtol=1e-12
    )


def test_splitmix_reference():
    # First outputs for the seed 1234567, of the reference implementation by S. Vigna.
    z = augment.splitmix64(
        np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * augment.GOLDEN
    )
    assert [int(value) for value in z] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_nothing_asked_nothing_done():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    drawn = augment.draw(None, 0, 0, np.arange(50), 8)
    for i in range(50):
        np.testing.assert_array_equal(
            augment.apply(image, (0, 0), one(drawn, i), 8), image
        )


def test_crop_and_flip():
    window = np.arange(6 * 7 * 3, dtype=np.uint8).reshape(6, 7, 3)
    crop = augment.apply(window, (1, 3), one(NOTHING), 4)
    np.testing.assert_array_equal(crop, window[1:5, 3:7])
    for flip, expected in (
        ((False, True), crop[:, ::-1]),
        ((True, False), crop[::-1]),
        ((True, True), crop[::-1, ::-1]),
    ):
        drawn = one(NOTHING, flip=np.array(flip))
        np.testing.assert_array_equal(augment.apply(window, (1, 3), drawn, 4), expected)


def test_crops_reach_every_place():
    shift = augment.draw(FULL, 0, 0, np.arange(2000), 8).shift
    starts = augment.crop_starts(shift, np.full((2000, 2), 11), 8)
    for axis in range(2):
        places, counts = np.unique(starts[:, axis], return_counts=True)
        assert list(places) == [0, 1, 2, 3]
        assert counts.min() > 400


def test_flip_switches():
    flip = augment.draw(FULL, 0, 0, np.arange(1000), 8).flip
    assert 400 < flip[:, 0].sum() < 600 and 400 < flip[:, 1].sum() < 600
    config = FULL.copy_and_resolve_references()
    config.vertical_flip = False
    assert not augment.draw(config, 0, 0, np.arange(1000), 8).flip[:, 0].any()


def paint(*rows):
    return np.array(rows, np.uint8)


def recolor(image, **factors):
    return augment.apply(image, (0, 0), one(NOTHING, **color(**factors)), len(image))


def test_brightness_contrast_and_saturation_by_hand():
    # Luma of (100, 50, 0) is 29.9 + 29.35 = 59.25, of (200, 200, 200) it is 200.
    image = paint([[100, 50, 0], [200, 200, 200]], [[100, 50, 0], [200, 200, 200]])
    mean = (59.25 + 200) / 2
    np.testing.assert_array_equal(
        recolor(image, brightness=1.2)[0], [[120, 60, 0], [240, 240, 240]]
    )
    # Half the distance to the mean luma 129.625.
    half = np.round((image[0].astype(float) + mean) / 2)
    np.testing.assert_array_equal(recolor(image, contrast=0.5)[0], half)
    # Half the distance to its own luma; gray stays as it is.
    np.testing.assert_array_equal(
        recolor(image, saturation=0.5)[0],
        [[np.round(79.625), np.round(54.625), np.round(29.625)], [200, 200, 200]],
    )
    # What leaves 0..255 is clipped, not wrapped around.
    np.testing.assert_array_equal(recolor(image, brightness=2)[0, 1], [255, 255, 255])


def test_hue_turns_the_color_circle_and_leaves_gray():
    image = paint([[150, 100, 100], [90, 90, 90]], [[100, 150, 100], [90, 90, 90]])
    np.testing.assert_array_equal(recolor(image, turns=1.0), image)
    turned = recolor(image, turns=0.25)
    np.testing.assert_array_equal(turned[:, 1], 90)
    for before, after in zip(image[:, 0], turned[:, 0], strict=True):
        # (Y, I, Q) of Python's own tables: luma stays, (I, Q) turns by a right angle.
        y0, i0, q0 = colorsys.rgb_to_yiq(*(before / 255))
        y1, i1, q1 = colorsys.rgb_to_yiq(*(after / 255))
        np.testing.assert_allclose([y1, i1, q1], [y0, -q0, i0], atol=0.006)


def test_jitter_does_something_and_stays_in_its_range():
    config = ConfigDict({"brightness": 0.2})
    drawn = augment.draw(config, 0, 0, np.arange(500), 8)
    gain = drawn.color[:, 0, 0]
    assert gain.min() < 0.82 and gain.max() > 1.18
    assert gain.min() >= 0.8 and gain.max() <= 1.2
    assert augment.changes_color(config)
    assert not augment.changes_color(ConfigDict({"brightness": 0.0}))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([32, 96, 128, 224]),
    st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.5)).map(sorted),
    st.integers(0, 1000),
)
def test_erased_rectangles_obey_the_config(size, area, seed):
    config = ConfigDict({"erasing_probability": 1.0, "erasing_area": tuple(area)})
    y0, x0, y1, x1 = augment.draw(config, seed, 0, np.arange(200), size).erase.T
    assert (0 <= y0).all() and (y0 < y1).all() and (y1 <= size).all()
    assert (0 <= x0).all() and (x0 < x1).all() and (x1 <= size).all()
    # Never larger than allowed, except that a rectangle has at least a pixel a side.
    allowed = area[1] * size * size
    small = ((y1 - y0) == 1) | ((x1 - x0) == 1)
    assert (((y1 - y0) * (x1 - x0) <= allowed + 1e-6) | small).all()


def test_erasing_fills_its_rectangle_with_noise():
    image = np.full((32, 32, 3), 128, np.uint8)
    drawn = one(
        NOTHING, erase=np.array([4, 8, 20, 30]), fill=np.array([5, 6], np.int32)
    )
    erased = augment.apply(image, (0, 0), drawn, 32)
    inside = np.zeros((32, 32), bool)
    inside[4:20, 8:30] = True
    assert (erased[~inside] == 128).all()
    assert erased[inside].std() > 60
    other = augment.apply(image, (0, 0), drawn._replace(fill=np.array([6, 6])), 32)
    assert not np.array_equal(other, erased)
    assert (image == 128).all()


def test_erasing_probability():
    config = ConfigDict({"erasing_probability": 0.2, "erasing_area": (0.02, 0.1)})
    erase = augment.draw(config, 0, 0, np.arange(2000), 64).erase
    assert 0.16 < (erase[:, 2] > erase[:, 0]).mean() < 0.24


def test_permutation_is_of_seed_and_epoch():
    a = augment.permutation(0, 1, 50)
    np.testing.assert_array_equal(a, augment.permutation(0, 1, 50))
    assert sorted(a) == list(range(50))
    assert not np.array_equal(a, augment.permutation(0, 2, 50))
    assert not np.array_equal(a, augment.permutation(1, 1, 50))


@pytest.mark.parametrize("recolor", [True, False])
@pytest.mark.parametrize("extent", [(30, 37), (24, 24)])
def test_tensorflow_does_the_same(extent, recolor):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from hiercam_keras.data import augment_tf

    rng = np.random.default_rng(0)
    drawn = augment.draw(FULL, 1, 2, np.arange(60), 24)
    erased = drawn.erase[:, 2] > drawn.erase[:, 0]
    assert erased.any() and not erased.all()
    crops = augment.crop_starts(drawn.shift, np.full((60, 2), extent), 24)
    packed = augment_tf.pack(crops, drawn)
    function = tf.function(augment_tf.apply, reduce_retracing=True)
    most = 0
    for i in range(60):
        window = rng.integers(0, 256, (*extent, 3), np.uint8)
        mine = augment.apply(window, crops[i], one(drawn, i), 24, recolor)
        fields = {key: tf.constant(value[i]) for key, value in packed.items()}
        theirs = function(tf.constant(window), fields, 24, recolor).numpy()
        most = max(most, np.abs(mine.astype(int) - theirs).max())
    assert most <= recolor
