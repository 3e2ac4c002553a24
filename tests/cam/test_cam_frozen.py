"""Layers that are frozen or trained again between two calls of compiled passes."""

import keras
import numpy as np
import pytest

from hiercam_keras.cam import Explainer
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.training.forward import predict_batch

L = keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 6, 6, 4)).astype("float32")


@pytest.fixture
def model():
    """Two layers of one shape: their weights could be exchanged."""
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 6, 4))
    x = L.Conv2D(4, 1, name="first")(image)
    x = L.Conv2D(4, 1, activation="relu", name="second")(x)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(image, L.Dense(3)(x))


def freeze(model, name):
    for layer in model.layers:
        layer.trainable = layer.name != name


def test_predictions(model):
    expected = np.asarray(model(IMAGES))
    for name in ("", "first", "second", "first"):
        freeze(model, name)
        found = predict_batch(model, IMAGES)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def test_maps(model):
    explain = Explainer(model, "second")
    expected = explain(IMAGES, [0, 1, 2]).cams
    assert np.abs(expected).max() > 0
    for name in ("first", "second"):
        freeze(model, name)
        found = explain(IMAGES, [0, 1, 2]).cams
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def test_scores(model):
    scorer = Scorer(model)
    rows = scorer.rows([0, 1, 2])
    expected = np.asarray(scorer(IMAGES, rows))
    for name in ("first", "second"):
        freeze(model, name)
        found = np.asarray(scorer(IMAGES, rows))
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
