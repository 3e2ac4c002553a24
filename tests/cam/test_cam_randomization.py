"""Randomization of weights layer by layer; the model itself is not changed."""

import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import randomization
from hiercam_keras.errors import UserError


@pytest.fixture(autouse=True)
def untouched(small_model):
    """Checks after each test that the model's weights are unchanged."""
    before = [np.array(weight.numpy()) for weight in small_model.weights]
    yield
    after = [np.array(weight.numpy()) for weight in small_model.weights]
    for one, other in zip(before, after, strict=True):
        assert (one == other).all()


def changed(model, stage):
    """Names of the arrays that differ from the model's weights."""
    own = model.trainable_variables + model.non_trainable_variables
    given = stage.variables[0] + stage.variables[1]
    return {
        variable.path
        for variable, values in zip(own, given, strict=True)
        if not np.array_equal(np.asarray(variable), np.asarray(values))
    }


def paths(*names):
    return {f"{name}/{part}" for name in names for part in ("kernel", "bias")}


def test_cascading_goes_down_and_keeps_what_it_made_random(small_model):
    stages = list(randomization.randomized(small_model, "cascading"))
    assert [stage.layer for stage in stages] == ["logits", "second", "first"]
    assert [stage.number for stage in stages] == [1, 2, 3]
    found = [changed(small_model, stage) for stage in stages]
    assert found[0] == paths("logits")
    assert found[1] == paths("logits", "second")
    assert found[2] == paths("logits", "second", "first")
    kernels = [stage.variables[0][-2] for stage in stages]
    assert all(np.array_equal(kernels[0], other) for other in kernels[1:])


def test_independent_changes_one_layer_at_a_time(small_model):
    stages = list(randomization.randomized(small_model, "independent"))
    assert [changed(small_model, s) for s in stages] == [
        paths("logits"),
        paths("second"),
        paths("first"),
    ]
    # The same draws in both orders.
    last = list(randomization.randomized(small_model))[-1]
    assert np.array_equal(stages[2].variables[0][0], last.variables[0][0])


def test_a_named_layer_takes_those_above_with_it(small_model):
    (stage,) = randomization.randomized(small_model, layers=["second"])
    assert changed(small_model, stage) == paths("logits", "second")
    (stage,) = randomization.randomized(small_model, "independent", layers=["second"])
    assert changed(small_model, stage) == paths("second")


def test_kinds_keep_the_scale(small_model):
    kernel = np.asarray(small_model.trainable_variables[2])
    (shuffled,) = randomization.randomized(
        small_model, "independent", layers=["second"]
    )
    values = np.asarray(shuffled.variables[0][2])
    assert sorted(values.ravel()) == sorted(kernel.ravel())
    options = {"layers": ["second"], "kind": "normal"}
    (drawn,) = randomization.randomized(small_model, "independent", **options)
    values = np.asarray(drawn.variables[0][2])
    assert sorted(values.ravel()) != sorted(kernel.ravel())
    assert values.std() == pytest.approx(kernel.std(), rel=0.35)
    (again,) = randomization.randomized(small_model, "independent", seed=1, **options)
    assert not np.array_equal(values, again.variables[0][2])


def test_the_engine_explains_the_random_weights(small_model, explain, images):
    """Equal to the explanation of a model with these weights."""
    twin = keras.models.clone_model(small_model)
    (stage,) = randomization.randomized(small_model, layers=["second"])
    for variable, values in zip(
        twin.trainable_variables, stage.variables[0], strict=True
    ):
        variable.assign(values)
    expected = cam.Explainer(twin, "top_activation")(images, [0, 1, 2, 3, 4])
    found = explain(images, [0, 1, 2, 3, 4], variables=stage.variables)
    own = explain(images, [0, 1, 2, 3, 4])
    assert found.cams == pytest.approx(expected.cams, abs=1e-5)
    assert not np.allclose(found.cams, own.cams)


def test_batch_statistics_and_nested_shared_layers_belong_to_the_innermost():
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(2, 1, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
        ],
        name="block",
    )
    image = keras.Input((4, 4, 3))
    x = inner(image)
    dense = keras.layers.Dense(2, name="twice")
    x = dense(dense(keras.layers.GlobalAveragePooling2D()(x)))
    model = keras.Model(image, x)
    found = {
        stage.layer.split("/")[-1].split(":")[0]: len(stage.variables[1])
        for stage in randomization.randomized(model)
    }
    assert list(found) == ["twice", "bn", "conv"]
    assert set(found.values()) == {len(model.non_trainable_variables)}


def test_what_cannot_be_made_random_is_named(small_model):
    with pytest.raises(UserError, match="top_activation.*has no weights of its own"):
        list(randomization.randomized(small_model, layers=["top_activation"]))
    with pytest.raises(UserError, match="no layer 'third'"):
        list(randomization.randomized(small_model, layers=["third"]))
    with pytest.raises(UserError, match="cascading, independent, not 'random'"):
        list(randomization.randomized(small_model, "random"))
    with pytest.raises(UserError, match="shuffle, normal, not 'zeros'"):
        list(randomization.randomized(small_model, kind="zeros"))


def test_an_operation_of_keras_ops_has_no_weights():
    image = keras.Input((8, 8, 3))
    x = keras.ops.flip(image, axis=-1)
    x = keras.layers.Conv2D(2, 3, name="conv")(x)
    x = keras.ops.mean(x, axis=(1, 2))
    model = keras.Model(image, keras.layers.Dense(2, name="head")(x))
    stages = list(randomization.randomized(model))
    assert [stage.layer for stage in stages] == ["head", "conv"]
