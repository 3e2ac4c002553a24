"""Recording of layers, and the private Keras API that it needs."""

import threading

import keras
import numpy as np

from hiercam_keras import cam
from hiercam_keras.cam import graph

layers = keras.layers


def test_what_we_rely_on_in_keras():
    """`_flatten_layers` exists, and calling a layer runs `call` of the instance.

    If this fails after an upgrade of Keras, adapt cam/graph.py.
    """
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="deep")])
    model = keras.Sequential([keras.Input((4,)), inner])
    found = model._flatten_layers(include_self=False)
    assert "deep" in [layer.name for layer in found] and model not in found
    layer = layers.ReLU()
    object.__setattr__(layer, "call", lambda x: x + 41)
    assert float(layer(np.ones((1, 1), "float32"))[0, 0]) == 42
    object.__delattr__(layer, "call")
    assert float(layer(np.ones((1, 1), "float32"))[0, 0]) == 1


def test_operations_without_a_layer_are_found():
    inputs = keras.Input((8, 8, 3))
    x = keras.ops.relu(layers.Conv2D(2, 3, name="conv")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(keras.ops.mean(x, (1, 2))))
    (layer,) = cam.Explainer(model).layers
    assert layer.startswith("relu")


def test_last_activation_is_no_pooling_no_dropout_and_no_single_cell():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(2, 3, name="conv")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.SpatialDropout2D(0.5)(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(3, 1, name="on_one_cell")(x)
    model = keras.Model(inputs, layers.Flatten()(x))
    assert cam.Explainer(model).layers == ("relu",)


def test_an_outer_layer_of_the_same_name_as_an_inner_one_can_be_named():
    inner = keras.Input((8, 8, 3))
    inner = keras.Model(inner, layers.ReLU(name="same")(inner), name="inner")
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(2, 3, name="same")(inner(images))
    model = keras.Model(images, layers.Dense(2)(layers.GlobalMaxPooling2D()(x)))
    explain = cam.Explainer(model, ["same", "inner/same"])
    assert explain.layers == ("same", "inner/same")


def test_another_thread_may_use_the_model_meanwhile():
    """A call of it is none of the calls that are recorded or changed."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    expected, found = np.asarray(model(images)), []
    (call,) = (c for c in graph.record(model, images).calls if c.name == "conv")

    def here(place, original, args, kwargs):
        return 0 * original(*args, **kwargs)

    with graph.changed_calls([call], here):
        thread = threading.Thread(target=lambda: found.append(model(images)))
        thread.start()
        thread.join()
        changed = np.asarray(model(images))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    assert np.abs(changed - expected).max() > 1e-3
