"""Moving statistics recomputed exactly over given batches."""

import keras
import numpy as np
import pytest

from hiercam_keras.models.batchnorm import reestimate
from hiercam_keras.models.xla_layers import accelerate


@pytest.fixture
def model():
    """(B, 2, 2, 1) -> dropout -> BN -> doubling 1x1 convolution -> BN -> mean."""
    L = keras.layers
    image = keras.Input((2, 2, 1))
    x = L.BatchNormalization(name="first", momentum=0.99)(L.Dropout(0.5)(image))
    x = L.Conv2D(1, 1, kernel_initializer="ones", use_bias=False)(x)
    x = L.BatchNormalization(name="second", momentum=0.99)(x)
    return keras.Model(image, L.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize("kinds", ["none", "auto"])
def test_mean_and_variance_over_all_values(model, kinds):
    accelerate(model, kinds)
    rng = np.random.default_rng(0)
    # Batches of other sizes, and a mean far above the deviation.
    batches = [
        (1000.0 + i + rng.standard_normal((n, 2, 2, 1))).astype("float32")
        for i, n in enumerate((6, 6, 3))
    ]
    others = [np.asarray(v) for v in model.trainable_variables]
    assert reestimate(model, iter(batches)) == 15
    values = np.concatenate(batches).astype("float64")
    first, second = model.get_layer("first"), model.get_layer("second")
    np.testing.assert_allclose(first.moving_mean, [values.mean()], rtol=1e-6)
    np.testing.assert_allclose(first.moving_variance, [values.var()], rtol=1e-3)
    # Normalized batch by batch, the second sees mean 0 and variance v/(v + eps).
    shrunk = [b.astype("float64").var() for b in batches]
    expected = np.average([v / (v + 1e-3) for v in shrunk], weights=[6, 6, 3])
    np.testing.assert_allclose(second.moving_mean, [0.0], atol=1e-4)
    np.testing.assert_allclose(second.moving_variance, [expected], rtol=1e-3)
    for before, after in zip(others, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, np.asarray(after))


def test_momentum_and_dropout_are_as_before(model):
    def settings():
        return [
            getattr(layer, "momentum", getattr(layer, "rate", None))
            for layer in model.layers
        ]

    before = settings()
    with pytest.raises(RuntimeError, match="broken"):
        reestimate(model, broken_batches())
    assert settings() == before
    reestimate(model, [np.ones((2, 2, 2, 1), "float32")])
    assert settings() == before


def broken_batches():
    yield np.ones((2, 2, 2, 1), "float32")
    raise RuntimeError("broken")


def test_frozen_layers_keep_theirs(model):
    model.get_layer("first").trainable = False
    reestimate(model, [np.full((2, 2, 2, 1), 9.0, "float32")])
    assert np.asarray(model.get_layer("first").moving_mean) == 0.0
    assert np.asarray(model.get_layer("second").moving_mean) > 8.0


def test_no_batch_is_an_error(model):
    with pytest.raises(ValueError, match="no batch"):
        reestimate(model, [])
