"""The engine: one pass for all targets, compared with float64 and closed forms."""

import jax
import numpy as np
import pytest

from hiercam_keras import cam, halves, malloc, processor
from hiercam_keras.cam import targets
from hiercam_keras.errors import UserError


def head(model, name="logits"):
    kernel, bias = model.get_layer(name).get_weights()
    return kernel.astype(np.float64), bias.astype(np.float64)


def activations_of(model, layer, images):
    import keras

    tap = keras.Model(model.input, model.get_layer(layer).output)
    return np.asarray(tap(images.astype(np.float32)), np.float64)


def close(found, expected, tolerance=1e-5):
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    assert 0 < scale < np.inf  # zeros or NaN would be compared with nothing
    np.testing.assert_allclose(found, expected, atol=tolerance * scale)


def test_gap_head_gives_the_closed_form(explain, small_model, images):
    """Grad-CAM = CAM / (h w), and its sum is logit - bias."""
    labels = [0, 3, 6, 2, 2]
    result = explain(images, labels)
    a = activations_of(small_model, "top_activation", images)
    kernel, bias = head(small_model)
    expected = np.einsum("bhwc,cb->bhw", a, kernel[:, labels]) / (
        a.shape[1] * a.shape[2]
    )
    close(result.cams[:, 0], expected)
    assert result.cams.shape == (5, 1, 4, 3) and result.cams.dtype == np.float32
    np.testing.assert_allclose(
        result.cams.sum((-2, -1))[:, 0], result.scores[:, 0] - bias[labels], rtol=1e-5
    )
    np.testing.assert_allclose(result.logits, a.mean((1, 2)) @ kernel + bias, rtol=1e-4)


def second_half(model, a):
    """The layers after `first_activation`, in float64 loops: (h, w, 4) -> logits."""
    kernel, bias = (
        w.astype(np.float64) for w in model.get_layer("second").get_weights()
    )
    h, w, _ = a.shape
    z = np.zeros((h - 1, w - 1, kernel.shape[-1]))
    for i in range(h - 1):
        for j in range(w - 1):
            patch = a[i : i + 2, j : j + 2]
            z[i, j] = np.einsum("abc,abcd->d", patch, kernel) + bias
    swish = z / (1 + np.exp(-z))
    dense, offset = head(model)
    return swish.mean((0, 1)) @ dense + offset


def test_gradcam_by_finite_differences_in_float64(small_model, tree, images):
    """At a layer that a convolution follows, for a logit and for a step."""
    explain = cam.Explainer(small_model, "first_activation", taxonomy=tree)
    asked = [targets.label(4), targets.step("species", 1)]
    found = explain.explain_many(images[:1], asked, ("gradcam", "hirescam"))
    result = {name: one for (name, _), one in found.items()}
    a = activations_of(small_model, "first_activation", images[:1])[0]

    def scores(a):
        z = second_half(small_model, a)
        return np.array([z[4], z[1] - np.log(np.exp(z[0]) + np.exp(z[1]))])

    g = np.zeros((2, *a.shape))
    for cell in np.ndindex(a.shape):
        up, down = a.copy(), a.copy()
        up[cell] += 1e-5
        down[cell] -= 1e-5
        g[(slice(None), *cell)] = (scores(up) - scores(down)) / 2e-5
    np.testing.assert_allclose(result["gradcam"].scores[0], scores(a), rtol=1e-5)
    for k in range(2):
        weights = g[k].mean((0, 1))
        close(result["gradcam"].cams[0, k], np.einsum("hwc,c->hw", a, weights))
        close(result["hirescam"].cams[0, k], (a * g[k]).sum(-1))


ALL = [
    targets.predicted(),
    targets.marginal("family", "a"),
    targets.contrast("species", None, "runner_up"),
]
METHODS = tuple(n for n, m in cam.METHODS.items() if m.source == "layer")


def test_batched_equals_looped(explain, images):
    together = explain.explain_many(images, ALL, METHODS)
    for i in range(len(images)):
        alone = explain.explain_many(images[i : i + 1], ALL, METHODS)
        for name in together:
            close(together[name].cams[i], alone[name].cams[0])
            np.testing.assert_array_equal(together[name].rows[i], alone[name].rows[0])
            np.testing.assert_allclose(
                together[name].scores[i], alone[name].scores[0], atol=1e-5
            )


def test_targets_together_equal_targets_alone(explain, images):
    together = explain(images, ALL)
    for k, target in enumerate(ALL):
        close(explain(images, target).cams[:, 0], together.cams[:, k])


def test_marginal_is_a_weighted_sum_of_species(explain, images):
    result = explain(images, targets.marginal("family", "c"))
    species = explain(images, [targets.label(3), targets.label(4)])
    share = np.exp(species.scores)
    share /= share.sum(1, keepdims=True)
    close(result.cams[:, 0], np.einsum("bk,bkhw->bhw", share, species.cams))


@pytest.mark.parametrize("layer", ["top_activation", "first_activation"])
def test_steps_add_up_to_the_leaf(small_model, tree, images, layer):
    explain = cam.Explainer(small_model, layer, taxonomy=tree)
    asked = [targets.path(), targets.log_probability()]
    results = explain.explain_many(images, asked, ("gradcam", "hirescam"))
    for result in results.values():
        assert result.ranks == ("order", "family", "genus", "species", "species")
        close(result.cams[:, :4].sum(1), result.cams[:, 4])
        np.testing.assert_allclose(
            result.scores[:, :4].sum(1), result.scores[:, 4], atol=1e-5
        )


def test_trivial_steps_are_zero_for_every_method(explain, images):
    results = explain.explain_many(images, targets.path(5), (*METHODS, "random"))
    for result in results.values():
        np.testing.assert_array_equal(result.trivial[:, 1:3], True)
        assert not result.cams[:, 1:3].any() and result.degenerate[:, 1:3].all()


def test_names_and_labels_of_what_was_asked(explain, images):
    result = explain(images, [targets.label("g3 z"), targets.step("family", 2)])
    assert result.names[0] == ["g3 z", "b"] and result.rival_names[0] == ["", "B"]
    assert result.labels[0].tolist() == [4, 2]
    assert result.ranks == ("species", "family")
    assert result.titles == ("label-own", "step-family")


def test_predicted_is_the_argmax(explain, images):
    result = explain(images)
    np.testing.assert_array_equal(result.labels[:, 0], result.logits.argmax(1))
    shares = np.exp(result.logits - result.logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        result.probabilities[:, 0], shares.max(1) / shares.sum(1), rtol=1e-5
    )


def test_padding_does_not_compile_and_does_not_show(small_model, tree, images):
    explain = cam.Explainer(small_model, "top_activation", taxonomy=tree, batch_size=4)
    whole = cam.Explainer(small_model, "top_activation", taxonomy=tree)(images, ALL)
    result = explain(images, ALL)  # 4 and 1, the second piece padded
    close(result.cams, whole.cams)
    assert len(result) == len(result.scores) == 5
    (compiled,) = explain._compiled.values()
    explain(
        images[:3],
        [targets.step("genus"), targets.label(1), targets.label("a", "family")],
    )
    assert compiled._cache_size() == 1


def test_weights_are_read_at_every_call(images):
    import keras

    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    explain = cam.Explainer(model)
    before = explain(images, [0] * 5).cams
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 2)
    close(explain(images, [0] * 5).cams, 2 * before)


def test_backward_pass_stops_at_the_layer(explain, small_model, images):
    """Below the layer one convolution runs, and none is differentiated."""
    run = next(iter(explain._programs.values())).run
    asked = targets.encode(targets.expand(ALL, explain.space), explain.space, 5)
    from hiercam_keras.cam import graph, methods

    text = str(
        jax.make_jaxpr(lambda *a: run(methods.get_methods("gradcam"), *a))(
            graph.variables_of(small_model), images, (), asked, np.arange(5)
        )
    )
    assert text.count("conv_general_dilated") == 2  # the model's own two, forward


def test_flip_averages_over_the_mirror_image(small_model, tree, images):
    options = cam.Options(flip=True)
    flipping = cam.Explainer(
        small_model, "top_activation", taxonomy=tree, options=options
    )
    plain = cam.Explainer(small_model, "top_activation", taxonomy=tree)
    labels = [1] * 5
    mirrored = plain(images[:, :, ::-1], labels).cams[..., ::-1]
    expected = (plain(images, labels).cams + mirrored) / 2
    close(flipping(images, labels).cams, expected)


def test_one_call_gives_one_explanation(small_model, tree, images, explain):
    """Several methods or layers require explain_many, as the error says."""
    several = ["gradcam", "saliency"]
    for wrong in (several, ("gradcam",), ["gradcam"]):
        with pytest.raises(UserError, match=r"by one method.*explain_many\(images"):
            explain(images, ALL, wrong)
        with pytest.raises(UserError, match="explain_many"):
            explain.submit(images, ALL, wrong)
    layers = ["top_activation", "first_activation"]
    both = cam.Explainer(small_model, layers, taxonomy=tree)
    with pytest.raises(UserError, match="one layer.*top_activation, first_activation"):
        both(images, ALL)
    assert both(images, ALL, "saliency").layer == "input"  # always
    found = both.explain_many(images, ALL, several)
    expected = [*(("gradcam", layer) for layer in layers), ("saliency", "input")]
    assert list(found) == expected
    assert [(one.method, one.layer) for one in found.values()] == expected
    (alone,) = explain.explain_many(images, ALL, "gradcam").values()
    close(alone.cams, explain(images, ALL).cams)
    close(found["gradcam", "top_activation"].cams, alone.cams)


def test_a_result_has_heatmaps_as_large_as_the_images(explain, images):
    result = explain(images, ALL)
    assert result.image_size == (12, 10)
    assert result.heatmap.shape == (5, 3, 12, 10)
    np.testing.assert_array_equal(
        result.heatmap, cam.heatmap(result.cams, result.image_size)
    )
    assert "label-own (species), label-family-marginal, contrast-" in repr(result)


def test_random_map_depends_on_the_seed_alone(explain, images):
    first = explain(images, method="random", seeds=[1, 2, 3, 4, 5])
    again = explain(images[::-1], method="random", seeds=[5, 4, 3, 2, 1])
    np.testing.assert_array_equal(first.cams, again.cams[::-1])
    assert np.abs(first.cams[0] - first.cams[1]).max() > 0.1


def test_submit_gives_the_same_later(explain, images):
    waiting = explain.submit(images, ALL)
    np.testing.assert_array_equal(waiting().cams, explain(images, ALL).cams)


def test_degenerate_where_nothing_is_positive(small_model, tree, images):
    """A model with zero weights gives degenerate maps without NaN."""
    import keras

    model = keras.models.clone_model(small_model)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    explain = cam.Explainer(model, "top_activation", taxonomy=tree)
    for result in explain.explain_many(images, ALL, METHODS).values():
        assert np.isfinite(result.cams).all()
        assert result.degenerate.all() or result.method == "center_gaussian"


@pytest.mark.parametrize(
    "images_of,asked,method,part",
    [
        (lambda x: x, [1, 2], "gradcam", "5 images of the batch, found 2"),
        (lambda x: x, targets.label([1] * 6), "gradcam", "found 6"),
        (lambda x: x[0], None, "gradcam", "at least one image"),
        (lambda x: x[:0], None, "gradcam", "at least one image"),
        (lambda x: x, None, "gradkam", "unknown method 'gradkam'"),
    ],
)
def test_errors(explain, images, images_of, asked, method, part):
    with pytest.raises(UserError, match=part):
        explain(images_of(images), asked, method)


def test_a_path_in_place_of_a_model():
    with pytest.raises(UserError, match="found str: read a file with keras.saving"):
        cam.Explainer("model.keras")


def test_halves_in_two_threads_give_the_same(explain, images, monkeypatch):
    """On a CPU with kept memory; images and targets of each row stay together."""
    pictures = np.concatenate([images, 255 - images])[:8]
    asked = np.arange(16).reshape(8, 2) % 7
    expected = explain(pictures, asked)
    monkeypatch.setattr(malloc, "is_kept", lambda: True)
    second = malloc._thread()
    monkeypatch.setattr(malloc, "second_thread", lambda: second)
    monkeypatch.setattr(processor, "num_cores", lambda: 2)
    monkeypatch.setattr(halves, "_LEAST_VALUES", 0)
    calls = []
    run = halves.run
    monkeypatch.setattr(halves, "run", lambda *a: calls.append(a) or run(*a))
    found = explain(pictures, asked)
    assert len(calls) == 1
    close(found.cams, expected.cams)
    close(found.logits, expected.logits)
    np.testing.assert_array_equal(found.rows, expected.rows)
