"""Every layer runs in the mode that was asked for, in models of any kind.

A mirrored picture shows: RandomFlip acts unless it is handed training=False.
"""

import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import graph
from hiercam_keras.cam.randomization import randomized
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.models import stateless
from hiercam_keras.training.forward import predict_batch

layers = keras.layers
PICTURES = np.random.default_rng(0).uniform(0, 255, (64, 6, 6, 3)).astype("float32")


class HandedOn(keras.Model):
    def __init__(self):
        super().__init__()
        self.flip = layers.RandomFlip("horizontal")
        self.conv = layers.Conv2D(2, 3, activation="tanh", name="conv")
        self.norm = layers.BatchNormalization(momentum=0.5)
        self.dense = layers.Dense(2)

    def call(self, images, training=False):
        x = self.conv(self.flip(images, training=training))
        x = self.norm(x, training=training)
        return self.dense(layers.Flatten()(x))


class NotHandedOn(HandedOn):
    def call(self, images, training=False):
        return self.dense(layers.Flatten()(self.norm(self.conv(self.flip(images)))))


class WithoutTraining(HandedOn):
    def call(self, images):
        return self.dense(layers.Flatten()(self.norm(self.conv(self.flip(images)))))


class AroundAnother(keras.Model):
    """Two nested models without an argument `training`."""

    def __init__(self):
        super().__init__()
        self.inner = WithoutTraining()

    def call(self, images):
        return self.inner(images)


def stack():
    return [
        layers.RandomFlip("horizontal"),
        layers.Conv2D(2, 3, activation="tanh", name="conv"),
        layers.BatchNormalization(momentum=0.5),
        layers.Flatten(),
        layers.Dense(2),
    ]


def sequential():
    return keras.Sequential([keras.Input((6, 6, 3)), *stack()])


def functional():
    inputs = x = keras.Input((6, 6, 3))
    for layer in stack():
        x = layer(x)
    return keras.Model(inputs, x)


def nested():
    inner = WithoutTraining()
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, inner(inputs))


KINDS = (
    functional,
    sequential,
    nested,
    HandedOn,
    NotHandedOn,
    WithoutTraining,
    AroundAnother,
)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def model(request):
    keras.utils.set_random_seed(1)
    model = request.param()
    model(PICTURES[:1], training=False)  # else the flip has what follows it train
    for weight in model.trainable_weights:
        weight.assign(np.random.default_rng(3).normal(0, 0.05, weight.shape))
    return model


def plain_logits(model):
    """The network without its flip, in float64."""
    kernel, bias, gamma, beta, dense, offset = (
        np.asarray(weight, np.float64) for weight in model.trainable_weights
    )
    windows = np.lib.stride_tricks.sliding_window_view(PICTURES, (3, 3), (1, 2))
    z = np.tanh(np.einsum("bhwcij,ijcd->bhwd", windows.astype(float), kernel) + bias)
    x = z / np.sqrt(1 + 1e-3) * gamma + beta  # fresh statistics: mean 0, variance 1
    return x.reshape(len(x), -1) @ dense + offset


def num_mirrored(model, logits):
    expected = plain_logits(model)
    return int((np.abs(np.asarray(logits) - expected).max(1) > 1e-3).sum())


def test_no_picture_is_mirrored(model):
    result = cam.Explainer(model, "conv", batch_size=64)(PICTURES, [0] * 64)
    assert num_mirrored(model, result.logits) == 0
    assert num_mirrored(model, predict_batch(model, PICTURES)) == 0
    if hasattr(model, "inputs") and model.inputs:  # it says what it takes
        expected = np.diff(plain_logits(model))[:, 0]
        scorer = Scorer(model)
        np.testing.assert_allclose(
            scorer(PICTURES, scorer.rows([1] * 64)), expected, atol=1e-3
        )
        (*_, last) = randomized(model, kind="normal")
        one = cam.Explainer(model, "conv")
        twice = [one(PICTURES, variables=last.variables).logits for _ in range(2)]
        np.testing.assert_array_equal(*twice)


def test_the_test_sees_a_mirrored_picture():
    """Training mode mirrors about half of them."""
    model = functional()
    model(PICTURES[:1], training=False)  # else the flip has what follows it train
    outputs, _ = stateless.call(model, *graph.variables_of(model), PICTURES, training=1)
    plain, _ = stateless.call(
        model, *graph.variables_of(model), PICTURES, training=False
    )
    assert np.abs(np.asarray(outputs) - plain).max() > 1e-3


def test_training_mode_reaches_batch_normalization(model):
    """With momentum 0.5 the moving mean moves halfway to the mean of the batch."""
    values = graph.variables_of(model)
    before = [np.asarray(value) for value in values[1]]
    _, after = stateless.call(model, *values, PICTURES, training=True)
    names = [variable.name for variable in model.non_trainable_variables]
    place = names.index("moving_mean")
    kernel, bias = (np.asarray(w, np.float64) for w in model.trainable_weights[:2])
    pictures = np.stack([PICTURES, PICTURES[:, :, ::-1]])
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), (2, 3))
    z = np.tanh(np.einsum("nbhwcij,ijcd->nbhwd", windows.astype(float), kernel) + bias)
    assert not before[place].any()
    # Either way round: which pictures are mirrored is the layer's own doing.
    bounds = np.sort(z.mean((2, 3)), axis=0).mean(1) / 2
    assert (bounds[0] <= after[place]).all() and (after[place] <= bounds[1]).all()
    assert np.abs(after[place]).min() > 0


def test_variables_are_left_alone(model):
    before = [np.asarray(variable) for variable in model.weights]
    stateless.call(model, *graph.variables_of(model), PICTURES[:2], training=True)
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_fit_trains_the_layers_of_a_functional_model():
    """The program trains Functional models only: Keras hands training on in these, to
    a nested model that does not hand it on, too."""
    keras.utils.set_random_seed(1)
    model = nested()
    model(PICTURES[:1], training=False)
    (mean,) = (v for v in model.non_trainable_variables if v.name == "moving_mean")
    assert not np.asarray(mean).any()
    model.compile("sgd", "mse")
    model.fit(PICTURES, np.zeros((64, 2)), batch_size=64, verbose=0)
    assert np.asarray(mean).all()
