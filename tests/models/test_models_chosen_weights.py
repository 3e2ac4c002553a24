"""model.weights=auto: ImageNet weights if available, always of the same network."""

import logging
import socket
import time

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models import downloads, efficientnet_lite, imagenet, weights

SETS = ("efficientnet_lite0", "synthetic", "weights=FILE", "weights=none")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No file in Keras' cache, and a host that does not answer."""
    weights._warn_of_fallback.cache_clear()
    monkeypatch.setattr(downloads, "_unreachable", lambda url: "no route to host")
    monkeypatch.setattr(downloads, "cached_files", lambda: [*tmp_path.iterdir()])
    return tmp_path


def test_what_is_named_stays_as_it_is(offline):
    for spec in ("none", "synthetic", "imagenet", "some/file.npz"):
        assert weights.choose(spec, "efficientnet_b0") == spec


def test_without_a_network_ours_are_taken_and_a_warning_says_what_they_are(
    offline, caplog
):
    with caplog.at_level(logging.WARNING):
        assert weights.choose("auto", "efficientnet_b0") == "synthetic"
    (record,) = caplog.records
    text = record.getMessage()
    assert "drawn birds" in text and "no photograph" in text
    assert "no route to host" in text
    assert "--config.model.backbone=efficientnet_lite0" in text
    assert len(text) < 400 and text.count(". ") == 1  # two sentences
    assert weights.choose("auto", "efficientnet_b0") == "synthetic"
    assert len(caplog.records) == 1  # it is said once, whatever the ranks


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b1"])
def test_another_network_is_never_given_other_weights(offline, backbone):
    with pytest.raises(UserError) as error:
        weights.choose("auto", backbone)
    for words in SETS:
        assert words in str(error.value)


def test_imagenets_are_taken_where_the_file_is_there(offline, monkeypatch):
    name = imagenet.FILES["efficientnet_b0"].url.rsplit("/", 1)[-1]
    (offline / name).touch()
    monkeypatch.setattr(
        imagenet.keras.utils, "get_file", lambda *args, **fields: str(offline / name)
    )
    assert weights.choose("auto", "efficientnet_b0") == "imagenet"


def test_of_a_package_and_of_a_users_function(offline, monkeypatch):
    found = []
    monkeypatch.setattr(efficientnet_lite, "weights_file", found.append)
    assert weights.choose("auto", "efficientnet_lite0") == "imagenet"
    assert found == ["efficientnet_lite0"]
    assert weights.choose("auto", "mine:build") == "none"


@pytest.fixture
def silent():
    """URL of a server that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.mark.parametrize("stage", ["connection", "download"])
def test_a_silent_host_counts_as_none(silent, stage, monkeypatch, tmp_path):
    """The limit is 10 s; the test shortens it to a fraction of a second."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert downloads.PATIENCE <= 10 and downloads.STALLED <= 10
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "PATIENCE", 0.4)
    monkeypatch.setattr(downloads, "STALLED", 0.4)
    if stage == "download":
        monkeypatch.setattr(downloads, "_unreachable", lambda url: None)
    file = imagenet.ImagenetFile(f"{silent}no_such_weights.h5", "0" * 32)
    monkeypatch.setitem(imagenet.FILES, "efficientnet_b0", file)
    start = time.monotonic()
    assert weights.choose("auto", "efficientnet_b0") == "synthetic"
    assert time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None
