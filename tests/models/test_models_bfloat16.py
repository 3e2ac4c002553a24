"""The CPU's fast layers in bfloat16: against float64, float32, and in a network."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.models.xla_layers import accelerate, conv, halfword, stock
from hiercam_keras.models.xla_layers.activation import swish
from hiercam_keras.models.xla_layers.pooling import GlobalAveragePooling2D, spatial_mean

ROUNDING = 2.0**-8  # the largest relative error of one rounding to bfloat16, and half


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


@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_means_of_float32_are_those_of_keras(layout):
    x = random(2, 4, 5, 3, dtype="float32")
    fast = GlobalAveragePooling2D(data_format=layout)(x)
    slow = keras.layers.GlobalAveragePooling2D(data_format=layout)(x)
    np.testing.assert_array_equal(fast, slow)


@pytest.fixture(scope="module")
def trained():
    """The small network in float32 and in bfloat16, of the same trained weights.

    It has learned which third of a picture is bright: 16 x 16 pixels, 120 pictures.
    """
    from conftest import build_small  # tests/models

    policy = keras.config.dtype_policy()
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    pictures = rng.integers(0, 120, (120, 16, 16, 3))
    for picture, third in zip(pictures, truth, strict=True):
        picture[:, 5 * third : 5 * third + 6] += 120
    pictures = pictures.astype("uint8")
    models = []
    for name in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(name)
        try:
            keras.utils.set_random_seed(0)
            models.append(accelerate(build_small(), "auto"))
        finally:
            keras.config.set_dtype_policy(policy)
    wide, narrow = models
    wide.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    wide.optimizer.learning_rate = 0.01
    wide.fit(pictures, truth, batch_size=40, epochs=15, verbose=0)
    narrow.set_weights(wide.get_weights())
    return wide, narrow, pictures[:24], truth[:24]


def test_logits_are_those_of_float32_within_rounding(trained):
    wide, narrow, pictures, truth = trained
    expected = exact(wide(pictures, training=False))
    assert (expected.argmax(-1) == truth).mean() > 0.9
    got = exact(narrow(pictures, training=False))
    # Some twenty roundings one behind another, of independent signs: the error of one
    # is 2^-9 at most.
    spread = expected.std()
    assert np.sqrt(np.mean((got - expected) ** 2)) < 4 * ROUNDING * spread
    slow = exact(stock(narrow)(pictures, training=False))
    accelerate(narrow, "auto")
    worse = np.sqrt(np.mean((slow - expected) ** 2))
    assert np.sqrt(np.mean((got - expected) ** 2)) < 1.5 * worse


def test_gradients_point_where_those_of_float32_do(trained):
    wide, narrow, pictures, truth = trained

    def gradients(model):
        @jax.jit
        def slopes(trainable, state, pictures):
            def loss(trainable):
                logits, _ = model.stateless_call(
                    trainable, state, pictures, training=True
                )
                one = keras.losses.sparse_categorical_crossentropy(
                    truth, logits, from_logits=True
                )
                return one.astype("float32").mean()

            return jax.grad(loss)(trainable)

        values = ([v.value for v in one] for one in (model.trainable_variables,))
        state = [v.value for v in model.non_trainable_variables]
        return [exact(one) for one in slopes(*values, state, pictures)]

    for got, expected in zip(gradients(narrow), gradients(wide), strict=True):
        assert np.isfinite(got).all()
        sizes = np.linalg.norm(got) * np.linalg.norm(expected)
        assert np.vdot(got, expected) > 0.98 * sizes


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_maps_are_those_of_float32(trained, method):
    wide, narrow, pictures, truth = trained
    cams = []
    for model in (wide, narrow):
        explain = cam.Explainer(model, "block6a_expand_activation")
        cams.append(explain(pictures, truth, method=method).cams)
    assert cams[1].dtype == np.float32
    for one, other in zip(*cams, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999
