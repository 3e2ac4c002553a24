"""Every method compared with float64 loops, and on maps that cause divisions by 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras.cam import methods
from hiercam_keras.errors import UserError

LAYER = [
    name
    for name, method in methods.METHODS.items()
    if method.source == "layer" and name != "center_gaussian"
]


def reference(name, a, g):
    """The formulas cell by cell, as the papers write them."""
    h, w, channels = a.shape
    cam = np.zeros((h, w))
    if name in ("eigencam", "eigengradcam"):
        x = (g * a if name == "eigengradcam" else a).reshape(h * w, channels)
        x = x - x.mean(0)
        _, _, vt = np.linalg.svd(x, full_matrices=False)
        projected = x @ vt[0]
        if abs(projected.min()) > abs(projected.max()):
            projected = -projected
        return projected.reshape(h, w)
    for k in range(channels):
        ak, gk = a[..., k], g[..., k]
        if name == "gradcam":
            cam += gk.sum() / (h * w) * ak
        elif name == "hirescam":
            cam += gk * ak
        elif name == "gradcam_elementwise":
            cam += np.maximum(gk * ak, 0)
        elif name == "layercam":
            cam += np.where(gk > 0, gk, 0) * ak
        elif name == "xgradcam":
            cam += (gk * ak).sum() / ak.sum() * ak
        elif name == "gradcam++":
            weight = 0.0
            for i in range(h):
                for j in range(w):
                    below = 2 * gk[i, j] ** 2 + ak.sum() * gk[i, j] ** 3 + 1e-6
                    if gk[i, j] > 0:
                        weight += gk[i, j] * gk[i, j] ** 2 / below
            cam += weight * ak
    return cam


@pytest.mark.parametrize("name", LAYER)
@pytest.mark.parametrize("shape", [(3, 4, 20), (5, 4, 6)])
def test_method_against_float64_loops(name, shape):
    rng = np.random.default_rng(sum(shape))
    a = rng.normal(0.3, 1, shape)
    g = rng.normal(0, 1, shape) * (rng.random(shape) > 0.2)
    compute = jax.jit(methods.METHODS[name].compute)
    expected = reference(name, a, g)
    with jax.enable_x64(True):
        found = np.asarray(compute(jnp.asarray(a), jnp.asarray(g)))
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
    single = compute(jnp.asarray(a, jnp.float32), jnp.asarray(g, jnp.float32))
    np.testing.assert_allclose(single, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*LAYER, "center_gaussian"])
@pytest.mark.parametrize("shape", [(3, 4, 20), (5, 4, 6)])
def test_leading_axes_are_images_and_targets(name, shape):
    """NumPy arrays, also integers, give float32: compiled, and of one shape not."""
    rng = np.random.default_rng(2)
    a = rng.integers(-3, 9, (2, 1, *shape))
    g = rng.normal(size=(2, 3, *shape))
    compute = methods.METHODS[name].compute
    asks, compiled = methods.METHODS[name].gradients, jax.jit(compute)
    found = (compute if shape == (3, 4, 20) else compiled)(a, g)
    assert found.shape == (2, 3 if asks else 1, *shape[:2]) and found.dtype == "float32"
    for i, k in np.ndindex(found.shape[:2]):
        alone = np.asarray(compiled(a[i, 0], g[i, k]))
        np.testing.assert_allclose(found[i, k], alone, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("name", LAYER)
def test_maps_are_finite_whatever_comes(name):
    rng = np.random.default_rng(0)
    shape = (3, 3, 4)
    cases = {
        "zero": np.zeros(shape),
        "constant": np.full(shape, 2.0),
        "negative": -rng.random(shape) - 0.1,
        "normal": rng.normal(size=shape),
    }
    cases["sums to zero"] = cases["normal"] - cases["normal"].mean((0, 1))
    compute = jax.jit(methods.METHODS[name].compute)
    for kind, a in cases.items():
        for slope, g in cases.items():
            found = compute(jnp.asarray(a, jnp.float32), jnp.asarray(g, jnp.float32))
            assert np.isfinite(found).all(), (kind, slope)
            if kind == "zero" or (slope == "zero" and name != "eigencam"):
                assert not np.asarray(found).any(), (kind, slope)


def test_xgradcam_keeps_the_sign_of_a_small_sum():
    # sum(A) = -1e-6: adding a positive epsilon would shrink it to -9e-7.
    a = jnp.asarray([[[1.0], [-1.0 - 1e-6]]], jnp.float32)
    g = jnp.ones_like(a)
    total = float(a.sum())
    weight = total / (total - 1e-7)
    found = np.asarray(methods.xgradcam(a, g))
    np.testing.assert_allclose(found, weight * np.asarray(a)[..., 0], rtol=1e-5)


def test_gradcam_plus_plus_survives_large_scores():
    a = jnp.full((2, 2, 3), 1e3, jnp.float32)
    g = jnp.full((2, 2, 3), 1e3, jnp.float32)
    assert np.isfinite(methods.gradcam_plus_plus(a, g)).all()


def test_center_gaussian_by_hand():
    found = np.asarray(methods.center_gaussian(jnp.zeros((2, 3, 1))))
    row = np.exp(-0.5 * np.array([4 / 3, 0, 4 / 3]) ** 2)
    column = np.exp(-0.5)
    np.testing.assert_allclose(found, [column * row] * 2, rtol=1e-6)


def test_registry_and_unknown_method():
    assert [m.name for m in methods.get_methods(("gradcam", "gradcam"))] == ["gradcam"]
    with pytest.raises(UserError, match="unknown method 'gradcan'.*gradcam"):
        methods.get_methods("gradcan")
    with pytest.raises(UserError, match="no method"):
        methods.get_methods(())


def test_the_registry_is_these_functions():
    """Each layer method is a public function of the module with the same name."""
    import hiercam_keras as hc

    named = {"gradcam++": "gradcam_plus_plus", "random": "random_map"}
    for name, method in methods.METHODS.items():
        if method.source in ("layer", "random"):
            assert method.compute is getattr(hc.methods, named.get(name, name))
            assert method.compute.__doc__


def test_a_method_is_added_in_one_place(explain, images, monkeypatch):
    """The decorator suffices to register a method with the engine."""
    monkeypatch.setattr(methods, "METHODS", methods.METHODS.copy())

    @methods._method("activation_sum", gradients=False)
    def activation_sum(activations):
        return activations.sum(-1)

    found = explain(images, [1] * 5, "activation_sum")
    hires = explain(images, [1] * 5, "hirescam")
    assert found.method == "activation_sum" and found.cams.shape == hires.cams.shape
    assert np.abs(found.cams - hires.cams).max() > 0


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda a: methods.gradcam(a), "gradcam needs grads"),
        (
            lambda a: methods.layercam(a, a[..., :2]),
            r"found \(4, 3, 5\) and .*, 2\)",
        ),
        (
            lambda a: methods.hirescam(a[None].repeat(2, 0), a[None].repeat(3, 0)),
            r"found \(2, 4, 3, 5\) and \(3, 4, 3, 5\)",
        ),
        (lambda a: methods.eigencam(a[0]), r"\(..., h, w, C\), found .* \(3, 5\)"),
    ],
)
def test_arrays_that_do_not_fit(call, part):
    array = np.ones((4, 3, 5))
    with pytest.raises(UserError, match=part):
        call(array)
