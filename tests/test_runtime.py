"""Process setup: the settings that libraries read."""

import gc
import importlib.metadata
import json
import logging
import os
import subprocess
import sys

import pytest

from hiercam_keras import runtime
from hiercam_keras.errors import UserError


def _prepared(**environment):
    """Environment variables and imports after prepare_process in a fresh process."""
    code = (
        "import json, os, sys; from hiercam_keras import runtime\n"
        "runtime.prepare_process()\n"
        "from absl import flags, logging; flags.FLAGS(['main.py'])\n"
        "logging.info('a line'); logging.warning('odd')\n"
        "heavy = [n for n in ('jax', 'keras', 'tensorflow') if n in sys.modules]\n"
        "print(json.dumps([dict(os.environ), heavy]))"
    )
    mine = ("XLA_FLAGS", "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "MPLBACKEND")
    clean = {name: value for name, value in os.environ.items() if name not in mine}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, **environment},
    )
    variables, heavy = json.loads(done.stdout)
    return variables, heavy, done.stderr


def test_the_backend_is_jax_and_nothing_is_imported_yet():
    variables, heavy, lines = _prepared(KERAS_BACKEND="tensorflow")
    assert variables["KERAS_BACKEND"] == "jax"
    assert variables["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert "--xla_cpu_prefer_vector_width=512" in variables["XLA_FLAGS"]
    assert heavy == []
    assert lines == "a line\nwarning: odd\n"


def test_what_somebody_set_stays():
    flags = "--xla_cpu_prefer_vector_width=256 --xla_dump_to=x"
    variables, _, _ = _prepared(XLA_FLAGS=flags, MPLBACKEND="svg")
    assert variables["XLA_FLAGS"] == flags
    assert variables["MPLBACKEND"] == "svg"


def test_versions_name_what_a_result_depends_on():
    versions = runtime.versions()
    assert {"python", "platform", "hiercam_keras", "keras", "jax", "numpy"} <= set(
        versions
    )
    assert all(isinstance(value, str) and value for value in versions.values())


def test_versions_know_packages_by_either_of_their_distributions(monkeypatch):
    installed = {"tensorflow-cpu": "2.1", "opencv-python": "5.0", "libtpu": "0.1"}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = runtime.versions()
    assert found["tensorflow"] == "2.1" and found["opencv"] == "5.0"
    assert found["libtpu"] == "0.1" and "jax" not in found


@pytest.fixture
def eight(monkeypatch):
    """Sets eight devices that share each batch; returns the logged lines."""
    told = []
    monkeypatch.setattr(runtime, "_num_sharing", lambda: 8)
    monkeypatch.setattr(
        runtime.logging, "info", lambda text, *values: told.append(text % values)
    )
    return told


@pytest.mark.parametrize(
    ("asked", "images", "shared"),
    [(16, 100, 16), (2, 100, 8), (17, 100, 24), (20, 22, 16), (8, 8, 8), (24, 20, 16)],
)
def test_a_batch_is_made_a_multiple_of_the_devices(eight, asked, images, shared):
    """Batch sizes are rounded up, or down if there are few images."""
    assert runtime.training_batch(asked, images) == shared
    why = "the training split has 20 images, " if asked > images else ""
    words = (
        f"data.batch_size {asked} becomes {shared}: {why}a multiple of the 8 devices"
    )
    assert eight == ([] if asked == shared else [words])


def test_one_device_takes_the_largest_batch_that_there_is(monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_num_sharing", lambda: 1)
    with caplog.at_level(logging.INFO, logger="absl"):
        assert runtime.training_batch(64, 62) == 62
        assert runtime.training_batch(16, 62) == 16
    assert caplog.messages == [
        "data.batch_size 64 becomes 62: the training split has 62 images"
    ]


def test_fewer_images_than_devices_are_refused(eight):
    with pytest.raises(UserError, match=r"8 devices cannot share 5 images.*devices"):
        runtime.training_batch(2, 5)


def test_a_run_keeps_its_batch_or_is_refused(eight):
    assert runtime.resumed_batch(24) == 24
    words = r"batches of 6 images, which 8 .*devices=6 \(or 1, 2, 3\)"
    with pytest.raises(UserError, match=words):
        runtime.resumed_batch(6)


COMPILING = """
import json, sys
from hiercam_keras import runtime
runtime.prepare_process()
import jax, jax.numpy as jnp
runtime.start(0)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # on any machine
events = []
jax.monitoring.register_event_listener(lambda event, **more: events.append(event))
def much(x):
    for number in range(20):
        x = jnp.sin(x @ x)
    return x
jax.jit(much)(jnp.eye(7)).block_until_ready()
hits = sum("cache_hits" in event for event in events)
print(json.dumps([jax.config.jax_compilation_cache_dir, hits]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moved", [False, True])
def test_a_second_process_compiles_nothing_anew(tmp_path, moved):
    """Slow compilations are cached in the user's folder, or where JAX is set to."""
    expected = tmp_path / "cache" / "hiercam_keras" / "xla"
    more = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    if moved:
        expected = tmp_path / "moved"
        more["JAX_COMPILATION_CACHE_DIR"] = str(expected)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COMPILING],
            capture_output=True,
            text=True,
            env={**clean, **more, "JAX_PLATFORMS": "cpu"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert [folder for folder, _ in found] == [str(expected)] * 2
    assert list(expected.iterdir())
    first, second = (hits for _, hits in found)
    assert first == 0 and second >= 1


KERAS = """
import json, sys
if sys.argv[1] == "process":
    from hiercam_keras import runtime
    runtime.prepare_process()
    runtime.start(0)
import keras
if sys.argv[1] == "library":
    from hiercam_keras.cam import Explainer
image = keras.Input((8, 8, 3))
conv = keras.layers.Conv2D(2, 1, activation="softmax")
norm = keras.layers.BatchNormalization()
maps = norm(conv(image))
print(json.dumps({
    "kernel": list(conv.kernel.shape), "axis": norm.axis, "output": maps.shape,
    "format": keras.config.image_data_format(), "floatx": keras.config.floatx(),
    "epsilon": keras.config.epsilon(), "backend": keras.backend.backend(),
    "dtype": conv.kernel.dtype, "most": keras.config.max_epochs(),
    "nnx": keras.config.is_nnx_enabled(),
}))
"""


@pytest.mark.parametrize("kind", ["process", "library"])
def test_keras_json_changes_the_library_and_no_training(tmp_path, kind):
    """Images are channels-last, independent of ~/.keras/keras.json."""
    theirs = {
        "image_data_format": "channels_first",
        "floatx": "float64",
        "epsilon": 0.01,
        "backend": "torch",
        "nnx_enabled": kind == "process",
    }
    (tmp_path / "keras.json").write_text(json.dumps(theirs))
    done = subprocess.run(
        [sys.executable, "-c", KERAS, kind],
        capture_output=True,
        text=True,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("KERAS_")},
            "KERAS_HOME": str(tmp_path),
            "KERAS_BACKEND": "jax",
            "JAX_ENABLE_X64": "1",
            **({"KERAS_MAX_EPOCHS": "1"} if kind == "process" else {}),
        },
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == "jax" and found["most"] is None
    if kind == "process":
        assert found["kernel"] == [1, 1, 3, 2]
        assert found["output"] == [None, 8, 8, 2]
        assert (found["format"], found["floatx"]) == ("channels_last", "float32")
        assert (found["epsilon"], found["dtype"]) == (1e-7, "float32")
        assert found["nnx"] is False
        assert "KERAS_MAX_EPOCHS is set and has no effect" in done.stderr
    else:
        assert found["kernel"] == [1, 1, 8, 2]
        assert (found["format"], found["floatx"]) == ("channels_first", "float64")
        assert found["epsilon"] == 0.01


def test_imports_are_not_examined_by_the_collector_again():
    def kept():
        return gc.get_freeze_count()

    assert gc.isenabled()
    before = kept()
    with pytest.raises(ZeroDivisionError), runtime.imports():
        assert not gc.isenabled()
        objects = [[] for _ in range(1000)]
        1 / 0  # noqa: B018
    try:
        assert gc.isenabled() and kept() >= before + len(objects)
    finally:
        gc.unfreeze()
