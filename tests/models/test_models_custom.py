"""Backbones built by a user's function, and chained heads."""

import sys
import types

import keras
import numpy as np
import pytest

from hiercam_keras.cam import Explainer, targets
from hiercam_keras.errors import UserError
from hiercam_keras.models import chained_heads, files, heads


def maps(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(4, 3, 4, activation="relu", name="mine")(image)
    return keras.Model(image, x)


def pooled(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(4, 3, 4, activation="relu", name="mine")(image)
    x = keras.layers.Conv2D(5, 1, name="late")(x)
    model = keras.Model(image, keras.layers.GlobalMaxPooling2D()(x))
    model.cam_layer = "mine"
    return model


def strided(image_size, output_stride):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(4, 3, output_stride, "same", name="mine")(image)
    return keras.Model(image, x)


def transformer(image_size):
    """A ViT of one block; its tokens, without the class token, as a map."""
    side = image_size // 4
    image = keras.Input((image_size, image_size, 3))
    patches = keras.layers.Conv2D(8, 4, 4)(image)
    tokens = keras.layers.Reshape((side * side, 8))(patches)
    tokens = keras.layers.ZeroPadding1D((1, 0))(tokens)  # a class token of zeros
    seen = keras.layers.MultiHeadAttention(2, 4)(tokens, tokens)
    tokens = keras.layers.LayerNormalization()(tokens + seen)
    tokens = keras.layers.Cropping1D((1, 0))(tokens)
    maps = keras.layers.Reshape((side, side, 8), name="mine")(tokens)
    return keras.Model(image, maps)


def unnamed(image_size):
    model = pooled(image_size)
    return keras.Model(model.input, model.output)


def lost(image_size):
    model = pooled(image_size)
    model.cam_layer = "theirs"
    return model


def bytes_in(image_size):
    image = keras.Input((image_size, image_size, 3), dtype="uint8")
    return keras.Model(image, keras.layers.Rescaling(1.0)(image))


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """A user's module with all of these functions."""
    module = types.ModuleType("my_networks")
    for function in (maps, pooled, transformer, strided, unnamed, lost, bytes_in):
        setattr(module, function.__name__, function)
    module.nothing = lambda image_size: None
    module.broken = lambda image_size: 1 / 0
    module.small = lambda image_size: maps(8)
    monkeypatch.setitem(sys.modules, "my_networks", module)


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), "uint8")
LABELS = {"family": 2, "species": 4}


@pytest.mark.parametrize("function", ["maps", "pooled", "transformer"])
def test_a_function_of_the_user_gives_a_backbone(function, tmp_path):
    model = heads.build_model(f"my_networks:{function}", 16, LABELS)
    assert model.cam_layer == "mine"
    assert {r: x.shape for r, x in model.predict_on_batch(IMAGES).items()} == {
        "family": (2, 2),
        "species": (2, 4),
    }
    result = Explainer(model, model.cam_layer)(IMAGES, targets.label(1, "species"))
    assert result.cams.shape == (2, 1, 4, 4)
    files.save_model(tmp_path / "model.keras", model, {"cam_layer": model.cam_layer})
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict_on_batch(IMAGES)["species"],
        model.predict_on_batch(IMAGES)["species"],
    )


@pytest.mark.parametrize(
    "name,size,stride,words",
    [
        ("strided", 16, 16, r"--config.data.image_size=32 or more, or \S+_stride=8\.$"),
        ("strided", 8, 8, r"--config.data.image_size=16 or more\.$"),
        ("strided", 32, 32, r"image_size=64 or more, or \S+_stride=16 or \S+_stride=8"),
        ("maps", 4, 32, r"layer 'mine' are one cell.*image_size=64 or more\.$"),
    ],
)
def test_maps_of_one_cell_are_refused_with_what_would_do(name, size, stride, words):
    function = f"my_networks:{name}"
    model = heads.build_model(function, size, LABELS, output_stride=stride)
    with pytest.raises(UserError, match=words):
        heads.check_cells(model, function, size, stride)
    double = heads.build_model(function, 2 * size, LABELS, output_stride=stride)
    if name == "strided":  # the size that is named first does
        heads.check_cells(double, function, 2 * size, stride)


def test_a_function_may_set_its_own_stride():
    model = heads.build_model("my_networks:strided", 16, LABELS, output_stride=8)
    assert model.get_layer("mine").output.shape[1:3] == (2, 2)
    with pytest.raises(UserError, match="no parameter output_stride.*output_stride=32"):
        heads.build_model("my_networks:maps", 16, LABELS, output_stride=8)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_nets:maps", r"module 'my_nets' cannot be imported.*PYTHONPATH"),
        ("my_networks:map", "has no function 'map'"),
        ("my_networks:nothing", "returned a NoneType, expected a Functional"),
        ("my_networks:broken", r"image_size=16 failed \(ZeroDivisionError"),
        ("my_networks:small", r"takes \(None, 8, 8, 3\), expected.*16, 16, 3"),
        ("my_networks:unnamed", r"ends in \('batch', 5\), expected feature maps"),
        ("my_networks:lost", "'theirs' is no layer.*mine, late"),
        ("my_networks:bytes_in", "its input is uint8, expected a float"),
    ],
)
def test_what_does_not_keep_the_contract_is_told(name, words):
    with pytest.raises(UserError, match=words) as error:
        heads.build_model(name, 16, LABELS)
    assert "\n" not in str(error.value)


def test_weights_of_a_function_come_from_a_file(tmp_path):
    model = maps(16)
    model.save_weights(tmp_path / "mine.weights.h5")
    path = str(tmp_path / "mine.weights.h5")
    built = heads.build_model("my_networks:maps", 16, LABELS, weights=path)
    np.testing.assert_array_equal(
        built.get_layer("mine").kernel, model.get_layer("mine").kernel
    )
    with pytest.raises(UserError, match="imagenet: there are none for backbone"):
        heads.build_model("my_networks:maps", 16, LABELS, weights="imagenet")


@pytest.mark.parametrize("units", [0, 3])
def test_the_finer_head_sees_the_coarser_one(units):
    """A chained head's input also has the features, or logits, of the coarser head."""
    labels = {"species": 4, "order": 2, "family": 3}  # in any order
    model = heads.build_model(
        "my_networks:maps", 16, labels, head_features=units, head_chain="on"
    )
    assert list(model.output) == ["species", "order", "family"]
    layer = "features_{}" if units else "logits_{}"
    widths = {
        rank: model.get_layer(layer.format(rank)).kernel.shape[0] for rank in labels
    }
    assert widths == (
        {"order": 4, "family": 7, "species": 7}
        if units
        else {"order": 4, "family": 4 + 2, "species": 4 + 3}
    )


def gradient(model, rank, kernel, training):
    import jax

    variables = [v.value for v in model.trainable_variables]
    state = [v.value for v in model.non_trainable_variables]
    at = [v.path for v in model.trainable_variables].index(kernel.path)

    def score(values):
        outputs, _ = model.stateless_call(values, state, IMAGES, training=training)
        return outputs[rank].sum()

    return np.asarray(jax.grad(score)(variables)[at])


def test_the_gradient_stops_in_training_only(tmp_path):
    """A CAM of the fine head includes the gradient through the coarse head."""
    model = heads.build_model(
        "my_networks:maps",
        16,
        LABELS,
        dropout=0.0,
        head_features=3,
        head_chain="stop_gradient",
    )
    kernel = model.get_layer("features_family").kernel
    assert not gradient(model, "species", kernel, training=True).any()
    assert gradient(model, "family", kernel, training=True).any()
    assert gradient(model, "species", kernel, training=False).any()
    files.save_model(tmp_path / "model.keras", model, {})
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("handed_species")) is keras.layers.Identity
    np.testing.assert_array_equal(
        loaded.predict_on_batch(IMAGES)["species"],
        model.predict_on_batch(IMAGES)["species"],
    )


def test_a_chain_of_ranks_of_one_size_goes_in_the_order_given():
    model = heads.build_model(
        "my_networks:maps", 16, {"genus": 3, "species": 3}, head_chain="on"
    )
    handed = model.get_layer("chain_species").input[1]
    assert handed is model.get_layer("logits_genus").output
    assert "chain_genus" not in {layer.name for layer in model.layers}


def test_wrong_chains_are_told():
    features = keras.Input((4,))
    with pytest.raises(UserError, match="head_chain is 'off', expected one of none"):
        chained_heads.rank_logits(features, LABELS, 0, "off")
    with pytest.raises(UserError, match="head_features is -1"):
        chained_heads.rank_logits(features, LABELS, -1, "on")
