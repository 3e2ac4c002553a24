"""Devices sum gradients in float32 where asked for; see training.wide_sums."""

import logging

import eight_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.training import compiling, wide_sums

HALF = jnp.bfloat16


def convolved(images, kernel, groups=1):
    return jax.lax.conv_general_dilated(
        *(images, kernel, (1, 1), "SAME"),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@jax.jit
def head(x, kernel):
    return x @ kernel.astype(HALF)


def network(weights, images):
    """Convolutions, one of them by channel, a bias, and a kernel that is used twice."""
    kernel, depthwise, bias, dense = (one.astype(HALF) for one in weights[:4])
    x = convolved(images, kernel) + bias
    x = jnp.maximum(convolved(x, depthwise.reshape(3, 3, 1, 4), groups=4), 0)
    x = x.mean((1, 2))
    return head(x @ dense, weights[4]) + x @ weights[3].astype(HALF)


def loss(weights):
    images = jax.random.normal(jax.random.key(1), (8, 6, 6, 3), HALF)
    found = network(weights, images)
    return jnp.square(found.astype(jnp.float32)).mean(), {"found": found}


def weights():
    shapes = ((3, 3, 3, 4), (3, 3, 4, 1), (4,), (4, 5), (5, 5))
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True)]


def near(found, wanted):
    """Equal but for the rounding of single operations to bfloat16."""
    assert found.dtype == jnp.float32 and found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.02 * np.abs(wanted).max())


def test_one_device_has_the_gradients_of_jax():
    (value, extra), gradients = wide_sums.value_and_gradients(loss, weights())
    (exact, other), wanted = jax.value_and_grad(loss, has_aux=True)(weights())
    assert float(value) == pytest.approx(float(exact), rel=1e-5)
    np.testing.assert_allclose(
        *(one["found"].astype(jnp.float32) for one in (extra, other)), rtol=0.02
    )
    for found, one in zip(gradients, wanted, strict=True):
        near(found, one)


def test_a_derivative_takes_the_slope_of_what_comes_after():
    wide = wide_sums.differentiable(loss)
    plain = jax.grad(lambda w: loss(w)[0])(weights())
    scaled = jax.jit(jax.grad(lambda w: 3 * wide(w)[0]))(weights())
    assert len(scaled) == len(plain)
    for found, one in zip(scaled, plain, strict=True):
        near(found, 3 * one)


def test_a_gradient_that_is_not_understood_is_as_it_was_and_counted(caplog):
    def looped(weights):
        weight = weights[0].astype(HALF)

        def step(total, row):
            return total + row * weight, None

        total, _ = jax.lax.scan(step, HALF(0), jnp.ones(4, HALF))
        return total.astype(jnp.float32), ()

    with caplog.at_level(logging.WARNING, "absl"):
        _, (found,) = wide_sums.value_and_gradients(looped, [jnp.float32(2)])
    assert found == 4
    assert "1 gradient of 1" in caplog.text


def test_a_layer_with_a_gradient_in_float32_is_not_rounded(caplog):
    exact = 1 + 2**-12

    @jax.custom_vjp
    def layer(weight):
        return weight.sum()

    def backward(shape, slope):
        wide = jnp.full(shape, exact) * slope.astype(jnp.float32)
        return (wide.astype(HALF),)

    layer.defvjp(lambda weight: (layer(weight), weight.shape), backward)

    def loss(weights):
        return layer(weights[0].astype(HALF)).astype(jnp.float32), ()

    with caplog.at_level(logging.WARNING, "absl"):
        _, (found,) = wide_sums.value_and_gradients(loss, [jnp.ones(3)])
    assert found.tolist() == [exact] * 3 and not caplog.text
    assert jax.grad(lambda w: loss(w)[0])([jnp.ones(3)])[0].tolist() == [1.0] * 3


def test_other_types_are_refused(config):
    config.train.reduce = "bfloat16"
    with pytest.raises(UserError, match="train.reduce is 'bfloat16'"):
        compiling.compile_model(None, {"species": 3}, config.train, 1)


# One step of the same weights on eight devices, in both ways.
CODE = """
import json
import jax, keras, numpy as np
from hiercam_keras import runtime
from hiercam_keras.models.xla_layers import shards
from hiercam_keras.training import compiling
from configs import default
from array_loader import make_images

L = keras.layers
config = default.get_config()
config.train.update(optimizer="sgd", learning_rate=1.0)
images, labels = make_images(0, 16)
labels = labels["species"]

def step(reduce):
    runtime.start(0, "mixed_bfloat16", 8)
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, 2, use_bias=False)(L.Rescaling(1 / 255)(image))
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = L.BatchNormalization(momentum=0.5)(x)
    x = L.GlobalAveragePooling2D()(L.Activation("relu")(x))
    model = keras.Model(image, L.Dense(3, dtype="float32")(x))
    config.train.reduce = reduce
    compiling.compile_model(model, {"species": 3}, config.train, 4)
    batch = shards.place((images, labels))
    model._symbolic_build(data_batch=batch)
    state = model._get_jax_state(
        trainable_variables=True, non_trainable_variables=True,
        optimizer_variables=True, metrics_variables=True)
    lowered = jax.jit(model.train_step).lower(state, batch)
    trainable, fixed, *_ = lowered.compile()(state, batch)[1]
    before = [v.value for v in model.trainable_variables]
    steps = [np.asarray(b) - np.asarray(a) for a, b in zip(before, trainable)]
    text = lowered.as_text()
    return (
        [one.tolist() for one in steps],
        np.concatenate([np.ravel(one) for one in fixed[:2]]).tolist(),
        [line.split("->")[-1] for line in text.splitlines() if "}) : (tensor<" in line],
        text.count("stablehlo.all_reduce"),
    )

print(json.dumps({reduce: step(reduce) for reduce in ("auto", "float32")}))
"""


@pytest.fixture(scope="module")
def steps():
    return eight_devices.run(CODE)


def test_steps_on_eight_devices_are_equal(steps):
    """But for the type of the sums; a CPU's compiler sums in float32 in any case."""
    for found, wanted in zip(steps["float32"][0], steps["auto"][0], strict=True):
        near(jnp.asarray(found, jnp.float32), jnp.asarray(wanted, jnp.float32))
    assert all(np.any(found) for found in steps["float32"][0])


def test_batch_norm_sees_the_whole_batch(steps):
    _, statistics, *_ = steps["float32"]
    assert statistics == pytest.approx(steps["auto"][1], rel=1e-6, abs=1e-6)


def test_each_kernel_is_summed_explicitly_in_float32(steps):
    *_, types, count = steps["float32"]
    assert count == 2  # the convolution's and the depthwise one's; the head is float32
    assert steps["auto"][3] == 0
    assert {one.strip() for one in types} >= {"tensor<3x3x3x6xf32>"}
