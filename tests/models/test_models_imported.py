"""Imported model files: their inputs, and rejection of code in files."""

import json
import os
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models import imported


def small(side=16, first=False, **kw):
    layout = {"data_format": "channels_first"} if first else {}
    image = keras.Input((3, side, side) if first else (side, side, 3))
    x = keras.layers.Conv2D(4, 3, 2, activation="relu", name="conv", **layout)(image)
    x = keras.layers.GlobalAveragePooling2D(**layout)(x)
    return keras.Model(image, keras.layers.Dense(3)(x), **kw)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "net.keras"
    small().save(path)
    return path


def changed(path: Path, change) -> Path:
    """A copy of a file with another config.json."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    other = path.with_name("changed.keras")
    with zipfile.ZipFile(other, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return other


def test_damaged_and_foreign_files_are_one_clear_line(file, tmp_path):
    whole = file.read_bytes()
    cut, text, foreign = (tmp_path / f"{n}.keras" for n in ("cut", "text", "foreign"))
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("no network")
    with zipfile.ZipFile(foreign, "w") as new:
        new.writestr("readme.txt", "hello")
    flipped = tmp_path / "flipped.keras"
    with zipfile.ZipFile(file) as old:
        at = old.getinfo("model.weights.h5").header_offset + 200
    flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    for path, words in (
        (tmp_path / "absent.keras", "there is no such file"),
        (cut, "damaged, or no .keras file"),
        (text, "damaged, or no .keras file"),
        (foreign, "a zip file without config.json, model.weights.h5"),
        (flipped, r"damaged \(checksum of model.weights.h5\)"),
    ):
        with pytest.raises(UserError, match=words) as error:
            imported.read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["function", "class", "activation", "lambda"])
def test_a_file_that_names_code_runs_none(file, tmp_path, kind):
    """A config with os.system or code is rejected before Keras reads it.

    If it ran, the command would create a file.
    """
    marker = tmp_path / "was_run"
    command = f"touch {marker}"

    def change(config):
        layer = config["config"]["layers"][1]
        if kind == "function":
            layer.update(class_name="function", module="os", config="system")
            layer["registered_name"] = "system"
        elif kind == "class":
            layer.update(class_name="Popen", module="subprocess")
            layer["config"] = {"args": command, "shell": True, "name": "conv"}
        elif kind == "activation":
            layer["config"]["activation"] = {
                **{"class_name": "function", "module": "os", "config": "system"},
                "registered_name": "system",
            }
        else:
            code = {"code": "4wEA", "defaults": None, "closure": None}
            function = {"class_name": "__lambda__", "config": code}
            layer.update(class_name="Lambda", module="keras.layers")
            layer["config"] = {"name": "conv", "function": function}

    seen = []
    original = keras.saving.load_model
    try:
        keras.saving.load_model = lambda *a, **k: seen.append(a) or original(*a, **k)
        with pytest.raises(UserError) as error:
            imported.read(changed(file, change))
    finally:
        keras.saving.load_model = original
    assert not seen and not marker.exists()
    said = {"class": "subprocess.Popen", "lambda": "holds a lambda"}
    assert said.get(kind, "'system'") in str(error.value)
    assert "never" in str(error.value) and "\n" not in str(error.value)


def test_weights_that_begin_where_hdf5_may(tmp_path):
    """A .keras file whose weights begin at byte 512 is a .keras file."""
    small().save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    path = tmp_path / "moved.keras"
    with zipfile.ZipFile(path, "w") as file:
        name = "model.weights.h5"
        file.writestr("pad", bytes(512 - 2 * 30 - len("pad") - len(name)))
        file.writestr(name, members.pop(name))
        for name, content in members.items():
            file.writestr(name, content)
    assert h5py.is_hdf5(path)
    imported.check(path)


def test_a_loss_of_the_users_is_not_needed(tmp_path):
    def loss(truth, said):
        return truth - said

    model = small()
    model.compile(loss=loss)
    model.save(tmp_path / "net.keras")
    assert imported.read(tmp_path / "net.keras").loss is None


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((16, 16, 1), "expected RGB images"),
        ((16,), "expected RGB images"),
        ((16, 24, 3), "16 x 24 pixels, expected square"),
    ],
)
def test_inputs_that_are_no_square_rgb_image_are_refused(shape, words):
    image = keras.Input(shape)
    model = keras.Model(image, keras.layers.Flatten()(image))
    with pytest.raises(UserError, match=words):
        imported.image_size(model, 32)


def test_several_inputs_are_refused():
    inputs = [keras.Input((16, 16, 3)), keras.Input((2,))]
    flat = [keras.layers.Flatten()(one) for one in inputs]
    model = keras.Model(inputs, keras.layers.Concatenate()(flat))
    with pytest.raises(UserError, match="2 inputs.*expected one: RGB images"):
        imported.image_size(model, 32)


def test_a_network_of_any_size_and_one_that_does_not_say():
    assert imported.image_size(small(None), 40) == 40
    assert imported.image_size(small(16), 40) == 16
    assert imported.image_size(small(16, first=True), 40) == 16

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = small(None)

        def call(self, image):
            return self.inner(image)

    model = Own()
    images = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 3)).astype("float32")
    expected = np.asarray(model(images))
    assert imported.image_size(model, 24) == 24
    ready = imported.prepared(model, "model", 24)
    assert ready.input_shape == (None, 24, 24, 3)
    np.testing.assert_allclose(ready(images), expected, atol=1e-4)


@pytest.mark.parametrize("form", ["list", "dict", "first"])
def test_a_network_takes_plain_images_however_it_names_them(form):
    model = small(16, first=form == "first")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    given = np.moveaxis(images, -1, 1) if form == "first" else images
    expected = np.asarray(model(given))
    if form != "first":
        inner, image = model, keras.Input((16, 16, 3), name="photo")
        inputs = [image] if form == "list" else {"photo": image}
        model = keras.Model(inputs, inner(image))
    ready = imported.prepared(model, "model", 16)
    np.testing.assert_allclose(ready(images), expected, atol=1e-5)


def test_a_copy_is_the_file_byte_for_byte(file, tmp_path):
    imported.keep(file, tmp_path / "run" / "model.keras")
    assert (tmp_path / "run" / "model.keras").read_bytes() == file.read_bytes()
    assert imported.digest(file) == imported.digest(tmp_path / "run" / "model.keras")
    assert len(imported.digest(file)) == 64 and os.path.getsize(file)


def test_pixels_that_nothing_scales():
    """Of networks that begin with a convolution, however they are nested."""
    layers = keras.layers
    bare = small()
    padded = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.ZeroPadding2D(), layers.Conv2D(2, 3)]
    )
    nested = keras.Sequential([keras.Input((16, 16, 3)), small()])
    for model in (bare, padded, nested):
        assert imported.takes_pixels_as_they_come(model), model.name
    image = keras.Input((16, 16, 3))
    normalized = layers.BatchNormalization()(image)
    for first in (layers.Rescaling(1 / 255)(image), normalized, image / 255):
        model = keras.Model(image, small()(first))
        assert not imported.takes_pixels_as_they_come(model)


def test_a_subclassed_network_may_scale_its_pixels():
    class Mine(keras.Model):
        def call(self, x):
            return x / 255

    assert not imported.takes_pixels_as_they_come(Mine())


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UserError, match="a folder, such as of a SavedModel; expe"):
        imported.check(tmp_path)
