"""Nested layers and variables, and weight files that must match all of them."""

import itertools

import keras
import numpy as np
import pytest
import user_networks

from hiercam_keras.errors import UserError
from hiercam_keras.models import backbones, heads, weights
from hiercam_keras.models.layers import named_variables

LABELS = {"family": 2, "species": 3}
NAMES = ("nested", "nested_last", "attention", "block")


def model_of(name, seed=0, **options):
    keras.utils.set_random_seed(seed)
    function = f"user_networks:{name}"
    model = heads.build_model(function, 32, LABELS, **options)
    if not options:
        for number, variable in enumerate(model.weights):
            variable.assign(
                np.random.default_rng((seed, number)).random(variable.shape)
            )
    return model


def test_every_variable_has_a_name_of_its_own():
    names = list(named_variables(user_networks.nested(32)))
    assert sorted(names) == sorted(
        [
            "conv/kernel",
            "conv/bias",
            "inner/conv/kernel",
            "inner/conv/bias",
            "inner/bn/gamma",
            "inner/bn/beta",
            "inner/bn/moving_mean",
            "inner/bn/moving_variance",
            "inner/innermost/conv/kernel",
            "inner/innermost/conv/bias",
        ]
    )
    names = list(named_variables(user_networks.block(32)))
    assert [name for name in names if name.startswith("block/")] == [
        "block/variable",
        "block/variable_1",
        "block/inner/kernel",
        "block/inner/bias",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_depend_on_what_was_built_before(name):
    """Keras numbers unnamed layers over the whole process."""
    first, second = (getattr(user_networks, name)(32) for _ in range(2))
    names = list(named_variables(first))
    assert names == list(named_variables(second))
    assert len(names) == len(first.weights)
    assert len({id(v) for v in named_variables(first).values()}) == len(names)


@pytest.mark.parametrize(
    ("name", "suffix"),
    list(itertools.product(NAMES, (".keras", ".npz", ".weights.h5"))),
)
def test_weights_of_every_layer_come_from_a_file(name, suffix, tmp_path):
    trained = model_of(name)
    backbone = backbones.backbone_of(trained, f"user_networks:{name}")
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        trained.save(path)
    elif suffix == ".npz":
        for variable in backbone.weights:
            variable.assign(np.asarray(variable).astype("float16"))
        weights.save_float16(backbone, path, {})
    else:
        backbone.save_weights(path)
    if name == "block" and suffix == ".keras":
        from hiercam_keras.models import user_code

        user_code.use_modules(["user_networks"])
    built = model_of(name, seed=1, weights=str(path))
    new = backbones.backbone_of(built, f"user_networks:{name}")
    expected, got = named_variables(backbone), named_variables(new)
    assert list(got) == list(expected) and len(got) >= 4
    for key, value in expected.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


def test_what_does_not_fit_is_named_and_nothing_changes(tmp_path):
    model_of("nested").save(tmp_path / "nested.keras")
    narrow = user_networks.nested(32)
    weights.save_float16(narrow, tmp_path / "narrow.npz", {})
    arrays, _ = weights.read_npz(tmp_path / "narrow.npz")
    arrays["inner/conv/kernel"] = arrays["inner/conv/kernel"][:2]
    arrays["inner/other/bias"] = arrays.pop("inner/bn/beta")
    arrays[weights.METADATA_KEY] = np.frombuffer(b"{}", "uint8")
    np.savez(tmp_path / "narrow.npz", **arrays)
    user_networks.nested_last(32).save_weights(tmp_path / "last.weights.h5")
    model = user_networks.nested(32)
    before = [np.array(value) for value in model.get_weights()]

    def fails(target, file, words):
        with pytest.raises(UserError, match=words):
            weights.load_backbone_weights(target, tmp_path / file, "user_networks:net")

    fails(
        model,
        "narrow.npz",
        r"narrow.npz does not fit the 10 variables of .*: 1 missing \(inner/bn/beta\); "
        r"1 of another shape \(inner/conv/kernel \(2, 3, 4, 4\), expected "
        r"\(3, 3, 4, 4\)\); 1 in the file alone \(inner/other/bias\)",
    )
    fails(model, "last.weights.h5", r"does not fit .* missing \(layers/")
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    fails(user_networks.attention(32), "nested.keras", r"multi_head_attention/query")
    # Keras ignores datasets that it does not expect.
    user_networks.nested(32).save_weights(tmp_path / "nested.weights.h5")
    fails(shorter(), "nested.weights.h5", r"8 in the file alone \(layers/")
    # A longer network of the same beginning: its layers in the middle are no heads.
    fails(shorter(), "nested.keras", r"8 in the file alone \(inner/conv/kernel")


def shorter():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, 8, activation="relu", name="conv")(image)
    return keras.Model(image, keras.layers.ReLU(name="maps")(x))


def test_a_normalization_of_the_user_keeps_its_constants(tmp_path):
    """Files of earlier versions lack the constants; ImageNet's do not replace them."""

    def network():
        norm = keras.layers.Normalization(name="normalize")
        image = keras.Input((32, 32, 3))
        maps = keras.layers.Conv2D(4, 3, 8, name="conv")(norm(image))
        model = keras.Model(image, maps)
        norm.set_weights([np.full(3, 100.0), np.full(3, 50.0), np.zeros((), "int32")])
        norm.finalize_state()
        return model, norm

    model, _ = network()
    weights.save_float16(model, tmp_path / "new.npz", {})
    arrays, _ = weights.read_npz(tmp_path / "new.npz")
    np.testing.assert_array_equal(arrays["normalize/mean"], np.full(3, 100.0))
    earlier = {key: arrays[key] for key in ("conv/kernel", "conv/bias")}
    np.savez(
        tmp_path / "earlier.npz",
        **earlier,
        **{weights.METADATA_KEY: np.frombuffer(b"{}", "uint8")},
    )
    for file in ("new.npz", "earlier.npz"):
        other, norm = network()
        weights.load_backbone_weights(other, tmp_path / file, "my.networks:net")
        pixel = np.full((1, 1, 1, 3), 150.0, "float32")
        np.testing.assert_allclose(norm(pixel), 50 / np.sqrt(50.0), rtol=1e-5)


def test_a_backbone_that_ends_in_features_is_whole():
    """Layers after the CAM layer belong to the backbone."""

    def build(image_size):
        image = keras.Input((image_size, image_size, 3))
        maps = keras.layers.Conv2D(4, 3, 8, name="mine")(image)
        late = keras.layers.Conv2D(5, 1, name="late")(maps)
        model = keras.Model(image, keras.layers.GlobalMaxPooling2D()(late))
        model.cam_layer = "mine"
        return model

    user_networks.features = build
    model = heads.build_model("user_networks:features", 32, LABELS)
    backbone = backbones.backbone_of(model, "user_networks:features")
    assert set(named_variables(backbone)) == {
        f"{layer}/{name}" for layer in ("mine", "late") for name in ("kernel", "bias")
    }
    with pytest.raises(UserError, match="no layer 'head_dropout'"):
        backbones.backbone_of(backbone, "user_networks:features")


def test_layers_with_the_names_of_the_heads_are_told():
    def build(image_size):
        image = keras.Input((image_size, image_size, 3))
        x = keras.layers.Conv2D(4, 3, 8, name="avg_pool")(image)
        return keras.Model(image, x)

    user_networks.named = build
    with pytest.raises(UserError, match="avg_pool, head_dropout and logits"):
        heads.build_model("user_networks:named", 32, LABELS)
