"""Formulas of attention and of fused layers, against float64 loops."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import hiercam_keras as hc
from hiercam_keras import cam
from hiercam_keras.cam import attention, fusion, heatmaps, targets
from hiercam_keras.errors import UserError

BLOCKS, HEADS, TOKENS = 3, 2, 5


def drawn(seed, *leading):
    """Attention with rows that add up to 1, and gradients of both signs."""
    rng = np.random.default_rng(seed)
    shape = (*leading, HEADS, TOKENS, TOKENS)
    scores = [np.exp(rng.normal(0, 2, shape)) for _ in range(BLOCKS)]
    grads = [rng.normal(0, 1, shape) for _ in range(BLOCKS)]
    return [one / one.sum(-1, keepdims=True) for one in scores], grads


def slow_rollout(matrices, reads):
    product = np.eye(TOKENS)
    for matrix in matrices:
        both = np.zeros((TOKENS, TOKENS))
        for i in range(TOKENS):
            for j in range(TOKENS):
                heads = sum(matrix[n, i, j] for n in range(HEADS)) / HEADS
                both[i, j] = (heads + (i == j)) / 2
        product = both @ product
    return sum(product[i] for i in reads) / len(reads)


def slow_gradients(name, matrices, grads):
    found = np.zeros(TOKENS)
    for a, g in zip(matrices, grads, strict=True):
        for n in range(HEADS):
            for i in range(TOKENS):
                for j in range(TOKENS):
                    value = max(g[n, i, j], 0) if name == "legrad" else (a * g)[n, i, j]
                    found[j] += value / (HEADS * TOKENS)
    return found


def test_rollout_of_one_token_and_of_several():
    matrices, _ = drawn(1)
    np.testing.assert_allclose(
        attention.rollout(matrices), slow_rollout(matrices, [0]), atol=1e-6
    )
    read = [True, False, True, True, False]
    np.testing.assert_allclose(
        attention.rollout(matrices, np.array(read)),
        slow_rollout(matrices, [0, 2, 3]),
        atol=1e-6,
    )


def test_rollout_by_hand():
    """One head: token 0 attends to token 1 alone, token 1 to itself."""
    matrix = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    np.testing.assert_allclose(attention.rollout([matrix]), [0.5, 0.5])
    # (A + 1) / 2 twice: a quarter of token 0 remains.
    np.testing.assert_allclose(attention.rollout([matrix] * 2), [0.25, 0.75])


@pytest.mark.parametrize("name", ["legrad", "gradient_x_attention"])
def test_methods_of_gradients(name):
    matrices, grads = drawn(2)
    expected = slow_gradients(name, matrices, grads)
    found = getattr(hc.methods, name)(matrices, grads)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (expected < 0).any() == hc.methods.METHODS[name].signed


def test_leading_axes_are_images_and_targets():
    matrices, _ = drawn(3, 2, 1)
    _, grads = drawn(4, 2, 3)
    for name in ("legrad", "gradient_x_attention"):
        found = getattr(attention, name)(matrices, grads)
        assert found.shape == (2, 3, TOKENS)
        for i, k in np.ndindex(2, 3):
            alone = slow_gradients(
                name, [a[i, 0] for a in matrices], [g[i, k] for g in grads]
            )
            np.testing.assert_allclose(found[i, k], alone, atol=1e-5)
    rows = attention.rollout(matrices)
    assert rows.shape == (2, 1, TOKENS)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)


def test_gradients_in_attention_are_those_of_what_a_head_gives():
    """A dy/dA adds up to the score where the score is linear in A values."""
    with jax.enable_x64(True):
        (matrices, _), rng = drawn(5), np.random.default_rng(6)
        matrix, values = matrices[0], rng.normal(size=(HEADS, TOKENS, 4))
        weights = rng.normal(size=(HEADS, TOKENS, 4))

        def score(matrix):
            return (weights * jnp.einsum("nqk,nkc->nqc", matrix, values)).sum()

        grads = jax.grad(score)(jnp.asarray(matrix))
        ours = np.einsum("nqc,nkc->nqk", weights, values)
        np.testing.assert_allclose(grads, ours, atol=1e-12)
        found = attention.gradient_x_attention([matrix], [ours])
        np.testing.assert_allclose(found.sum() * HEADS * TOKENS, score(matrix))


def slow_refine(maps):
    size = tuple(np.max([one.shape for one in maps], 0))
    product = np.ones(size)
    for one in maps:
        positive = np.maximum(np.float64(one), 0)
        low, high = positive.min(), positive.max()
        scaled = (positive - low) / (high - low) if high > low else 0 * positive
        product *= heatmaps.resize(scaled, size)
    return product


def test_refine_multiplies_scaled_maps():
    rng = np.random.default_rng(7)
    maps = [rng.normal(0.5, 1, shape) for shape in ((8, 6), (4, 3), (8, 3))]
    found = fusion.refine(maps)
    assert found.shape == (8, 6) and found.min() >= 0 and found.max() <= 1
    np.testing.assert_allclose(found, slow_refine(maps), atol=1e-6)
    # By hand: the coarse map keeps the right half of the fine one.
    fine = np.array([[4.0, 0.0, 2.0, 4.0], [-9.0, 4.0, 0.0, 1.0]])
    coarse = np.array([[0.0, 3.0]])
    weights = np.array([0, 0.25, 0.75, 1])  # half-pixel centers
    np.testing.assert_allclose(
        fusion.refine([fine, coarse]), np.maximum(fine, 0) / 4 * weights, atol=1e-6
    )


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, np.inf, np.nan])
def test_a_layer_that_marks_nothing_leaves_nothing(value):
    """Neither does one that is not finite."""
    fine = np.random.default_rng(8).normal(size=(4, 4))
    assert not np.asarray(fusion.refine([fine, np.full((2, 2), value)])).any()


def test_one_map_cannot_be_fused():
    with pytest.raises(UserError, match="several layers are fused, found 1"):
        fusion.refine([np.ones((2, 2))])


LAYERS = ["first_activation", "top_activation"]


@pytest.mark.parametrize("layer", [LAYERS, None])
def test_refinecam_is_the_product_of_layercam(small_model, tree, images, layer):
    """Of the layers in a list, or of the last one and the stage before it."""
    explain = cam.Explainer(small_model, layer, taxonomy=tree)
    each = cam.Explainer(small_model, LAYERS, taxonomy=tree)
    asked = targets.path(3)
    found = explain(images, asked, "refinecam")
    assert found.layer == "fused" and found.cams.shape == (5, 4, 5, 4)
    parts = each.explain_many(images, asked, "layercam")
    for i, k in np.ndindex(found.trivial.shape):
        expected = slow_refine([parts["layercam", one].cams[i, k] for one in LAYERS])
        expected = np.where(found.trivial[i, k], 0, expected)
        np.testing.assert_allclose(found.cams[i, k], expected, atol=1e-4)
    assert found.trivial.any() and found.cams.max() > 0.1


def test_refinecam_goes_with_other_methods_in_one_pass(explain, images):
    asked = [targets.predicted(), targets.contrast(against="runner_up")]
    names = ["gradcam", "refinecam", "saliency"]
    found = explain.explain_many(images, asked, names)
    assert list(found) == [
        ("gradcam", "top_activation"),
        ("refinecam", "fused"),
        ("saliency", "input"),
    ]
    alone = explain(images, asked, "refinecam").cams
    np.testing.assert_allclose(found["refinecam", "fused"].cams, alone, atol=1e-5)
    gradcam = explain(images, asked).cams
    np.testing.assert_allclose(
        found["gradcam", "top_activation"].cams, gradcam, atol=1e-5
    )


def test_networks_without_what_a_method_needs(small_model, images):
    convolutions = cam.Explainer(small_model)
    assert "refinecam" in convolutions.methods and "legrad" not in convolutions.methods
    for name in ("rollout", "legrad", "gradient_x_attention"):
        with pytest.raises(UserError, match="no transformer of.*can be asked: gradcam"):
            convolutions(images, [0] * 5, name)
    first = cam.Explainer(small_model, "first_activation")
    with pytest.raises(UserError, match="'first_activation' has finer.*a list"):
        first(images, [0] * 5, "refinecam")
    one = keras.Input((4, 4, 3))
    tokens = keras.layers.Conv2D(4, 1, activation="relu", name="all")(one)
    folded = keras.layers.Reshape((16, 4), name="tokens")(tokens)
    output = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(folded))
    explain = cam.Explainer(
        keras.Model(one, output), "tokens", reshape=lambda x: x.reshape(-1, 4, 4, 4)
    )
    with pytest.raises(UserError, match="with reshape= it needs a list of layers"):
        explain(np.ones((2, 4, 4, 3), "float32"), [0, 1], "refinecam")


def test_two_functions(images):
    explain = cam.FunctionExplainer(
        lambda x: {"a": x[:, ::2, ::2] / 255.0, "b": x[:, ::3, ::3] / 255.0},
        lambda a: a["a"].mean((1, 2)) + (a["b"] ** 2).mean((1, 2)),
        names=["x", "y", "z"],
    )
    found = explain(images.astype("float32"), [0] * 5, "refinecam")
    parts = explain.explain_many(images.astype("float32"), [0] * 5, "layercam")
    maps = [parts["layercam", name].cams[0, 0] for name in "ab"]
    np.testing.assert_allclose(found.cams[0, 0], slow_refine(maps), atol=1e-5)
    with pytest.raises(UserError, match="two functions do not show their attention"):
        explain(images.astype("float32"), [0] * 5, "legrad")
