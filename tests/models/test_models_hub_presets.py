"""Presets of keras-hub as networks by name and as backbones, without downloads."""

import functools

import hub_networks
import jax
import keras
import numpy as np
import pytest
from hub_networks import FAMILIES, SIDE, pictures

import hiercam_keras as hc
from hiercam_keras.errors import UserError
from hiercam_keras.models import files, heads, named, weights
from hiercam_keras.models.layers import named_variables

keras_hub = pytest.importorskip(
    "keras_hub", reason="install requirements-keras-hub.txt to read its presets"
)
pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information")
LABELS = {"family": 2, "species": 4}
WITH_HEAD = ("vit", "deit", "swin", "mit")


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """A backbone of each family: its name for the program."""
    root = tmp_path_factory.mktemp("presets")
    return {name: hub_networks.save_backbone(name, root / name) for name in FAMILIES}


@pytest.mark.parametrize("family", WITH_HEAD)
def test_a_classifier_gives_the_logits_of_keras_hub(family, tmp_path):
    name, net = hub_networks.save_classifier(family, tmp_path / family)
    found = named.load(name)
    images = pictures()
    wanted = net.predict(images, verbose=0)  # with its own preprocessor
    assert np.ptp(wanted) > 0.01
    assert np.abs(found.model.predict_on_batch(images) - wanted).max() < 1e-5
    assert (found.preprocessing, found.image_size) == ("model", SIDE)
    assert found.source["package"] == "keras-hub"
    assert named.short(name) == family


def test_a_softmax_at_the_end_is_left_out(tmp_path):
    name, net = hub_networks.save_classifier("vit", tmp_path, activation="softmax")
    logits = hc.load_model(name).predict_on_batch(pictures())
    shares = net.predict(pictures(), verbose=0)
    np.testing.assert_allclose(keras.ops.softmax(logits), shares, atol=1e-6)
    assert np.abs(np.sum(logits, 1) - 1).min() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_without_a_head_is_refused_with_the_way_to_train(family, presets):
    name = presets[family]
    with pytest.raises(UserError, match="backbone without a head.*--mode=train") as e:
        named.load(name)
    assert f"--config.model.backbone={name}," in str(e.value)
    assert "--config.train.freeze_through=backbone" in str(e.value)


def expected_features(family, tokens):
    """In NumPy, from the tokens (B, T, C) or maps (B, h, w, C) of the last layer."""
    tokens = np.float64(tokens)
    if family in ("vit", "deit"):
        return tokens[:, 0]
    if family.startswith("dino"):
        special = {"dinov2": 3, "dinov3": 5}[family]
        return np.concatenate([tokens[:, 0], tokens[:, special:].mean(1)], 1)
    return tokens.reshape(len(tokens), -1, tokens.shape[-1]).mean(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_of_a_backbone_are_those_of_the_literature(family, presets):
    model = heads.build_model(presets[family], SIDE, LABELS, weights="imagenet")
    net = hub_networks.backbone(family)
    scaled = pictures() * np.float32(hub_networks.SCALE) + hub_networks.OFFSET
    given = keras.tree.pack_sequence_as(net.input, [scaled.astype("float32")])
    tokens = net.predict_on_batch(given)
    drop = model.get_layer("head_dropout")
    features = keras.Model(model.input, drop.input).predict_on_batch(pictures())
    assert np.std(features) > 0.01
    np.testing.assert_allclose(
        features, expected_features(family, tokens), rtol=1e-4, atol=1e-4
    )
    (layer,) = hc.Explainer(model).layers
    assert layer.endswith(":input") == (family not in ("swin", "mit"))


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_without_dropout_and_the_file_gives_it_back(
    family, presets, tmp_path
):
    """Weights that a training changed come back bit for bit, those of interpolated
    position embeddings too."""
    model = heads.build_model(
        presets[family], SIDE, LABELS, weights="preset", dropout=0.0
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(weight + rng.normal(0, 0.02, weight.shape))
    logits = [answers(model, training)["species"] for training in (False, True)]
    np.testing.assert_array_equal(*logits)
    files.save_model(tmp_path / "model.keras", model, {})
    loaded, _ = files.load_model(tmp_path / "model.keras", "none")
    before, after = named_variables(model), named_variables(loaded)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def answers(model, training):
    """The logits in one compiled pass."""
    values = (
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )
    call = functools.partial(model.stateless_call, training=training)
    return jax.jit(call)(*values, pictures())[0]


def test_weights_by_name_and_of_a_file(presets, tmp_path):
    name = presets["dinov2"]
    assert weights.choose("auto", name) == weights.choose("imagenet", name) == "preset"
    assert weights.choose("none", name) == "none"
    own = heads.build_model(name, SIDE, LABELS, weights="preset")
    other = heads.build_model(name, SIDE, LABELS, weights="none")
    kernel = "backbone/backbone_encoder/layers_0/mlp/fc1/kernel"
    one, two = named_variables(own), named_variables(other)
    assert np.abs(np.asarray(one[kernel]) - np.asarray(two[kernel])).max() > 0.01
    files.save_model(tmp_path / "model.keras", own, {})
    path = str(tmp_path / "model.keras")
    third = named_variables(heads.build_model(name, SIDE, LABELS, weights=path))
    for key in one:
        if key.startswith("backbone/"):
            np.testing.assert_array_equal(one[key], third[key], err_msg=key)


def test_sizes_and_strides_that_a_preset_cannot_have(presets):
    with pytest.raises(UserError, match="for images of 48 x 48 px.*image_size=48"):
        heads.build_model(presets["vit"], 64, LABELS, weights="preset")
    larger = heads.build_model(presets["dinov2"], 64, LABELS, weights="preset")
    explain = hc.Explainer(larger)
    images = np.zeros((1, 64, 64, 3), "uint8")
    asked = hc.targets.label(1, "species")
    assert explain(images, asked).cams.shape == (1, 1, 8, 8)
    with pytest.raises(UserError, match="stride of its patches; use .*stride=32"):
        heads.build_model(presets["vit"], SIDE, LABELS, output_stride=16)


def test_a_preset_that_does_not_say_its_pixels(tmp_path):
    hub_networks.backbone("vit").save_to_preset(str(tmp_path))
    name = f"keras_hub:{tmp_path}"
    with pytest.raises(UserError, match="no image converter.*save_to_preset"):
        heads.build_model(name, SIDE, LABELS)
    hub_networks.converter("vit", scale=None, offset=None).save_to_preset(str(tmp_path))
    layer = heads.build_model(name, SIDE, LABELS).get_layer("rescale")
    assert (layer.scale, layer.offset) == (1.0, 0.0)


def test_what_is_no_preset(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no preset. Expected a folder with"):
        named.load(f"keras_hub:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded .*save_to_preset wrote"):
        named.load(f"keras_hub:{tmp_path}")
    wanted = "nearest name is keras_hub:vit_base_patch16_224_imagenet"
    with pytest.raises(UserError, match=wanted):
        heads.build_model("keras_hub:vit_base_patch16_225_imagenet", SIDE, LABELS)

    def unreachable(*args, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr(keras_hub.models.ImageClassifier, "from_preset", unreachable)
    with pytest.raises(UserError, match="Name or service.*Without a network") as error:
        named.load("keras_hub:vit_base_patch16_224_imagenet")
    assert "\n" not in str(error.value) and "keras_hub:FOLDER" in str(error.value)


def test_a_text_network_is_refused(tmp_path):
    hub = keras_hub.models
    hub.BertBackbone(20, 1, 1, 8, 16, max_sequence_length=8).save_to_preset(
        str(tmp_path)
    )
    with pytest.raises(UserError, match="takes arrays of shape .*expected RGB images"):
        heads.build_model(f"keras_hub:{tmp_path}", SIDE, LABELS)
