"""The fast depthwise convolution against Keras' own, in float64."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiercam_keras.models.xla_layers.depthwise import DepthwiseConv2D

CASES = settings(max_examples=12, deadline=None, derandomize=True)


def convolve_by_hand(x, w, strides, padding):
    """Depthwise convolution as nested loops over outputs and taps, in float64."""
    (sh, sw), (kh, kw) = strides, w.shape[:2]
    height, width = x.shape[1:3]
    if padding == "same":
        oh, ow = -(-height // sh), -(-width // sw)
        ph = max((oh - 1) * sh + kh - height, 0)
        pw = max((ow - 1) * sw + kw - width, 0)
        pads = ((0, 0), (ph // 2, ph - ph // 2), (pw // 2, pw - pw // 2), (0, 0))
        x = np.pad(x, pads)
    else:
        oh, ow = (height - kh) // sh + 1, (width - kw) // sw + 1
    out = np.zeros((x.shape[0], oh, ow, x.shape[3]))
    for r in range(oh):
        for q in range(ow):
            window = x[:, r * sh : r * sh + kh, q * sw : q * sw + kw]
            out[:, r, q] = (window * w[..., 0]).sum((1, 2))
    return out


def keras_conv(x, w, strides, padding):
    """Keras' operation, with gradients derived by XLA."""
    return keras.ops.depthwise_conv(x, w, strides=strides, padding=padding)


@st.composite
def cases(draw):
    kernel = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    padding = draw(st.sampled_from(["same", "valid"]))
    least = kernel if padding == "valid" else (1, 1)
    return {
        "kernel": kernel,
        "padding": padding,
        "strides": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "size": tuple(draw(st.integers(k, k + 8)) for k in least),
        # The loop sums 4 of 8 images at a time, 3 of 6 and 1 of 5.
        "batch": draw(st.sampled_from([1, 2, 5, 6, 8])),
        "channels": draw(st.integers(1, 4)),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 99)),
    }


@CASES
@given(case=cases())
def test_output_and_gradients_are_those_of_keras(case):
    rng = np.random.default_rng(case["seed"])
    tolerance = 1e-12 if case["dtype"] == "float64" else 3e-5
    with jax.enable_x64(True):
        layer = DepthwiseConv2D(
            case["kernel"], case["strides"], case["padding"], dtype=case["dtype"]
        )
        x = rng.standard_normal((case["batch"], *case["size"], case["channels"]))
        x = x.astype(case["dtype"])
        layer.build(x.shape)
        w = rng.standard_normal(layer.kernel.shape).astype(case["dtype"])
        bias = rng.standard_normal(case["channels"]).astype(case["dtype"])

        shape = layer.compute_output_shape(x.shape)
        cotangent = rng.standard_normal(shape).astype(case["dtype"])

        def pulled(function, *arguments):
            out, pull = jax.vjp(function, *arguments)
            return out, *pull(jnp.asarray(cotangent, out.dtype))

        def fast(x, w):
            return layer.stateless_call([w, bias], [], x)[0]

        def slow(x, w):
            return keras_conv(x, w, case["strides"], case["padding"]) + bias

        def both(x, w):
            precise = jnp.asarray(x, "float64"), jnp.asarray(w, "float64")
            return pulled(fast, x, w), pulled(slow, *precise)

        for got, want in zip(*jax.jit(both)(x, w), strict=True):
            assert got.dtype == case["dtype"]
            scale = tolerance * 10 * max(1, np.abs(want).max())
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=scale)


def test_output_is_the_sum_over_taps():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((5, 3, 3, 1))
    for padding in ("same", "valid"):
        with jax.enable_x64(True):
            layer = DepthwiseConv2D(
                (5, 3), (2, 1), padding, use_bias=False, dtype="float64"
            )
            layer.build(x.shape)
            layer.kernel.assign(w)
            got = np.asarray(layer(x))
        expected = convolve_by_hand(x, w, (2, 1), padding)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_one_pixel_one_tap_by_hand():
    layer = DepthwiseConv2D(3, padding="same", activation="relu")
    layer.build((1, 1, 1, 2))
    layer.kernel.assign(np.arange(18.0).reshape(3, 3, 2, 1))
    layer.bias.assign([-10.0, 1.0])
    # Only the middle taps, 8 and 9, meet the pixel: 8 * 1 - 10 < 0 and 9 * 2 + 1.
    out = np.asarray(layer(np.array([1.0, 2.0], "float32").reshape(1, 1, 1, 2)))
    np.testing.assert_array_equal(out.ravel(), [0.0, 19.0])


@pytest.mark.parametrize(
    "config",
    [
        {"dilation_rate": 2},
        {"depth_multiplier": 2},
        {"padding": "same", "dilation_rate": (1, 2)},
    ],
)
def test_what_is_not_covered_is_done_by_keras(config):
    x = np.random.default_rng(1).standard_normal((2, 9, 8, 3)).astype("float32")
    stock = keras.layers.DepthwiseConv2D(3, **config)
    fast = DepthwiseConv2D(3, **config)
    expected = stock(x)
    fast.build(x.shape)
    fast.set_weights(stock.get_weights())
    np.testing.assert_array_equal(np.asarray(fast(x)), np.asarray(expected))


def test_bfloat16_is_summed_in_float32():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 12, 12, 2)).astype("float32")
    layer = DepthwiseConv2D(5, padding="same", use_bias=False, dtype="mixed_bfloat16")
    layer.build(x.shape)

    def loss(w, x):
        # `stateless_call` of a layer does not cast its kernel.
        with keras.StatelessScope(state_mapping=[(layer.kernel, w)]):
            out = layer(x)
        assert out.dtype == "bfloat16"
        return out.astype("float32").sum()

    w = jnp.asarray(layer.kernel.value)
    gradient = jax.grad(loss)(w, jnp.asarray(x, "bfloat16"))
    rounded = np.asarray(jnp.asarray(x, "bfloat16"), "float64")
    padded = np.pad(rounded, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = [
        [padded[:, i : i + 12, j : j + 12].sum((0, 1, 2)) for j in range(5)]
        for i in range(5)
    ]
    # One rounding to bfloat16 (8 bits) at the end, not one for each addition.
    np.testing.assert_allclose(gradient[..., 0], expected, rtol=2**-8, atol=1e-3)


def test_gradients_under_vmap_equal_a_loop():
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.standard_normal((3, 2, 5, 5, 2)), "float32")
    layer = DepthwiseConv2D(3, 2, padding="same", use_bias=False)
    layer.build(x.shape[1:])
    w = jnp.asarray(rng.standard_normal(layer.kernel.shape), "float32")

    def loss(w, x):
        return (layer.stateless_call([w], [], x)[0] ** 2).sum()

    gradient = jax.grad(loss)
    batched = jax.vmap(gradient, in_axes=(None, 0))(w, x)
    looped = jnp.stack([gradient(w, one) for one in x])
    np.testing.assert_allclose(batched, looped, rtol=1e-5, atol=1e-5)
