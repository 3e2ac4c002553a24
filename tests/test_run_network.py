"""The explainers that a run's network keeps, and when it makes new ones."""

import jax
import keras
import numpy as np
import pytest

from hiercam_keras.models import model_digest
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy import Lineage, Taxonomy

IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def network():
    """Of three species, with two layers that can be explained."""
    x = pixels = keras.Input((8, 8, 3), name="pixels")
    for name in ("first", "last"):
        conv = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=name)
        x = conv(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(pixels, keras.layers.Dense(3, name="species")(x), name="n")
    tree = Taxonomy([Lineage((name,), ranks=("species",)) for name in "abc"])
    return Network(model, tree, ("species",), "last", batch_size=2)


def same(first, second):
    """Whether explainers share compiled programs; each is an object of its own."""
    assert first is not second
    return first._compiled is second._compiled


def test_an_explainer_with_programs_is_given_again(network):
    explain = network.explainer()
    assert not same(network.explainer(), explain)  # no program yet, so not known
    explain = network.explainer()
    found = explain(IMAGES)
    assert same(network.explainer(), explain)
    assert not same(network.explainer("last"), explain)
    assert not same(network.explainer(method="hirescam"), explain)
    np.testing.assert_array_equal(
        found.cams, network._new_explainer("", "gradcam")(IMAGES).cams
    )


def test_weights_are_those_of_the_call(network):
    explain = network.explainer()
    before = explain(IMAGES).logits
    for one in network.model.weights:
        one.assign(one + 0.5)
    assert same(network.explainer(), explain)
    after = explain(IMAGES).logits
    assert not np.array_equal(after, before)
    fresh = network._new_explainer("", "gradcam")
    np.testing.assert_array_equal(fresh(IMAGES).logits, after)


def replace_activation(network, monkeypatch):
    network.model.get_layer("first").activation = keras.activations.tanh


def replace_method(network, monkeypatch):
    layer = network.model.get_layer("last")
    own = layer.call
    object.__setattr__(layer, "call", lambda *args, **named: -own(*args, **named))


def set_attribute(network, monkeypatch):
    network.model.get_layer("first").strides = (2, 2)


def set_policy(network, monkeypatch):
    monkeypatch.setattr(keras.config, "epsilon", lambda: 1e-3)


@pytest.mark.parametrize(
    "change", [replace_activation, replace_method, set_attribute, set_policy]
)
def test_after_a_change_of_the_model_it_is_a_new_one(network, monkeypatch, change):
    explain = network.explainer()
    explain(IMAGES)
    change(network, monkeypatch)
    again = network.explainer()
    assert not same(again, explain)
    fresh = network._new_explainer("", "gradcam")(IMAGES)
    np.testing.assert_array_equal(again(IMAGES).logits, fresh.logits)


def test_a_layer_in_place_of_an_equal_one_is_another(network):
    explain = network.explainer()
    explain(IMAGES)
    digest, settings, layers = explain._traced.pop()
    assert digest == model_digest.of_model(network.model)
    explain._traced.add((digest, settings, (1, *layers[1:])))
    assert not same(network.explainer(), explain)


def test_programs_of_two_settings_are_not_given_again(network):
    explain = network.explainer()
    explain(IMAGES)
    with jax.default_matmul_precision("highest"):
        assert not same(network.explainer(), explain)
        network._explainers.clear()
    explain = network.explainer()
    explain(IMAGES)
    with jax.default_matmul_precision("highest"):
        explain(IMAGES)
    assert not same(network.explainer(), explain)


def test_what_has_no_digest_is_made_anew(network, monkeypatch):
    monkeypatch.setattr(model_digest, "of_model", lambda model: None)
    explain = network.explainer()
    explain(IMAGES)
    assert not same(network.explainer(), explain)


def test_few_are_kept(network):
    for layer in ("first", "last", "first:input", "last:input"):
        network.explainer(layer)
    assert [layers for layers, _ in network._explainers] == [
        "first:input",
        "last:input",
    ]


def test_what_a_caller_sets_stays_with_the_caller(network):
    explain = network.explainer()
    explain(IMAGES)
    explain.batch_size = 1
    again = network.explainer()
    assert same(again, explain) and again.batch_size == 2
