"""EfficientNetB0: sizes, input, heads, normalization, weights from every kind of file.

One backbone of 32 px serves all tests here: building it takes seconds.
"""

import hashlib
import zipfile

import h5py
import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models import backbones, imagenet, weights
from hiercam_keras.models.heads import build_model, set_momentum


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(0)
    return backbones.build_backbone("efficientnet_b0", 32)


@pytest.fixture
def blank(backbone):
    """The backbone with modified weights, restored at the end."""
    values = backbone.get_weights()
    backbone.set_weights([value * 0 for value in values])
    yield backbone
    backbone.set_weights(values)
    weights.set_normalization(backbone)


def draw_weights(model, seed=1):
    """Random values for every variable but Normalization's, that float16 can hold."""
    rng = np.random.default_rng(seed)
    for name, variable in variables_of(model).items():
        value = rng.uniform(0.1, 1.0, variable.shape).astype("float16")
        if name.endswith("moving_variance"):
            value = value.astype("float32") * np.float32(1 / 3)
        variable.assign(value.astype("float32"))


def variables_of(model):
    """All variables except those of Normalization, which other tests cover."""
    named = weights.named_variables(model)
    return {k: v for k, v in named.items() if not k.startswith("normalization/")}


def values_of(model):
    return {k: np.asarray(v) for k, v in variables_of(model).items()}


def assert_same_weights(model, expected):
    got = values_of(model)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_parameter_count_and_cam_layer(backbone):
    # The published figure for EfficientNetB0 without its top, Normalization included.
    assert backbone.count_params() == 4_049_571
    trainable = sum(int(np.prod(w.shape)) for w in backbone.trainable_weights)
    assert trainable == 4_007_548
    layer = backbones.cam_layer("efficientnet_b0")
    assert backbone.get_layer(layer).output.shape == (None, 1, 1, 1280)
    assert [layer.name for layer in backbone.layers][-1] == layer


def test_normalization_is_that_of_imagenet(backbone):
    norm = next(
        layer
        for layer in backbone.layers
        if isinstance(layer, keras.layers.Normalization)
    )
    until = keras.Model(backbone.input, norm.output)
    white = np.full((1, 32, 32, 3), 255, "uint8")
    # (1 - mean) / std, worked out by hand for red: 0.515 / 0.229.
    np.testing.assert_allclose(until(white)[0, 0, 0, 0], 2.2489083, rtol=1e-5)
    black = until(white * 0)[0, 0, 0]
    expected = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(black, expected, rtol=1e-5)
    halves = until(np.full((1, 32, 32, 3), 127.5, "float32"))[0, 0, 0]
    np.testing.assert_allclose(halves, (np.ravel(until(white)[0, 0, 0]) + black) / 2,
                               atol=1e-5)  # fmt: skip


def test_unknown_backbone_is_told():
    with pytest.raises(UserError, match="'b99' is not known.*efficientnet_b0"):
        backbones.build_backbone("b99", 32)


def test_model_with_two_heads():
    model = build_model(
        "efficientnet_b0",
        64,
        {"family": 4, "species": 9},
        output_stride=16,
        bn_momentum=0.9,
        dropout=0.1,
    )
    assert model.input.name == "image"
    assert {rank: out.shape for rank, out in model.output.items()} == {
        "family": (None, 4),
        "species": (None, 9),
    }
    assert model.get_layer("logits_species").units == 9
    assert model.get_layer("top_activation").output.shape == (None, 4, 4, 1280)
    momenta = {
        layer.momentum
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.9}
    assert model.get_layer("head_dropout").rate == 0.1
    inner = backbones.backbone_of(model, "efficientnet_b0")
    assert inner.count_params() == 4_049_571


def test_bad_heads_are_told(small_model):
    with pytest.raises(UserError, match="'class' has 1 label"):
        build_model("efficientnet_b0", 32, {"class": 1})
    with pytest.raises(UserError, match="at least one rank"):
        build_model("efficientnet_b0", 32, {})
    with pytest.raises(UserError, match="bn_momentum=1.0"):
        set_momentum(small_model, 1.0)


def test_float16_file_round_trip(blank, tmp_path):
    draw_weights(blank)
    expected = values_of(blank)
    path = tmp_path / "weights.npz"
    weights.save_float16(blank, path, {"steps": 7})
    assert path.stat().st_size < 10e6
    arrays, metadata = weights.read_npz(path)
    assert metadata == {"steps": 7}
    kinds = {
        (name.endswith("moving_variance"), array.dtype.name)
        for name, array in arrays.items()
        if not name.startswith("normalization/")
    }
    assert kinds == {(True, "float32"), (False, "float16")}
    draw_weights(blank, seed=2)
    weights.load_backbone_weights(blank, path)
    assert_same_weights(blank, expected)
    with zipfile.ZipFile(path) as file:
        assert not file.testzip()


def test_what_float16_cannot_hold_is_refused(blank, tmp_path):
    blank.get_layer("top_bn").gamma.assign(np.full(1280, 1e5))
    with pytest.raises(ValueError, match="top_bn/gamma"):
        weights.save_float16(blank, tmp_path / "weights.npz", {})
    assert not list(tmp_path.iterdir())


def test_keras_files_give_their_backbone(blank, tmp_path):
    draw_weights(blank)
    expected = values_of(blank)
    logits = keras.layers.Dense(3, name="logits_order")(
        keras.layers.GlobalAveragePooling2D()(blank.output)
    )
    keras.Model(blank.input, logits).save(tmp_path / "model.keras")
    blank.save_weights(tmp_path / "backbone.weights.h5")
    for name in ("model.keras", "backbone.weights.h5"):
        draw_weights(blank, seed=2)
        weights.load_backbone_weights(blank, str(tmp_path / name))
        assert_same_weights(blank, expected)


def write_legacy_h5(model, path, variance):
    """A file with the layout of efficientnetb0_notop.h5 and the given Normalization."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{w.name}:0" for w in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)
            if isinstance(layer, keras.layers.Normalization):
                group[names[1]][...] = variance
        assert len(layers) > 100


def publish(monkeypatch, url, md5="0" * 32):
    """Replaces the URL and the checksum of the published file of B0."""
    file = imagenet.ImagenetFile(url, md5, rescaled=True)
    monkeypatch.setitem(imagenet.FILES, "efficientnet_b0", file)


def test_imagenet_file_computes_what_keras_graph_does(blank, tmp_path, monkeypatch):
    """Keras' graph for these weights has one more Rescaling after Normalization."""
    draw_weights(blank)
    expected = values_of(blank)
    path = tmp_path / "notop.h5"
    file_variance = np.array([0.2, 0.3, 0.4], "float32")
    write_legacy_h5(blank, path, file_variance)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    publish(monkeypatch, path.as_uri(), md5)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    fetch = keras.utils.get_file
    monkeypatch.setattr(
        keras.utils,
        "get_file",
        lambda *a, **k: fetch(*a, **k, cache_dir=str(tmp_path / "cache")),
    )
    draw_weights(blank, seed=2)
    weights.load_backbone_weights(blank, "imagenet")
    assert_same_weights(blank, expected)
    norm = next(x for x in blank.layers if isinstance(x, keras.layers.Normalization))
    pixel = np.array([51.0, 102.0, 204.0], "float32").reshape(1, 1, 1, 3)
    mean = np.asarray(norm.get_weights()[0])
    first = (pixel / 255 - mean) / np.sqrt(file_variance)
    np.testing.assert_allclose(
        norm(pixel / 255), first / np.sqrt(weights.IMAGENET_STD), rtol=1e-5
    )
    # A file of the same layout with another checksum is loaded unchanged.
    publish(monkeypatch, path.as_uri(), "0" * 32)
    weights.load_backbone_weights(blank, path)
    np.testing.assert_allclose(norm.get_weights()[1], file_variance)


def test_download_that_fails_is_told(backbone, tmp_path, monkeypatch):
    absent = (tmp_path / "absent.h5").as_uri()
    publish(monkeypatch, absent)
    fetch = keras.utils.get_file
    monkeypatch.setattr(
        keras.utils,
        "get_file",
        lambda *a, **k: fetch(*a, **k, cache_dir=str(tmp_path)),
    )
    with pytest.raises(
        UserError, match="imagenet: .*could not be had.*give its path.*weights=none"
    ):
        weights.load_backbone_weights(backbone, "imagenet")
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"something else")
    publish(monkeypatch, wrong.as_uri())
    with pytest.raises(UserError, match="could not be had.*hash"):
        weights.load_backbone_weights(backbone, "imagenet")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_that_do_not_fit_are_told(backbone, small_model, tmp_path, monkeypatch):
    def fails(name, match):
        before = values_of(backbone)
        with pytest.raises(UserError, match=match):
            weights.load_backbone_weights(backbone, tmp_path / name)
        assert_same_weights(backbone, before)

    fails("absent.npz", "there is no such file")
    (tmp_path / "weights.txt").write_text("")
    fails("weights.txt", "ends in .keras, .weights.h5, .h5, .npz")
    for name in ("bad.npz", "bad.keras", "bad.h5"):
        (tmp_path / name).write_bytes(b"no such format")
    fails("bad.npz", "bad.npz: damaged")
    fails("bad.keras", "bad.keras: no .keras file")
    fails("bad.h5", "bad.h5: not the weights of")
    small_model.save(tmp_path / "small.keras")
    fails("small.keras", "does not fit the 312 variables of 'efficientnetb0'")
    small_model.save_weights(tmp_path / "small.weights.h5")
    fails("small.weights.h5", "not the weights of 'efficientnetb0'")
    weights.save_float16(backbone, tmp_path / "whole.npz", {})
    arrays, _ = weights.read_npz(tmp_path / "whole.npz")
    arrays["top_bn/gamma"] = arrays["top_bn/gamma"][:-1]
    arrays[weights.METADATA_KEY] = np.frombuffer(b"{}", "uint8")
    np.savez(tmp_path / "cut.npz", **arrays)
    fails(
        "cut.npz", r"1 of another shape \(top_bn/gamma \(1279,\), expected \(1280,\)\)"
    )
    monkeypatch.setattr(weights, "SYNTHETIC_ASSET", "absent.npz")
    with pytest.raises(UserError, match="synthetic: .*absent.npz is missing"):
        weights.load_backbone_weights(backbone, "synthetic")
