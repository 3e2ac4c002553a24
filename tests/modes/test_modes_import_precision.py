"""Imported networks with other numbers inside: int8 weights, half precision; and
sigmoids compared. Their references are the same weights in float32."""

import keras
import numpy as np
import pytest
import tiny_birds
from ml_collections import FrozenConfigDict
from tiny_networks import (
    SIDE,
    asked,
    columns_of,
    families,
    features,
    imported,
    network,
)

from hiercam_keras import tables
from hiercam_keras.cam import targets
from hiercam_keras.modes.load import open_run
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import network as networks
from hiercam_keras.runs import run_folder


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of N pairs of maps: (N,)."""
    a, b = (one.reshape(len(one), -1).astype(np.float64) for one in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def quantized(plain: keras.Model) -> keras.Model:
    model = keras.models.clone_model(plain)
    model.set_weights(plain.get_weights())
    model.get_layer("head").quantize("int8")  # Keras has no int8 convolutions
    assert any(weight.dtype == "int8" for weight in model.weights)
    return model


def half(plain: keras.Model, outputs: int) -> keras.Model:
    """The same layers in bfloat16 with float32 weights, and float32 logits."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        image, x = features()
        scores = keras.layers.Dense(outputs, dtype="float32", name="head")(x)
        model = keras.Model(image, scores, name="net")
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(plain.get_weights())
    assert model.get_layer("conv2").compute_dtype == "bfloat16"
    return model


@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
def test_other_numbers_give_nearly_the_same_answers_and_maps(
    config, tmp_path, species, drawn, kind
):
    plain = network(len(species), seed=3)
    model = quantized(plain) if kind == "int8" else half(plain, len(species))
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    found = {}
    for name, one in (("plain", plain), (kind, model)):
        run = run_folder.read(imported(config, tmp_path / "a", one, species, name))
        data = open_run(
            Settings("cam", FrozenConfigDict(config), data_dir=str(drawn)), run
        )
        explain = networks.load(run, data.config).explainer("conv2")
        found[name] = explain(images, targets.label(np.arange(4)))
    exact, rounded = found.values()
    # The file is asked as Keras asks it, and is not quite the float32 network.
    logits = np.asarray(model(images.astype("float32")), np.float64)
    # In the order of the taxonomy, which is not the network's.
    logits.sort(axis=1)
    np.testing.assert_allclose(np.sort(rounded.logits, 1), logits, atol=2e-3)
    np.testing.assert_allclose(rounded.logits, exact.logits, atol=0.05)
    assert np.isfinite(rounded.cams).all()
    assert not np.array_equal(rounded.cams, exact.cams)
    assert (cosine(rounded.cams, exact.cams) > 0.98).all()


@pytest.mark.slow
def test_networks_with_independent_sigmoids_are_compared(
    config, tmp_path, species, drawn
):
    """There are no steps and no ranks above their own, but answers, maps and a page."""
    fields = {"model.activation": "sigmoid"}
    kinds = families(species)
    one = imported(
        config, tmp_path / "a", network(8, "sigmoid"), species, "one", **fields
    )
    two = imported(
        config, tmp_path / "a", network(4, "sigmoid", 1), kinds, "two", **fields
    )
    out = tmp_path / "out"
    tiny_birds.run(
        "compare", config, runs=(str(one), str(two)), data_dir=str(drawn), out=str(out)
    )
    summary = tables.read_csv(out / "summary.csv")
    assert summary["model"] == ["species", "family"]  # none is asked for another rank
    numbers = tables.read_csv(out / "numbers.csv")
    assert len(numbers["model"]) == 160
    for run, model, rank in ((one, "species", "species"), (two, "family", "family")):
        asked("eval", config, run, drawn)
        said = columns_of(run, "predictions.csv")
        expected = dict(
            zip(said["example_id"], said[f"probability_{rank}"], strict=True)
        )
        mine = [i for i, name in enumerate(numbers["model"]) if name == model]
        for i in mine:
            share = float(expected[numbers["example_id"][i]])
            assert float(numbers["probability"][i]) == pytest.approx(share, abs=1e-5)
    assert tables.read_csv(out / "steps.csv")["rank"] == []
    page = (out / "index.html").read_text()
    assert "step by step" not in page and "asked for" not in summary["model"]
