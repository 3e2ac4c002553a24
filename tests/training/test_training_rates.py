"""Rates by layer, the frozen warm-up, clipping and averaged weights."""

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from hiercam_keras.training import compiling, rates
from hiercam_keras.training.optimizers import make_optimizer

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = np.random.default_rng(1).integers(0, 2, 64, np.int32)


def options(**fields) -> ConfigDict:
    train = default.get_config().train
    train.update({"learning_rate": 0.1, "epochs": 4, "optimizer": "sgd", **fields})
    return train


def make_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="first", activation="tanh")(inputs)
    x = keras.layers.Dense(4, name="middle", activation="tanh")(x)
    x = keras.layers.Dense(4, name="last", activation="tanh")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="logits_family")(x))


def fit(train, batches=1, steps_per_epoch=2):
    model = make_model()
    before = {w.path: np.array(w.value) for w in model.weights}
    compiling.compile_model(model, {"family": 2}, train, steps_per_epoch)
    rows = slice(0, 16 * batches)
    model.fit(X[rows], Y[rows], 16, 1, 0, shuffle=False)
    moved = {w.path: np.array(w.value) - before[w.path] for w in model.weights}
    return model, moved


def rates_by_path(backbone_rate, depth_rate):
    model = make_model()
    found = rates.layer_rates(model, backbone_rate, depth_rate)
    return {v.path: found[id(v)] for v in model.trainable_variables if id(v) in found}


def test_rates_of_layers_by_hand():
    """Half of the rate for the backbone's last layer, an eighth of that at its first;
    between them sqrt(1/8)."""
    found = rates_by_path(0.5, 0.125)
    assert found == pytest.approx(
        {
            "first/kernel": 0.0625,
            "first/bias": 0.0625,
            "middle/kernel": 0.5 * 0.125**0.5,
            "middle/bias": 0.5 * 0.125**0.5,
            "last/kernel": 0.5,
            "last/bias": 0.5,
        }
    )


def test_a_backbone_of_one_layer_has_the_rate_of_the_last():
    """A preset of keras-hub is one layer."""
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="all")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits_family")(x))
    assert set(rates.layer_rates(model, 0.1, 0.01).values()) == {0.1}


def test_one_step_is_scaled_layer_by_layer():
    _, plain = fit(options())
    _, scaled = fit(options(backbone_rate=0.5, depth_rate=0.125))
    own = rates_by_path(0.5, 0.125)
    for path, step in plain.items():
        np.testing.assert_allclose(
            scaled[path], step * own.get(path, 1.0), rtol=2e-3, atol=1e-7
        )
    assert np.abs(plain["first/kernel"]).max() > 1e-4


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_backbone_waits_for_the_heads(optimizer):
    """Frozen for one epoch of two steps: it moves in the third, decay or not."""
    train = options(optimizer=optimizer, warmup_frozen_epochs=1.0, weight_decay=0.01)
    for batches in (1, 2, 3):
        _, moved = fit(train, batches)
        waits = batches <= 2
        for path, step in moved.items():
            if path.startswith("logits"):
                assert step.any()
            else:
                assert step.any() != waits, path


def test_decay_follows_the_rate():
    """With no gradient AdamW only decays: w (1 - wd lr), at half the rate below."""
    train = options(optimizer="adamw", weight_decay=0.5, backbone_rate=0.5)
    model = make_model()
    compiling.compile_model(model, {"family": 2}, train, 2)
    before = {w.path: np.array(w.value) for w in model.trainable_weights}
    nothing = [np.zeros(w.shape, "float32") for w in model.trainable_weights]
    model.optimizer.apply(nothing, model.trainable_weights)
    for weight in model.trainable_weights:
        rate = 0.1 if weight.path.startswith("logits") else 0.05
        expected = before[weight.path] * (1 - 0.5 * rate)
        np.testing.assert_allclose(weight, expected, rtol=1e-5)


def test_clipping_is_of_all_gradients_together():
    model, moved = fit(options(clip_norm=1e-3))
    norm = np.sqrt(sum(np.square(step).sum() for step in moved.values()))
    # Nesterov's first step is (1 + 0.9) times rate times gradient.
    assert norm == pytest.approx(1.9 * 0.1 * 1e-3, rel=1e-2)
    assert model.optimizer.global_clipnorm == 1e-3


def test_averages_are_put_in_only_where_they_are_wanted():
    model, moved = fit(options(ema_momentum=0.5), batches=2)
    weights = [np.array(w.value) for w in model.trainable_weights]
    averages = [
        np.array(a.value) for a in model.optimizer._model_variables_moving_average
    ]
    # Keras would have written them into the model at the end of `fit`.
    assert not np.allclose(weights[0], averages[0])
    with rates.averaged(model):
        for weight, average in zip(model.trainable_weights, averages, strict=True):
            np.testing.assert_array_equal(weight, average)
    for weight, value in zip(model.trainable_weights, weights, strict=True):
        np.testing.assert_array_equal(weight, value)
    rates.use_averages(model)
    np.testing.assert_array_equal(model.trainable_weights[0], averages[0])


def test_an_average_by_hand():
    """First step: the weight itself; then half of it and half of the next."""
    train = options(ema_momentum=0.5, optimizer="adam")
    model = make_model()
    compiling.compile_model(model, {"family": 2}, train, 2)
    seen = []
    for start in (0, 16):
        model.train_on_batch(X[start : start + 16], Y[start : start + 16])
        seen.append(np.array(model.trainable_weights[0].value))
    rates.use_averages(model)
    np.testing.assert_allclose(
        model.trainable_weights[0], (seen[0] + seen[1]) / 2, rtol=1e-6
    )


def test_without_averages_nothing_happens():
    model, _ = fit(options())
    before = np.array(model.trainable_weights[0].value)
    with rates.averaged(model):
        np.testing.assert_array_equal(model.trainable_weights[0], before)
    assert make_optimizer(options(), 2).use_ema is False
