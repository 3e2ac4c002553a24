"""Pixels of a part of an image: the same as those of the whole, by either decoder."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hiercam_keras.data import decode, geometry, resample, windows
from hiercam_keras.data.records import Record


def test_weights_by_hand():
    # 4 pixels to 2: centers at 1 and 3, the triangle reaches 2 pixels to either side,
    # so that pixels 0, 1, 2 at distances 0.5, 0.5, 1.5 weigh 3 : 3 : 1.
    found = resample.taps(0, 2, 4, 2, 4).toarray()
    np.testing.assert_allclose(found, np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7)
    # 2 to 4: centers at 0.25, 0.75, ...: plain bilinear, the edge repeated.
    found = resample.taps(0, 4, 2, 4, 2).toarray()
    np.testing.assert_allclose(found, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60), st.integers(1, 60))
def test_like_pillow_in_floating_point(height, width, rows, columns):
    rng = np.random.default_rng(height * 91 + width)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    found = resample.resize(
        pixels,
        resample.taps(0, rows, height, rows, height),
        resample.taps(0, columns, width, columns, width),
        0.5,
    )
    size = (columns, rows)
    for channel in range(3):
        image = Image.fromarray(pixels[..., channel]).convert("F")
        exact = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float64)
        assert np.abs(found[..., channel] - exact).max() < 0.5 + 1e-3


def picture(width, height, seed=0):
    """Shapes of many sizes with a little noise, as photographs have them."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells, weight in ((4, 0.5), (20, 0.35), (60, 0.15)):
        shape = (max(2, height * cells // width), cells, 3)
        small = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        layer = small.resize((width, height), Image.Resampling.BICUBIC)
        image += weight * np.asarray(layer, np.float64)
    return (image + rng.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def as_record(path, width, height):
    return Record(path.stem, path, None, width, height)


def tf_read(path, where, first, count, reduce):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    from hiercam_keras.data import pipeline_window

    example = {
        "path": tf.constant(str(path)),
        "resized": tf.constant(where.resized[0]),
        "start": tf.constant(where.start[0]),
        "first": tf.constant(first, tf.int32),
        "count": tf.constant(count, tf.int32),
    }
    return pipeline_window.read(example, reduce).numpy()


SIZES = [(500, 375, 224), (331, 500, 224), (70, 91, 96), (999, 640, 96), (512, 512, 96)]


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
@pytest.mark.parametrize("layout", geometry.LAYOUTS)
def test_a_part_has_the_pixels_of_the_whole(tmp_path, width, height, size, layout):
    path = tmp_path / "x.jpg"
    sampling = 0 if width == 331 else 2
    image = Image.fromarray(picture(width, height))
    image.save(path, quality=90, subsampling=sampling)
    where = windows.plan([as_record(path, width, height)], size, layout, 1.0)
    extent = where.extent[0]
    for read in (
        lambda *part: windows.read(path, where, 0, *part),
        lambda *part: tf_read(path, where, *part, True),
    ):
        whole = read((0, 0), extent)
        assert whole.shape == (*extent, 3)
        rng = np.random.default_rng(1)
        for _ in range(4):
            top, left = (int(rng.integers(0, slack + 1)) for slack in extent - size)
            part = read((top, left), (size, size))
            np.testing.assert_array_equal(
                part, whole[top : top + size, left : left + size]
            )


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
def test_reduced_decoding_shows_the_same_picture(tmp_path, width, height, size):
    path = tmp_path / "x.jpg"
    Image.fromarray(picture(width, height)).save(path, quality=90)
    where = windows.plan([as_record(path, width, height)], size, "classification", 1.0)
    extent = where.extent[0]
    full = windows.read(path, where, 0, reduce=False).astype(float)
    reduced = windows.read(path, where, 0).astype(float)
    times = decode.reduction(width, height, tuple(where.resized[0][::-1].tolist()))
    assert times == {999: 4, 512: 4}.get(width, 1)
    error = np.mean((full - reduced) ** 2)
    if times == 1:
        assert error == 0
    else:
        assert 10 * np.log10(255**2 / error) > 32
    for pixels, reduce in ((full, False), (reduced, True)):
        found = tf_read(path, where, (0, 0), extent, reduce)
        assert np.abs(found - pixels).max() <= 1


def test_reduction_keeps_what_suffices():
    assert decode.reduction(1000, 800, (500, 400)) == 2
    assert decode.reduction(1000, 799, (500, 400)) == 1
    assert decode.reduction(4000, 3000, (300, 300)) == 8
    assert decode.reduction(20, 20, (300, 300)) == 1


def test_examine_at_a_reduced_scale(tmp_path):
    path = tmp_path / "x.jpg"
    Image.fromarray(picture(401, 303)).save(path)
    facts, image = decode.examine(path, (200, 150))
    assert (facts.width, facts.height) == (401, 303)
    assert image.size == (201, 152)
    # What is not a clean JPEG is decoded whole.
    data = io.BytesIO()
    Image.fromarray(picture(401, 303)).save(data, "PNG")
    path.write_bytes(data.getvalue())
    assert decode.examine(path, (200, 150))[1].size == (401, 303)
