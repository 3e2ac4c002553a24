"""accelerate and stock: the same model, faster; and files that hold stock layers."""

import json
import os
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.models.heads import build_model
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.xla_layers import (
    CPU_KINDS,
    KINDS,
    accelerate,
    accelerated_layers,
    resolve_kinds,
    stock,
)

ALL = {
    **dict.fromkeys(KINDS, 0),
    "depthwise": 2,
    "conv1x1": 6,
    "stem": 1,
    "batchnorm": 4,
    "swish": 5,
    "squeeze": 5,
}
NONE = dict.fromkeys(KINDS, 0)

# Loads argv[1] where hiercam_keras cannot be imported, saves logits of argv[2].
STRANGER = """
import sys
sys.modules["hiercam_keras"] = None
import keras, numpy
model = keras.saving.load_model(sys.argv[1])
assert not [l for l in model.layers if "hiercam" in type(l).__module__]
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def logits_of_a_stranger(path, images, tmp_path):
    """Logits of a model file in a process that does not have this package."""
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", STRANGER, path, "images.npy", "logits.npy"]
    subprocess.run(command, cwd=tmp_path, env=dict(os.environ), check=True)
    return np.load(tmp_path / "logits.npy")


def gradients(model, images):
    """Loss, its gradients and the new moving statistics of one training step."""
    images = jnp.asarray(images, model.compute_dtype)

    @jax.jit
    def step(trainable, state):
        def loss(trainable):
            logits, new = model.stateless_call(trainable, state, images, training=True)
            return jnp.square(logits - 1.0).sum(), new

        return jax.value_and_grad(loss, has_aux=True)(trainable)

    return step(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
    )


def test_training_step_equals_that_of_stock_layers(small_model, images):
    small_model.get_layer("head_dropout").rate = 0.0
    (loss, state), grads = gradients(small_model, images)
    accelerate(small_model, CPU_KINDS)
    (fast_loss, fast_state), fast_grads = gradients(small_model, images)
    assert loss == pytest.approx(float(fast_loss), rel=1e-5)
    pairs = zip([*state, *grads], [*fast_state, *fast_grads], strict=True)
    for expected, got in pairs:
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "batch"), [(96, 8), (224, 4)])
def test_b0_equals_that_of_stock_layers_by_round_off(size, batch):
    """Logits to 1e-5 of the largest, gradients to 1e-4; dropout draws the same."""
    keras.utils.set_random_seed(0)
    with numpy_initializers():
        model = build_model("efficientnet_b0", size, {"species": 48})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3)).astype("float32")
    trainable = [one.value for one in model.trainable_variables]
    state = [one.value for one in model.non_trainable_variables]

    def logits():
        run = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])
        return np.asarray(run(trainable, state, images))

    stock(model)
    expected, (_, slow) = logits(), gradients(model, images)
    accelerate(model, CPU_KINDS)
    found, (_, fast) = logits(), gradients(model, images)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
    largest = max(np.abs(one).max() for one in slow)
    for got, exact in zip(fast, slow, strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=1e-4 * largest)


def test_all_but_the_class_stays(small_model, images):
    small_model.get_layer("block4a_bn").trainable = False
    before = {
        "weights": [id(w) for w in small_model.weights],
        "paths": [w.path for w in small_model.weights],
        "names": [layer.name for layer in small_model.layers],
        "trainable": [w.path for w in small_model.trainable_weights],
    }
    expected = small_model.predict(images, verbose=0)
    assert accelerate(small_model, CPU_KINDS) is small_model
    assert accelerated_layers(small_model) == ALL
    after = {
        "weights": [id(w) for w in small_model.weights],
        "paths": [w.path for w in small_model.weights],
        "names": [layer.name for layer in small_model.layers],
        "trainable": [w.path for w in small_model.trainable_weights],
    }
    assert before == after
    got = small_model.predict(images, verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    types = {type(layer) for layer in stock(small_model).layers}
    assert accelerated_layers(small_model) == NONE
    assert keras.layers.DepthwiseConv2D in types and keras.layers.Conv2D in types


def test_kinds_are_chosen_one_by_one(small_model):
    accelerate(small_model, ("depthwise",))
    assert accelerated_layers(small_model) == {**NONE, "depthwise": 2}
    accelerate(small_model, ("stem", "batchnorm"))
    assert accelerated_layers(small_model) == {**NONE, "stem": 1, "batchnorm": 4}
    accelerate(small_model, "none")
    assert accelerated_layers(small_model) == NONE


def test_auto_is_decided_by_platform(small_model, monkeypatch):
    assert resolve_kinds("auto") == CPU_KINDS
    assert resolve_kinds("auto", "gpu") == ()
    assert resolve_kinds("auto", "cpu") == CPU_KINDS
    assert resolve_kinds("stem+swish") == ("stem", "swish")
    for platform in ("gpu", "tpu", "rocket"):
        monkeypatch.setattr(jax, "default_backend", lambda name=platform: name)
        assert resolve_kinds("auto") == ()


def test_unknown_kind_is_told():
    with pytest.raises(UserError, match="'pooling'.*expected 'auto', 'none' or.*stem"):
        resolve_kinds(("pooling", "stem"))


def test_nested_sequential_shared_and_subclassed_models():
    L = keras.layers
    shared = L.DepthwiseConv2D(3, padding="same", name="shared")
    inner = keras.Sequential([L.Conv2D(4, 1), L.BatchNormalization()], name="inner")

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = L.BatchNormalization()

        def call(self, x):
            return self.norm(x)

    class Whole(keras.Model):
        def __init__(self, body):
            super().__init__()
            self.body, self.block = body, Block()

        def call(self, x):
            return self.block(self.body(x))

    x = keras.Input((5, 5, 4))
    functional = keras.Model(x, inner(shared(shared(x))))
    whole = Whole(functional)
    whole(np.zeros((1, 5, 5, 4), "float32"))
    accelerate(whole, CPU_KINDS)
    expected = {**NONE, "depthwise": 1, "conv1x1": 1, "batchnorm": 2}
    assert accelerated_layers(whole) == expected
    assert accelerated_layers(inner) == {**NONE, "conv1x1": 1, "batchnorm": 1}


def test_own_subclasses_are_left_alone():
    class Mine(keras.layers.DepthwiseConv2D):
        pass

    model = keras.Sequential([keras.Input((5, 5, 2)), Mine(3)])
    assert type(accelerate(model, CPU_KINDS).layers[0]) is Mine


def test_compiled_steps_are_made_anew(small_model, images):
    small_model.compile("sgd", "mse")
    small_model.predict(images, verbose=0)
    assert small_model.predict_function is not None
    accelerate(small_model, CPU_KINDS)
    assert small_model.predict_function is None


def test_file_of_keras_own_checkpoint_holds_stock_layers(small_model, images, tmp_path):
    accelerate(small_model, CPU_KINDS)
    small_model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    path = tmp_path / "checkpoint.keras"
    callback = keras.callbacks.ModelCheckpoint(path, monitor="loss")
    labels = np.arange(4, dtype=np.int32) % 3
    small_model.fit(images, labels, verbose=0, callbacks=[callback])
    with zipfile.ZipFile(path) as file:
        text = file.read("config.json").decode()
    assert "hiercam" not in text and "Pointwise" not in text
    classes = {layer["class_name"] for layer in json.loads(text)["config"]["layers"]}
    assert {"Conv2D", "DepthwiseConv2D", "BatchNormalization"} <= classes
    logits = logits_of_a_stranger(path, images, tmp_path)
    expected = stock(small_model).predict(images, verbose=0)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_weight_files_are_exchanged_with_stock_models(small_model, images, tmp_path):
    expected = small_model.predict(images, verbose=0)
    path = tmp_path / "model.weights.h5"
    accelerate(small_model, CPU_KINDS).save_weights(path)
    other = keras.models.clone_model(stock(small_model))
    other.load_weights(path)
    np.testing.assert_array_equal(other.predict(images, verbose=0), expected)


def test_clone_of_a_fast_model_is_fast(small_model):
    clone = keras.models.clone_model(accelerate(small_model, CPU_KINDS))
    assert accelerated_layers(clone) == ALL
