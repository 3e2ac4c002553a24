"""model.keras files: stock layers, metadata, and damaged files."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras.src.utils import module_utils

from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.models.files import load_model, read_metadata, save_model
from hiercam_keras.models.xla_layers import CPU_KINDS, accelerate, accelerated_layers

METADATA = {"ranks": ["order"], "image_size": 16, "taxonomy": {"order": ["Ä", "b"]}}

# Loads argv[1] where hiercam_keras cannot be imported, saves logits of argv[2].
STRANGER = """
import sys
sys.modules["hiercam_keras"] = None
import keras, numpy
model = keras.saving.load_model(sys.argv[1])
numpy.save(sys.argv[3], model(numpy.load(sys.argv[2])))
"""


@pytest.fixture
def saved(small_model, images, tmp_path):
    """A compiled, accelerated model, its file, and its logits."""
    accelerate(small_model, CPU_KINDS)
    small_model.compile("adam", lambda labels, logits: logits.sum())
    path = tmp_path / "new" / "model.keras"
    save_model(path, small_model, METADATA)
    return small_model, path, np.asarray(small_model(images))


def test_model_and_metadata_come_back(saved, images):
    _, path, expected = saved
    model, metadata = load_model(path)
    assert metadata == {"schema_version": 1, **METADATA}
    assert metadata == read_metadata(path)
    assert sum(accelerated_layers(model).values()) == 23
    np.testing.assert_allclose(model(images), expected, atol=1e-6)
    stock, _ = load_model(path, accelerate="none")
    assert sum(accelerated_layers(stock).values()) == 0


def test_a_model_is_saved_without_tensorflow(small_model, tmp_path, monkeypatch):
    """Keras imports it, to see whether something in a config is TensorFlow's: seconds
    and a third of a gigabyte, at the end of a training."""

    def refuse():
        raise AssertionError("TensorFlow is imported")

    lazy = module_utils.tensorflow
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    for name, value in (("module", None), ("_available", None), ("initialize", refuse)):
        monkeypatch.setattr(lazy, name, value)
    save_model(tmp_path / "model.keras", small_model, METADATA)
    assert read_metadata(tmp_path / "model.keras")["ranks"] == ["order"]


def test_a_process_without_this_package_gets_the_same_logits(saved, images, tmp_path):
    _, path, expected = saved
    np.save(tmp_path / "images.npy", images)
    subprocess.run(
        [sys.executable, "-c", STRANGER, path, "images.npy", "logits.npy"],
        cwd=tmp_path,
        env=dict(os.environ),
        check=True,
    )
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-6)


def test_the_model_in_memory_stays_fast_and_compiled(saved):
    model, _, _ = saved
    assert sum(accelerated_layers(model).values()) == 23
    assert model.compiled


def test_several_heads_come_back_by_rank(images, tmp_path):
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(image)
    heads = {
        rank: keras.layers.Dense(n, name=f"logits_{rank}")(x)
        for rank, n in (("order", 2), ("family", 3))
    }
    model = keras.Model(image, heads)
    save_model(tmp_path / "model.keras", model, METADATA)
    loaded, _ = load_model(tmp_path / "model.keras")
    logits = loaded(images)
    assert {rank: value.shape[1] for rank, value in logits.items()} == {
        "order": 2,
        "family": 3,
    }


def test_a_failed_save_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    model, path, _ = saved
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="model.keras: cannot be written.*no space"):
        save_model(path, model, METADATA)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.keras"]


def test_a_path_below_a_file_is_told(small_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_model(tmp_path / "file" / "model.keras", small_model, METADATA)


def test_another_suffix_is_told(small_model, tmp_path):
    with pytest.raises(UserError, match="ends in .keras"):
        save_model(tmp_path / "model.h5", small_model, METADATA)


def test_what_is_no_model_of_ours_is_told(saved, tmp_path):
    model, path, _ = saved
    with pytest.raises(UserError, match="no such model file"):
        load_model(tmp_path / "absent.keras")

    text = tmp_path / "text.keras"
    text.write_text("not a zip")
    with pytest.raises(UserError, match="text.keras: damaged, or not a .keras file"):
        load_model(text)

    short = tmp_path / "short.keras"
    short.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match="damaged"):
        load_model(short)

    flipped = bytearray(path.read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (tmp_path / "flipped.keras").write_bytes(flipped)
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path / "flipped.keras")

    foreign = tmp_path / "foreign.keras"
    keras.Model(model.input, model.output).save(foreign)
    with pytest.raises(UserError, match="another program wrote.*hiercam.json"):
        load_model(foreign)


def test_a_newer_schema_is_told(saved, tmp_path):
    newer = tmp_path / "newer.keras"
    shutil.copy(saved[1], newer)
    with zipfile.ZipFile(saved[1]) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "hiercam.json":
                content = json.dumps({"schema_version": 99})
            new.writestr(name, content)
    with pytest.raises(UserError, match="schema_version 99, expected 1"):
        load_model(newer)


def test_code_in_a_file_is_not_run(images, tmp_path):
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))
    path = tmp_path / "code.keras"
    save_model(path, model, METADATA)
    with pytest.raises(UserError, match="cannot load it"):
        load_model(path)


def test_a_missing_file_and_one_of_another_kind(tmp_path):
    (tmp_path / "net.h5").write_bytes(b"\x89HDF")
    with pytest.raises(UserError, match="net.h5: no .keras file. Expected one that"):
        files.read_keras(tmp_path / "net.h5")
    with pytest.raises(UserError, match="net.keras: there is no such file. Expected"):
        files.read_keras(tmp_path / "net.keras")
