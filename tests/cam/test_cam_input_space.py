"""Methods that change the image: finite differences, completeness, plain loops."""

import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import targets
from hiercam_keras.cam.heatmaps import resize
from hiercam_keras.errors import UserError


@pytest.fixture(scope="module")
def logits_of(small_model):
    """The small model in float64 loops over cells: images (B, 12, 10, 3) -> (B, 7)."""
    weights = [w.astype(np.float64) for w in small_model.get_weights()]

    def convolve(x, kernel, bias, stride):
        size = kernel.shape[0]
        h = (x.shape[1] - size) // stride + 1
        w = (x.shape[2] - size) // stride + 1
        z = np.zeros((len(x), h, w, kernel.shape[-1]))
        for i in range(h):
            for j in range(w):
                at = (slice(i * stride, i * stride + size),)
                at += (slice(j * stride, j * stride + size),)
                z[:, i, j] = (
                    np.einsum("nabc,abcd->nd", x[:, at[0], at[1]], kernel) + bias
                )
        return z / (1 + np.exp(-z))

    def run(x):
        x = np.asarray(x, np.float64) / 127.5 - 1
        x = convolve(convolve(x, *weights[:2], 2), *weights[2:4], 1)
        return x.mean((1, 2)) @ weights[4] + weights[5]

    return run


@pytest.fixture(scope="module")
def results(small_model, tree, images):
    options = cam.Options(
        ig_steps=64, scorecam_channels=4, smoothgrad_samples=4, smoothgrad_noise=0.0
    )
    explain = cam.Explainer(
        small_model, "top_activation", taxonomy=tree, options=options
    )
    asked = [targets.label(2), targets.step("species", 1)]
    names = ("saliency", "smoothgrad", "integrated_gradients", "scorecam")
    found = explain.explain_many(images[:2], asked, names)
    return {name: result for (name, _), result in found.items()}


def scores_of(z):
    return np.stack([z[:, 2], z[:, 1] - np.logaddexp(z[:, 0], z[:, 1])], axis=1)


def test_saliency_by_finite_differences(results, logits_of, images):
    found = results["saliency"]
    assert found.cams.shape == (2, 2, 12, 10) and found.layer == "input"
    x = images[0].astype(np.float64)
    for i, j in [(0, 0), (3, 7), (11, 9), (6, 2)]:
        slopes = []
        for channel in range(3):
            up, down = x.copy(), x.copy()
            up[i, j, channel] += 1e-3
            down[i, j, channel] -= 1e-3
            up, down = scores_of(logits_of(np.stack([up, down])))
            slopes.append((up - down) / 2e-3)
        expected = np.abs(slopes).max(0)
        np.testing.assert_allclose(
            found.cams[0, :, i, j], expected, rtol=2e-3, atol=1e-7
        )


def test_smoothgrad_without_noise_is_saliency(results):
    np.testing.assert_allclose(
        results["smoothgrad"].cams, results["saliency"].cams, rtol=1e-4, atol=1e-8
    )


def test_smoothgrad_noise_is_the_image_own(small_model, tree, images):
    options = cam.Options(smoothgrad_samples=2)
    explain = cam.Explainer(small_model, taxonomy=tree, options=options)
    both = explain(images[:2], [1, 1], "smoothgrad", seeds=[5, 6]).cams
    swapped = explain(images[1::-1], [1, 1], "smoothgrad", seeds=[6, 5]).cams
    np.testing.assert_allclose(both, swapped[::-1], rtol=1e-4, atol=1e-8)


def test_integrated_gradients_are_complete(results, logits_of, images):
    found = results["integrated_gradients"]
    x = images[:2].astype(np.float64)
    reach = scores_of(logits_of(x)) - scores_of(logits_of(np.zeros_like(x)))
    np.testing.assert_allclose(found.cams.sum((-2, -1)), reach, atol=2e-3)
    gap = np.abs(found.cams.sum((-2, -1)) - reach)
    np.testing.assert_allclose(found.extras["completeness_gap"], gap, atol=1e-4)


def test_scorecam_by_loops(results, small_model, logits_of, images):
    import keras

    tap = keras.Model(small_model.input, small_model.get_layer("top_activation").output)
    a = np.asarray(tap(images[:2].astype(np.float32)), np.float64)
    for b in range(2):
        chosen = np.argsort(-a[b].std((0, 1)))[:4]
        x = images[b].astype(np.float64)
        mean = x.mean((0, 1))
        asked = []
        for k in chosen:
            mask = resize(a[b, :, :, k], (12, 10))
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            asked.append(mean + mask[..., None] * (x - mean))
        scores = scores_of(logits_of(np.stack(asked)))  # (4, 2)
        weights = np.exp(scores) / np.exp(scores).sum(0)
        expected = np.einsum("hwn,nk->khw", a[b][..., chosen], weights)
        found = results["scorecam"].cams[b]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_model_of_integers_says_why_not(images):
    import keras

    layers = keras.layers
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = layers.Conv2D(2, 3)(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    explain = cam.Explainer(model)
    assert np.isfinite(explain(images).cams).all()
    with pytest.raises(UserError, match="uint8.*a model that takes floats"):
        explain(images, method="saliency")
