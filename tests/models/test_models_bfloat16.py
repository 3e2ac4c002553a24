"""The CPU's fast layers in bfloat16: against float64, float32, and in a network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import small_mbconv

from hiercam_keras import cam
from hiercam_keras.models.xla_layers import accelerate, conv, halfword
from hiercam_keras.models.xla_layers.activation import swish
from hiercam_keras.models.xla_layers.squeeze import (
    GlobalAveragePooling2D,
    Multiply,
    spatial_mean,
)

ROUNDING = 2.0**-8  # twice the largest relative error of one rounding to bfloat16
LAST = "block1_project_bn"  # the layer of the trained network that is pooled


def exact(x):
    return np.asarray(x, "float64")


def random(*shape, seed=0, dtype="bfloat16"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def test_narrow_rounds_as_astype_does():
    """Random bits, and around ties, infinity, zero and the smallest numbers."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32)
    edges = np.array([0, 1, 0x7F7F, 0x7F80, 0x8000, 0xFF7F, 0xFF80, 0x3F80], np.uint32)
    near = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    bits = np.concatenate([bits, ((edges[:, None] << 16) + near).ravel()])
    values = jnp.asarray(bits.view(np.float32))
    got = np.asarray(jax.jit(halfword.narrow, static_argnums=1)(values, jnp.bfloat16))
    expected = np.asarray(values.astype(jnp.bfloat16))
    number = ~np.isnan(bits.view(np.float32))
    np.testing.assert_array_equal(
        got[number].view(np.uint16), expected[number].view(np.uint16)
    )
    assert np.isnan(float(halfword.narrow(jnp.float32(np.nan), jnp.bfloat16)))


def test_narrow_has_the_gradient_of_a_conversion():
    slope = jax.grad(lambda y: halfword.narrow(3 * y, jnp.bfloat16).astype(float))
    assert float(slope(jnp.float32(0.7))) == 3


def test_sigmoid_is_right_to_more_than_a_rounding():
    x = np.concatenate([np.linspace(-80, 80, 100_001), [-1e4, 1e4, -np.inf, np.inf]])
    x = x.astype("float32")
    got = exact(halfword.sigmoid(jnp.asarray(x), jnp.bfloat16))
    expected = 1 / (1 + np.exp(-np.clip(x.astype("float64"), -80, 80)))
    np.testing.assert_allclose(got, expected, rtol=1.2e-4, atol=1e-34)
    assert np.isnan(float(halfword.sigmoid(jnp.float32(np.nan), jnp.bfloat16)))


def test_swish_and_its_gradient_are_rounded_once():
    x, dy = random(4000) * 4, random(4000, seed=1)
    y, pull = jax.vjp(swish, x)
    (dx,) = pull(dy)
    s = 1 / (1 + np.exp(-exact(x)))
    np.testing.assert_allclose(exact(y), exact(x) * s, rtol=ROUNDING, atol=1e-9)
    slope = s * (1 + exact(x) * (1 - s))
    np.testing.assert_allclose(
        exact(dx), exact(dy) * slope, rtol=ROUNDING, atol=1e-4 * np.abs(dy).max()
    )


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("rows", [40, 1300])
def test_products_and_gradients_are_summed_in_float32(monkeypatch, native, rows):
    """1,300 rows are two pieces and a rest. 1 + 1/256 + ... stops in bfloat16 at 2."""
    monkeypatch.setattr(conv, "multiplies_bfloat16_fast", lambda: native)
    x, w = 1 + random(rows, 24) / 8, 1 + random(24, 5, seed=1) / 8
    dy = 1 + random(rows, 5, seed=2) / 8
    y, pull = jax.vjp(conv.matmul, x, w)
    dx, dw = pull(dy)
    assert y.dtype == dx.dtype == dw.dtype == jnp.bfloat16
    np.testing.assert_allclose(exact(y), exact(x) @ exact(w), rtol=ROUNDING)
    np.testing.assert_allclose(exact(dx), exact(dy) @ exact(w).T, rtol=ROUNDING)
    np.testing.assert_allclose(exact(dw), exact(x).T @ exact(dy), rtol=ROUNDING)


@pytest.mark.parametrize("keepdims", [False, True])
def test_means_are_summed_in_float32(keepdims):
    x = 1 + random(2, 40, 30, 3) / 8
    layer = GlobalAveragePooling2D(keepdims=keepdims, dtype="mixed_bfloat16")
    means = layer(x)
    expected = exact(x).mean((1, 2), keepdims=keepdims)
    assert means.dtype == jnp.bfloat16 and means.shape == expected.shape
    np.testing.assert_allclose(exact(means), expected, rtol=ROUNDING)
    _, pull = jax.vjp(spatial_mean, x)
    dy = random(2, 1, 1, 3, seed=1)
    gradient = np.broadcast_to(exact(dy) / 1200, x.shape)
    np.testing.assert_allclose(exact(pull(dy)[0]), gradient, rtol=ROUNDING)


def test_a_gate_is_multiplied_and_its_gradient_summed_in_float32():
    x, gate = 1 + random(2, 40, 30, 3) / 8, random(2, 1, 1, 3, seed=1)
    dy = 1 + random(2, 40, 30, 3, seed=2) / 8
    layer = Multiply(dtype="mixed_bfloat16")
    y, pull = jax.vjp(lambda x, gate: layer([x, gate]), x, gate)
    dx, dgate = pull(dy)
    np.testing.assert_allclose(exact(y), exact(x) * exact(gate), rtol=ROUNDING)
    np.testing.assert_allclose(exact(dx), exact(dy) * exact(gate), rtol=ROUNDING)
    expected = (exact(dy) * exact(x)).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(exact(dgate), expected, rtol=ROUNDING)


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_means_of_float32_are_those_of_keras(layout):
    x = random(2, 4, 5, 3, dtype="float32")
    fast = GlobalAveragePooling2D(data_format=layout)(x)
    slow = keras.layers.GlobalAveragePooling2D(data_format=layout)(x)
    np.testing.assert_array_equal(fast, slow)


def network(policy: str) -> keras.Model:
    """A block of EfficientNet's kind, 24 x 24 pixels to three logits of float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        body = small_mbconv.build(24)
        features = body.get_layer(LAST).output
        pooled = keras.layers.GlobalAveragePooling2D()(features)
        logits = keras.layers.Dense(3, dtype="float32")(pooled)
    finally:
        keras.config.set_dtype_policy(before)
    model = keras.Model(body.input, logits)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5  # few steps
    return accelerate(model, "auto")


def slopes(model: keras.Model):
    """A function from trainable values, state, pictures and labels to gradients."""

    def loss(trainable, state, pictures, truth):
        logits, state = model.stateless_call(trainable, state, pictures, training=True)
        chances = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(chances, truth[:, None], 1).mean(), state

    return jax.jit(jax.grad(loss, has_aux=True))


class Trained(NamedTuple):
    wide: keras.Model
    narrow: keras.Model
    gradients: dict  # of each model, by its dtype, where the labels are one off
    pictures: np.ndarray
    truth: np.ndarray


@pytest.fixture(scope="module")
def trained():
    """The network in float32 and in bfloat16, of the same trained weights.

    It has learned which third of 48 pictures is bright.
    """
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 48, dtype="int32")
    pictures = rng.integers(0, 120, (48, 24, 24, 3), dtype="uint8")
    for picture, third in zip(pictures, truth, strict=True):
        picture[:, 8 * third : 8 * third + 8] += 120
    wide, narrow = network("float32"), network("mixed_bfloat16")
    weights = [v.value for v in wide.trainable_variables]
    state = [v.value for v in wide.non_trainable_variables]
    step = slopes(wide)
    for _ in range(40):
        found, state = step(weights, state, pictures, truth)
        weights = [w - 0.1 * slope for w, slope in zip(weights, found, strict=True)]
    for model in (wide, narrow):
        groups = (
            (model.trainable_variables, weights),
            (
                model.non_trainable_variables,
                state,
            ),
        )
        for variables, values in groups:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
    wrong = (truth + 1) % 3
    gradients = {
        "float32": step(weights, state, pictures, wrong)[0],
        "bfloat16": slopes(narrow)(weights, state, pictures, wrong)[0],
    }
    return Trained(wide, narrow, gradients, pictures, truth)


def test_gradients_point_where_those_of_float32_do(trained):
    pairs = zip(*map(trained.gradients.get, ("bfloat16", "float32")), strict=True)
    pairs = [(exact(got), exact(expected)) for got, expected in pairs]
    most = max(np.linalg.norm(expected) for _, expected in pairs)
    for got, expected in pairs:
        assert np.isfinite(got).all()
        sizes = np.linalg.norm(got), np.linalg.norm(expected)
        if sizes[1] > 0.01 * most:  # some are zero but for rounding, before batch norm
            assert np.vdot(got, expected) > 0.999 * sizes[0] * sizes[1]


def test_logits_and_maps_are_those_of_float32_within_rounding(trained):
    found = []
    for model in (trained.wide, trained.narrow):
        explain = cam.Explainer(model, LAST)
        asked = np.tile([0, 1, 2], (len(trained.truth), 1))
        found.append(explain(trained.pictures, asked, method="gradcam"))
    wide, narrow = found
    expected, got = exact(wide.scores), exact(narrow.scores)
    assert (expected.argmax(-1) == trained.truth).mean() > 0.9
    # Stock layers are 3.1 roundings off by bfloat16 here, these 2.8.
    error = np.sqrt(np.mean((got - expected) ** 2))
    assert error < 3.5 * ROUNDING * expected.std()
    assert narrow.cams.dtype == np.float32
    maps = (one.cams.reshape(len(asked) * 3, -1) for one in (wide, narrow))
    for one, other in zip(*maps, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.999
