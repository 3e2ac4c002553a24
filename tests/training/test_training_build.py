"""Losses and metrics that are built without a pass through the model."""

import keras
import numpy as np
import pytest

from hiercam_keras import config_files, runtime
from hiercam_keras.training import compiling


def network(heads):
    """A small network with a head for each of {rank: labels}; counts calls of a layer
    while it is traced."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(pixels)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.3, name="dropout")(x)
    outputs = {
        rank: keras.layers.Dense(count, name=rank)(x) for rank, count in heads.items()
    }
    if len(outputs) == 1:
        (outputs,) = outputs.values()
    model = keras.Model(pixels, outputs, name="n")
    layer = model.get_layer("norm")
    own, calls = layer.call, []
    object.__setattr__(
        layer, "call", lambda *args, **named: calls.append(1) or own(*args, **named)
    )
    return model, calls


def train(heads, dtype="float32"):
    """Figures and variables after three steps, metrics' names, and calls in traces."""
    options = config_files.load("synthetic_birds").train
    keras.utils.clear_session()
    runtime.set_seed(3)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        model, calls = network(heads)
    finally:
        keras.config.set_dtype_policy(before)
    compiling.compile_model(model, heads, options, 5)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 8, 8, 3)).astype(np.float32)
    labels = [
        {rank: rng.integers(0, n, 4).astype(np.int32) for rank, n in heads.items()}
        for _ in images
    ]
    if len(heads) == 1:
        labels = [one["species"] for one in labels]
    batches = (pair for pair in zip(images, labels, strict=True))
    past = model.fit(batches, steps_per_epoch=3, shuffle=False, verbose=0).history
    return past, [np.asarray(one) for one in model.variables], len(calls)


@pytest.mark.parametrize(
    ("heads", "dtype"),
    [({"species": 4}, "float32"), ({"family": 2, "species": 4}, "mixed_bfloat16")],
)
def test_a_training_is_the_same_with_one_trace_less(monkeypatch, heads, dtype):
    found, variables, calls = train(heads, dtype)
    monkeypatch.setattr(compiling, "build_by_shapes", lambda model: None)
    expected, others, more = train(heads, dtype)
    assert found == expected and found
    for one, other in zip(variables, others, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (calls, more) == (1, 2)


def test_models_that_do_not_state_their_outputs_are_left(monkeypatch):
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    class Changed(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training, mask)

    pixels = keras.Input((8, 8, 3))
    maps = keras.Input((None, None, 3))
    for model in (
        Subclassed(),
        Changed(pixels, keras.layers.Dense(2)(pixels)),
        keras.Model(maps, keras.layers.Conv2D(2, 1)(maps)),
    ):
        compiling.build_by_shapes(model)
        assert "_symbolic_build" not in vars(model)


def test_a_replaced_call_is_called():
    model, _ = network({"species": 4})
    model.compile(loss="mse")
    compiling.build_by_shapes(model)
    own, calls = model.call, []
    call = lambda *args, **named: calls.append(1) or own(*args, **named)  # noqa: E731
    object.__setattr__(model, "call", call)
    batch = np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 4), np.float32)
    model._symbolic_build(data_batch=batch)
    assert calls and vars(model)["call"] is call
