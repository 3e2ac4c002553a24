"""Weights drawn with NumPy have Keras' distributions."""

import math

import jax
import keras
import numpy as np
import pytest

from hiercam_keras.models.initializers import numpy_initializers, variance_scaling

SHAPE = (3, 3, 40, 60)  # fan-in 360, fan-out 540, 21,600 values


@pytest.mark.parametrize(
    ("mode", "fan"), [("fan_in", 360), ("fan_out", 540), ("fan_avg", 450)]
)
@pytest.mark.parametrize(
    "distribution", ["uniform", "truncated_normal", "untruncated_normal"]
)
def test_variance_is_scale_over_fan(mode, fan, distribution):
    values = variance_scaling(SHAPE, 2.0, mode, distribution, seed=0)
    std = math.sqrt(2.0 / fan)
    assert values.shape == SHAPE
    # 21,600 values: the standard error of their deviation is 0.5 %.
    assert values.std() == pytest.approx(std, rel=0.025)
    assert values.mean() == pytest.approx(0.0, abs=4 * std / math.sqrt(values.size))
    limits = {
        "uniform": math.sqrt(3) * std,
        "truncated_normal": 2 * std / 0.87962566,
        "untruncated_normal": math.inf,
    }
    assert np.abs(values).max() <= limits[distribution]


def test_kernels_within_the_context_come_from_numpy(monkeypatch):
    layer = keras.layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(5))
    with numpy_initializers():
        layer.build((None, 4))
    expected = variance_scaling((4, 3), 2.0, "fan_in", "truncated_normal", 5)
    np.testing.assert_allclose(layer.kernel, expected, rtol=1e-6)
    other = keras.layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(5))
    other.build((None, 4))
    assert np.abs(np.asarray(other.kernel) - expected).max() > 0.01
    assert other.get_config() == {**layer.get_config(), "name": other.name}


def test_kernels_of_a_file_are_not_drawn():
    layers = [keras.layers.Dense(3), keras.layers.Dense(3)]
    with numpy_initializers(drawn=False):
        layers[0].build((None, 4))
    layers[1].build((None, 4))
    assert not np.asarray(layers[0].kernel).any() and np.asarray(layers[1].kernel).all()


def test_global_seed_repeats_and_layers_differ():
    kernels = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Dense(2, kernel_initializer="he_normal") for _ in "ab"]
        with numpy_initializers():
            for layer in layers:
                layer.build((None, 2))
        kernels.append([np.asarray(layer.kernel) for layer in layers])
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0][0] - kernels[0][1]).max() > 0.01


def test_seed_generators_are_left_to_keras():
    initializer = keras.initializers.HeNormal(keras.random.SeedGenerator(1))
    again = keras.initializers.HeNormal(keras.random.SeedGenerator(1))
    with numpy_initializers():
        got = initializer((2, 2))
    np.testing.assert_array_equal(np.asarray(got), np.asarray(again((2, 2))))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bfloat16", None])
def test_zeros_and_ones_are_keras_own_values(dtype):
    with numpy_initializers():
        zeros = keras.initializers.Zeros()((2, 3), dtype=dtype)
        ones = keras.initializers.Ones()((2, 3), dtype=dtype)
    for got, expected in ((zeros, keras.ops.zeros), (ones, keras.ops.ones)):
        expected = expected((2, 3), dtype=dtype)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


def test_an_optimizer_is_built_without_compiling_for_each_shape():
    """Counts compilations with JAX, for seven shapes that no other test uses."""
    layers = [keras.layers.Dense(units) for units in range(211, 218)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    optimizer = keras.optimizers.Adam()
    compilations = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            compilations.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with numpy_initializers():
            optimizer.build(model.trainable_variables)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(optimizer.variables) == 2 + 2 * len(model.trainable_variables)
    assert len(compilations) < 7
