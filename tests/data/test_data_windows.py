"""Pixels of a part of an image: those of the whole, by either decoder."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import decode, decode_regions, geometry, resize_windows
from hiercam_keras.data.records import Record


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

    parts = decode_regions.of(
        where, np.array([0]), np.array([first]), np.array([count]), reduce
    )
    example = {key: tf.constant(value[0]) for key, value in parts._asdict().items()}
    example["path"] = tf.constant(str(path))
    return pipeline_window.read(example, parts.branch.tolist()).numpy()


SIZES = [(500, 375, 224), (331, 500, 224), (70, 91, 96), (999, 640, 96), (512, 512, 96)]


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
@pytest.mark.parametrize("layout", geometry.LAYOUTS)
def test_a_part_has_the_pixels_of_the_whole(tmp_path, width, height, size, layout):
    path = tmp_path / "x.jpg"
    sampling = 0 if width == 331 else 2
    image = Image.fromarray(picture(width, height))
    image.save(path, quality=90, subsampling=sampling)
    where = resize_windows.plan([as_record(path, width, height)], size, layout, 1.0)
    extent = where.extent[0]
    for read, most, share in (
        # Pillow takes the box of a part in single precision and rounds twice.
        (lambda *part: resize_windows.read(path, where, 0, *part), 2, 0.15),
        (lambda *part: tf_read(path, where, *part, True), 1, 0.001),
    ):
        whole = read((0, 0), extent)
        assert whole.shape == (*extent, 3)
        rng = np.random.default_rng(1)
        for _ in range(4):
            top, left = (int(rng.integers(0, slack + 1)) for slack in extent - size)
            part = read((top, left), (size, size))
            seen = whole[top : top + size, left : left + size]
            assert np.abs(part.astype(int) - seen).max() <= most
            assert np.mean(part != seen) <= share


def test_the_whole_is_what_pillow_makes_of_it(tmp_path):
    """Where a window is the whole image, nothing but Pillow's own resize is seen."""
    path = tmp_path / "x.jpg"
    Image.fromarray(picture(300, 200)).save(path, quality=90)
    where = resize_windows.plan([as_record(path, 300, 200)], 64, "localization")
    with Image.open(path) as image:
        expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    found = resize_windows.read(path, where, 0, reduce=False, flip=(True, False))
    np.testing.assert_array_equal(found, expected[::-1])
    found = resize_windows.read(path, where, 0, reduce=False, flip=(False, True))
    np.testing.assert_array_equal(found, expected[:, ::-1])


@pytest.mark.parametrize("quality", [30, 90])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_tensorflow_decodes_jpegs_as_pillow_does(tmp_path, quality, subsampling):
    """With the accurate transform; the default one differs by several levels."""
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    path = tmp_path / "x.jpg"
    options = {"quality": quality, "subsampling": subsampling}
    Image.fromarray(picture(96, 96)).save(path, **options)
    where = resize_windows.plan([as_record(path, 96, 96)], 96, "localization")
    with Image.open(path) as image:
        expected = np.asarray(image)
    found = tf_read(path, where, (0, 0), (96, 96), False)
    np.testing.assert_array_equal(found, expected)
    other = tf.io.decode_jpeg(path.read_bytes(), 3, dct_method="INTEGER_FAST").numpy()
    assert np.abs(other.astype(int) - expected).max() > 2


def test_cut_by_hand():
    # 400 x 300 to a short side of 150: two decoded pixels a step. The part begins at
    # output pixel 10 + 3 across, with its center at 27 decoded pixels; the kernel
    # reaches 2 to the left of it, and 4 are decoded besides: from 21 on. At 21 the
    # output would be -2.5 px left of the part: 21 / 2 - 13.
    where = resize_windows.Windows(
        original=np.array([[300, 400]], np.int32),
        resized=np.array([[150, 200]], np.int32),
        start=np.array([[0, 10]], np.int32),
        extent=np.array([[150, 180]], np.int32),
        size=100,
    )
    part = (where, np.array([0]), np.array([[0, 3]]), np.array([[100, 100]]))
    found = decode_regions.of(*part, False)
    # Across it ends with output pixel 112, center 225, and 2 + 4 behind it.
    assert found.place[0].tolist() == [300, 400, 0, 21, 205, 210]
    np.testing.assert_allclose(found.fit[0], [0.5, 0.5, 0, -2.5])
    assert decode.REDUCTIONS[found.branch[0]] == 1
    found = decode_regions.of(*part, True)  # decoded at half its size: one pixel a step
    assert decode.REDUCTIONS[found.branch[0]] == 2
    assert found.place[0].tolist() == [300, 400, 0, 8, 105, 110]
    np.testing.assert_allclose(found.fit[0], [1, 1, 0, -5])


def test_large_files_are_read_from_their_copies():
    where = resize_windows.plan(
        [as_record(Path("x.jpg"), 9000, 3000)], 224, "classification"
    )
    first, count = np.zeros((1, 2), int), where.extent
    found = decode_regions.of(where, np.array([0]), first, count, False)
    assert found.place[0, :2].tolist() == [1365, 4096]


@pytest.mark.parametrize(("width", "height", "size"), SIZES)
def test_reduced_decoding_shows_the_same_picture(tmp_path, width, height, size):
    path = tmp_path / "x.jpg"
    Image.fromarray(picture(width, height)).save(path, quality=90)
    where = resize_windows.plan(
        [as_record(path, width, height)], size, "classification", 1.0
    )
    extent = where.extent[0]
    full = resize_windows.read(path, where, 0, reduce=False).astype(float)
    reduced = resize_windows.read(path, where, 0).astype(float)
    times = decode.reduction(width, height, tuple(where.resized[0][::-1].tolist()))
    assert times == {999: 4, 512: 4}.get(width, 1)
    error = np.mean((full - reduced) ** 2)
    if times == 1:
        assert error == 0
    else:
        assert 10 * np.log10(255**2 / error) > 32
    for pixels, reduce in ((full, False), (reduced, True)):
        found = tf_read(path, where, (0, 0), extent, reduce)
        # Pillow rounds between its two passes.
        assert np.abs(found - pixels).max() <= 2
        assert np.abs(found - pixels).mean() < 0.5


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
