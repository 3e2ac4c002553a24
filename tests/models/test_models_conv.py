"""The matrix-product convolutions against Keras' own, in float64."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.models.xla_layers.conv import (
    PointwiseConv2D,
    StemConv2D,
    im2col_conv,
    pointwise_conv,
)

CASES = settings(max_examples=8, deadline=None, derandomize=True)


def check(fast, kernel, size, channels, strides, padding, dtype, seed):
    """Output and both gradients of `fast` against keras.ops.conv in float64."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *size, channels)).astype(dtype)
    w = rng.standard_normal((*kernel, channels, 3)).astype(dtype)

    def slow(x, w):
        return keras.ops.conv(x, w, strides=strides, padding=padding)

    def pulled(function, *arguments):
        out, pull = jax.vjp(function, *arguments)
        return out, *pull(
            jnp.cos(jnp.arange(out.size)).reshape(out.shape).astype(out.dtype)
        )

    def both(x, w):
        precise = jnp.asarray(x, "float64"), jnp.asarray(w, "float64")
        return pulled(fast, x, w), pulled(slow, *precise)

    tolerance = 1e-12 if dtype == "float64" else 1e-4
    with jax.enable_x64(True):
        for got, expected in zip(*jax.jit(both)(x, w), strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(
                got, expected, rtol=tolerance, atol=10 * tolerance
            )


@CASES
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    extra=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid"]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_stem_equals_keras(kernel, extra, strides, padding, dtype, seed):
    size = tuple(k + e for k, e in zip(kernel, extra, strict=True))

    def fast(x, w):
        return im2col_conv(x, w, strides, padding)

    check(fast, kernel, size, 3, strides, padding, dtype, seed)


@CASES
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    channels=st.integers(1, 6),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_pointwise_equals_keras(size, channels, dtype, seed):
    check(pointwise_conv, (1, 1), size, channels, 1, "same", dtype, seed)


@pytest.mark.parametrize("cls", [PointwiseConv2D, StemConv2D])
@pytest.mark.parametrize(
    "config",
    [
        {"filters": 3, "activation": "relu"},
        {"filters": 4, "groups": 2},
        {"filters": 3, "strides": 2},
        {"filters": 3, "kernel_size": 3, "dilation_rate": 2, "use_bias": False},
    ],
)
def test_layers_equal_keras_whatever_the_config(cls, config):
    config = {"kernel_size": 1, **config}
    x = np.random.default_rng(1).standard_normal((2, 7, 6, 2)).astype("float32")
    stock, fast = keras.layers.Conv2D(**config), cls(**config)
    for layer in (stock, fast):
        layer.build(x.shape)
    fast.set_weights(stock.get_weights())
    expected = np.asarray(stock(x))
    np.testing.assert_allclose(fast(x), expected, rtol=1e-5, atol=1e-5)


def test_pixels_times_kernel_by_hand():
    layer = PointwiseConv2D(1, 1)
    layer.build((1, 1, 2, 2))
    layer.set_weights([np.array([[[[2.0], [-1.0]]]]), np.array([0.5])])
    # (1, 2) and (3, 4) times (2, -1), plus a half.
    out = layer(np.array([[[[1.0, 2.0], [3.0, 4.0]]]], "float32"))
    np.testing.assert_array_equal(np.ravel(out), [0.5, 2.5])


@pytest.mark.parametrize("channels", [3, 24])
def test_bfloat16_products_add_up_in_float32(channels):
    """Errors are within bfloat16 rounding of the float64 result, also for long sums."""
    rng = np.random.default_rng(4)
    x = jnp.asarray(rng.uniform(0.5, 1.5, (2, 40, 40, channels)), "bfloat16")
    w = jnp.asarray(rng.uniform(0.5, 1.5, (1, 1, channels, 5)), "bfloat16")
    functions = [pointwise_conv]
    if channels == 3:
        functions.append(lambda x, w: im2col_conv(x, w, (1, 1), "same"))
    exact = np.asarray(x, "float64").reshape(-1, channels)
    dw = exact.T @ np.ones((len(exact), 5))  # 3,200 terms: bfloat16 stops at 256 of 1
    for function in functions:
        y, pull = jax.vjp(function, x, w)
        got_dw = pull(jnp.ones_like(y))[1]
        assert y.dtype == got_dw.dtype == "bfloat16"
        expected = exact @ np.asarray(w, "float64")[0, 0]
        np.testing.assert_allclose(
            np.asarray(y, "float64").reshape(-1, 5), expected, rtol=2**-7
        )
        np.testing.assert_allclose(np.asarray(got_dw, "float64")[0, 0], dw, rtol=2**-7)
