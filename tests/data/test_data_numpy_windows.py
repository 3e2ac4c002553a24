"""The pixels of tf.data without TensorFlow, and who reads them."""

import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import arrays, loader, numpy_windows, resize_windows
from hiercam_keras.data.records import Record

CONFIG = ConfigDict(
    {
        "image_size": 32,
        "batch_size": 2,
        "pipeline": "auto",
        "cache_mb": 0,
        "disk_cache": "",
    }
)


def photo(folder, name, width, height, mode="noise", crop=None):
    """A file with its record: noise, or a smooth picture as of a camera."""
    rng = np.random.default_rng(width * height)
    if mode == "noise":
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    else:
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / a) + np.cos(y / b) for a, b in ((9, 5), (7, 3), (4, 8))]
        pixels = (np.stack(waves, -1) * 60 + 128).clip(0, 255).astype(np.uint8)
    path = folder / name
    Image.fromarray(pixels).save(path)
    return Record(name, path, None, width, height, crop=crop)


@pytest.fixture
def photos(tmp_path):
    """Enlarged, shrunk, reduced and cropped files; JPEG and PNG."""
    return [
        photo(tmp_path, "same.png", 37, 37),
        photo(tmp_path, "tiny.png", 20, 11),
        photo(tmp_path, "tiny.jpg", 15, 33, "smooth"),
        photo(tmp_path, "wide.jpg", 131, 40),
        photo(tmp_path, "half.jpg", 101, 87, "smooth"),
        photo(tmp_path, "eighth.jpg", 613, 411, "smooth"),
        photo(tmp_path, "large.png", 317, 250),
        photo(tmp_path, "part.jpg", 200, 150, crop=(20.5, 30.25, 120.0, 101.0)),
        photo(tmp_path, "edge.png", 90, 80, crop=(40.0, 0.0, 90.0, 80.0)),
    ]


@pytest.mark.parametrize("layout", ["classification", "localization"])
@pytest.mark.parametrize("reduced", [True, False])
def test_pixels_are_those_of_tf_data_to_the_bit(photos, layout, reduced):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    found = {}
    for pipeline in ("auto", "tfdata"):
        config = ConfigDict(CONFIG.to_dict())
        config.pipeline, config.reduced_decode = pipeline, reduced
        with loader.make_loader(photos, {}, config, layout=layout) as read:
            found[pipeline] = np.concatenate([batch.images for batch in read.epoch(0)])
            assert isinstance(read._reader, arrays.ArrayReader) == (pipeline == "auto")
    np.testing.assert_array_equal(found["auto"], found["tfdata"])


def test_parts_and_mirrored_parts_of_a_window(photos):
    where = resize_windows.plan(photos, 32, "classification", crop_jitter=1.0)
    index = next(i for i, one in enumerate(photos) if one.path.name == "wide.jpg")
    path = photos[index].path
    assert where.extent[index].tolist() == [36, 96]
    part = (path, where, index, (3, 30), (32, 32), True)
    pixels = numpy_windows.read(*part)
    whole = numpy_windows.read(path, where, index)
    assert whole.shape == (36, 96, 3)
    assert np.abs(whole[3:35, 30:62].astype(int) - pixels).max() <= 1
    mirrored = numpy_windows.read(*part, (True, True))
    np.testing.assert_array_equal(mirrored, pixels[::-1, ::-1])
    # Pillow rounds between its two passes.
    assert np.abs(resize_windows.read(*part).astype(int) - pixels).max() <= 1


def test_a_kernel_by_hand():
    # Two rows become one: the mean. One row becomes two: both are equal to it.
    image = np.array([[10.0], [20.0]], np.float32)
    resize = numpy_windows._resize_rows
    half, two, zero = np.float32(0.5), np.float32(2), np.float32(0)
    np.testing.assert_array_equal(resize(image, half, zero, 1), [[15]])
    np.testing.assert_array_equal(resize(image[:1], two, zero, 2), [[10], [10]])
    # Enlarged twice, samples are at -1/4, 1/4, 3/4 and 5/4 rows from the first center.
    found = resize(image, two, zero, 4)
    np.testing.assert_allclose(found[:, 0], [10, 12.5, 17.5, 20], rtol=1e-6)


def test_a_file_of_another_size_than_planned(photos, tmp_path):
    where = resize_windows.plan(photos, 32, "classification")
    index = next(i for i, one in enumerate(photos) if one.path.name == "large.png")
    smaller = photo(tmp_path, "large.png", 160, 126)
    pixels = numpy_windows.read(smaller.path, where, index)
    expected = resize_windows.read(smaller.path, where, index)
    np.testing.assert_array_equal(pixels, expected)


def test_a_few_pictures_do_not_import_tensorflow(photos):
    code = f"""
import pathlib, sys
from ml_collections import ConfigDict
from hiercam_keras.data import loader
from hiercam_keras.data.records import Record
record = Record("a", pathlib.Path({str(photos[0].path)!r}), None, 37, 37)
with loader.make_loader([record], {{}}, ConfigDict({CONFIG.to_dict()!r})) as read:
    (batch,) = read.epoch(0)
print(batch.images.any(), "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    ("change", "few"),
    [
        ({}, True),
        ({"cache_mb": 16}, False),
        ({"disk_cache": "auto"}, False),
        ({"pipeline": "tfdata"}, False),
        ({"training": True}, False),
        ({"more": True}, False),
    ],
)
def test_trainings_and_many_pictures_are_read_by_tf_data(
    photos, tmp_path, change, few, monkeypatch
):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    config = ConfigDict({**CONFIG.to_dict(), "cache_dir": str(tmp_path)})
    training, more = change.pop("training", False), change.pop("more", False)
    config.update(change)
    monkeypatch.setattr(loader, "_FEW", len(photos) - more)
    with loader.make_loader(photos, {}, config, training=training) as read:
        assert isinstance(read._reader, arrays.ArrayReader) == few


def test_without_tensorflow_pillow_reads_however_many_there_are(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.delitem(sys.modules, "hiercam_keras.data.pipeline", raising=False)
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: None)
    with loader.make_loader(photos, {}, CONFIG) as read:
        assert read._reader._job.reads is resize_windows.read
