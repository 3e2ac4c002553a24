"""Layers of the kind "lean": equal results and gradients with fewer arrays."""

import gc

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.models.xla_layers import accelerate, accelerated_layers, lean, notes
from hiercam_keras.models.xla_layers.depthwise import spatial_axis
from hiercam_keras.models.xla_layers.lean_layers import MAX_PRODUCTS

SWISH = pytest.mark.parametrize("swish", [False, True])


def textbook(x, gamma, beta, epsilon, swish):
    """Ioffe and Szegedy's formula, with the gradient derived by JAX."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    y = (x - mean) / jnp.sqrt(variance + epsilon) * gamma + beta
    return jax.nn.silu(y) if swish else y, mean, variance


def pulled(function, cotangent, *arguments):
    """Value of a function of arrays, and its gradients."""

    def run(*arguments):
        def loss(*arguments):
            y, mean, variance = function(*arguments)
            return (y * cotangent).sum(), (y, mean, variance)

        places = tuple(range(len(arguments)))
        return jax.grad(loss, places, has_aux=True)(*arguments)

    with jax.enable_x64(True):
        return jax.tree.leaves(jax.jit(run)(*arguments))


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


@SWISH
@pytest.mark.parametrize("distance", [0.0, 1e5])
def test_batch_norm_is_that_of_the_textbook(swish, distance):
    x, cotangent = draw(0, (3, 4, 5, 6), (3, 4, 5, 6))
    x = x + distance
    gamma, beta = draw(1, 6, 6)

    def mine(x, gamma, beta):
        (y, *copies), mean, variance = lean.batch_norm(x, gamma, beta, 0.01, swish)
        return y / 2 + sum(copies) / 4, mean, variance

    found = pulled(mine, cotangent, x, gamma, beta)
    expected = pulled(
        lambda *given: textbook(*given, 0.01, swish), cotangent, x, gamma, beta
    )
    for got, value in zip(found, expected, strict=True):
        assert got.dtype == "float64"
        np.testing.assert_allclose(got, value, rtol=1e-7, atol=1e-7)


@SWISH
def test_batch_norm_of_a_convolution_is_that_of_the_textbook(swish):
    """Statistics and gradients from the convolution's input alone."""
    h, w, cotangent = draw(2, (3, 4, 5, 6), (6, 9), (3, 4, 5, 9))
    gamma, beta = draw(3, 9, 9)
    h = h + 3.0

    def mine(h, w, gamma, beta):
        x = jax.lax.stop_gradient(h @ w)
        return lean.conv_batch_norm(x, h, w, gamma, beta, 0.01, swish)

    def theirs(h, w, gamma, beta):
        return textbook(h @ w, gamma, beta, 0.01, swish)

    found = pulled(mine, cotangent, h, w, gamma, beta)
    expected = pulled(theirs, cotangent, h, w, gamma, beta)
    for got, value in zip(found, expected, strict=True):
        assert got.dtype == "float64"
        np.testing.assert_allclose(got, value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (5, 3)])
def test_gradients_of_depthwise_convolutions(kernel, stride, padding):
    size, channels = 11, 3
    rows, cols = (spatial_axis(n, kernel, stride, padding) for n in (size, size + 1))
    x, w, dy = draw(
        4,
        (2, size, size + 1, channels),
        (kernel, kernel, channels, 1),
        (2, rows.out, cols.out, channels),
    )

    def convolve(x, w):
        return keras.ops.depthwise_conv(x, w, stride, padding)

    def both(x, w, dy):
        def mine(x, w):
            return lean.depthwise_conv(x, w, convolve, rows, cols)

        return [jax.vjp(one, x, w)[1](dy) for one in (mine, convolve)]

    with jax.enable_x64(True):
        mine, theirs = jax.jit(both)(x, w, dy)
    for got, value in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-10, atol=1e-10)


def block(x, name, channels, kernel, stride):
    """An MBConv block of EfficientNet with all its batch normalizations."""
    L = keras.layers
    skip, wide = x, 3 * x.shape[-1]

    def normalized(x, part):
        return L.BatchNormalization(name=f"{name}_{part}bn")(x)

    x = L.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand_conv")(x)
    x = L.Activation("swish", name=f"{name}_act1")(normalized(x, "expand_"))
    padding = "same" if stride == 1 else "valid"
    if stride > 1:
        x = L.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = L.DepthwiseConv2D(
        kernel, stride, padding, use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = L.Activation("swish", name=f"{name}_act2")(normalized(x, ""))
    se = L.GlobalAveragePooling2D(name=f"{name}_squeeze")(x)
    se = L.Reshape((1, 1, wide), name=f"{name}_reshape")(se)
    se = L.Conv2D(wide, 1, activation="sigmoid", name=f"{name}_excite")(se)
    x = L.Multiply(name=f"{name}_scale")([x, se])
    x = L.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = normalized(x, "project_")
    return L.Add(name=f"{name}_add")([x, skip]) if x.shape == skip.shape else x


def build(dtype="float32"):
    L = keras.layers
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(dtype)
    try:
        with numpy_initializers():
            image = keras.Input((12, 12, 3), name="image")
            x = L.Conv2D(4, 3, 2, "same", use_bias=False, name="stem_conv")(image)
            x = L.BatchNormalization(name="stem_bn")(x)
            x = L.Activation("swish", name="stem_act")(x)
            x = block(x, "one", 4, 3, 1)
            x = block(x, "two", 6, 5, 2)
            x = L.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
            logits = L.Dense(3, name="logits", dtype="float32")(x)
            return keras.Model(image, logits)
    finally:
        keras.config.set_dtype_policy("float32")


IMAGES = np.random.default_rng(5).standard_normal((6, 12, 12, 3)).astype("float32")


def train_step(model):
    """Loss, new state and gradients of a step."""

    @jax.jit
    def step(trainable, state):
        def loss(trainable):
            logits, new = model.stateless_call(trainable, state, IMAGES, training=True)
            return jnp.square(logits - 1.0).sum(), new

        return jax.value_and_grad(loss, has_aux=True)(trainable)

    trainable = [v.value for v in model.trainable_variables]
    return step(trainable, [v.value for v in model.non_trainable_variables])


@pytest.fixture(scope="module")
def stock_step():
    return train_step(build())


@pytest.mark.parametrize(
    ("kind", "replaced"), [("lean", 7 + 6 + 5 + 3 + 2 + 2), ("one_pass", 7)]
)
def test_a_train_step_equals_that_of_stock_layers(kind, replaced, stock_step):
    model = accelerate(build(), kind)
    assert accelerated_layers(model)[kind] == replaced
    found = jax.tree.leaves(train_step(model))
    for got, value in zip(found, jax.tree.leaves(stock_step), strict=True):
        size = max(1e-2, float(np.abs(value).max()))
        np.testing.assert_allclose(got, value, rtol=0, atol=1e-4 * size)


def test_in_mixed_precision_the_gradients_are_near_those_in_float32(stock_step):
    """No farther than those of stock layers, on the whole."""
    _, exact = stock_step
    off = {}
    for kinds in ("none", "lean", "one_pass"):
        _, found = train_step(accelerate(build("mixed_bfloat16"), kinds))
        pairs = [(np.ravel(a), np.ravel(b)) for a, b in zip(found, exact, strict=True)]
        found, value = (np.concatenate(each) for each in zip(*pairs, strict=True))
        off[kinds] = np.linalg.norm(found - value) / np.linalg.norm(value)
    assert off["none"] < 0.1
    assert max(off["lean"], off["one_pass"]) < 1.5 * off["none"]


def test_nothing_is_taken_over_but_in_training():
    model = build()
    expected = model(IMAGES, training=False)
    accelerate(model, "lean")
    np.testing.assert_array_equal(model(IMAGES, training=False), expected)


def test_an_operation_between_two_layers_separates_them():
    """Doubled outputs of a convolution have other statistics than its input's."""
    L = keras.layers
    conv = L.Conv2D(8, 1, use_bias=False)
    norm = L.BatchNormalization(momentum=0.0)
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, norm(2.0 * conv(image)))
    images = np.random.default_rng(6).standard_normal((2, 4, 4, 3)).astype("float32")
    expected = model(images, training=True)
    moved = norm.moving_variance.numpy().copy()
    accelerate(model, "lean")
    found = model(images, training=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), moved, rtol=1e-4)


def test_many_taps_are_left_to_the_library():
    model = accelerate(keras.Sequential([keras.layers.DepthwiseConv2D(5)]), "lean")
    x = jnp.ones((1, 6, 6, 2))
    model(x)
    assert 5 * 5 > MAX_PRODUCTS
    traced = str(jax.make_jaxpr(jax.grad(lambda x: model(x).sum()))(x))
    assert "custom_vjp" not in traced and "rev[" in traced


def test_a_note_ends_with_its_value():
    count = len(notes._notes)
    value = jnp.ones(2)
    notes.note(value, "somewhere")
    assert notes.noted(value) == "somewhere"
    assert notes.noted(jnp.ones(2)) is None
    del value
    gc.collect()
    assert len(notes._notes) == count
