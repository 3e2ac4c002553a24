"""Networks as two JAX functions, compared with Keras, jax.grad and closed forms."""

import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras import cam
from hiercam_keras.cam import targets
from hiercam_keras.cam.function import FunctionExplainer, explain_function
from hiercam_keras.errors import UserError

OPTIONS = cam.Options(
    scorecam_channels=3, smoothgrad_samples=2, ig_steps=3, flip=True, seed=5
)
ASKED = [
    targets.predicted(),
    targets.path(),
    targets.marginal("family", "a"),
    targets.contrast("species", 2, against=4),
]


def conv(x, layer, stride):
    return jax.nn.swish(
        jax.lax.conv_general_dilated(
            x,
            layer["kernel"],
            (stride, stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        + layer["bias"]
    )


def f(weights, images):
    """The network of the fixture `small_model`, up to its last activation."""
    x = images.astype(weights["first"]["kernel"].dtype) / 127.5 - 1
    return conv(conv(x, weights["first"], 2), weights["second"], 1)


def g(weights, activations):
    return (
        activations.mean((1, 2)) @ weights["logits"]["kernel"]
        + (weights["logits"]["bias"])
    )


@pytest.fixture(scope="module")
def weights(small_model):
    return {
        name: dict(
            zip(
                ("kernel", "bias"),
                map(jnp.asarray, small_model.get_layer(name).get_weights()),
                strict=True,
            )
        )
        for name in ("first", "second", "logits")
    }


@pytest.fixture(scope="module")
def explain_f(weights, tree):
    return FunctionExplainer(f, g, variables=weights, taxonomy=tree)


def close(found, expected, tolerance=2e-5):
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    assert 0 < scale < np.inf  # zeros or NaN would be compared with nothing
    np.testing.assert_allclose(found, expected, atol=tolerance * scale)


def test_every_method_gives_what_the_keras_explainer_gives(
    small_model, weights, tree, images
):
    """All methods, including input-space and random ones."""
    settings = {"taxonomy": tree, "options": OPTIONS, "batch_size": 3}
    layer = "top_activation"
    keras_model = cam.Explainer(small_model, layer, **settings)
    functions = FunctionExplainer(f, g, variables=weights, layer=layer, **settings)
    names = functions.methods
    expected = keras_model.explain_many(images, ASKED, names)
    found = functions.explain_many(images, ASKED, names)
    assert list(found) == list(expected)
    assert tuple(name for name, _ in found) == names
    lack = {"refinecam", "rollout", "legrad", "gradient_x_attention"}
    assert set(cam.METHODS) - set(names) == lack
    for key, one in expected.items():
        close(found[key].cams, one.cams, 2e-4)
        np.testing.assert_allclose(found[key].scores, one.scores, atol=1e-5)
        np.testing.assert_allclose(
            found[key].probabilities, one.probabilities, atol=1e-6
        )
        for field in ("rows", "rivals", "trivial", "degenerate"):
            np.testing.assert_array_equal(getattr(found[key], field), vars(one)[field])
        assert found[key].names == one.names and found[key].titles == one.titles
        assert found[key].image_size == one.image_size == (12, 10)


def test_gradients_are_those_of_jax_grad_in_float64(weights, tree, images):
    """Grad-CAM and HiResCAM of a step, written out with jax.grad."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), weights)
        explain = FunctionExplainer(f, g, variables=wide, taxonomy=tree)
        found = explain.explain_many(
            images, targets.step("genus", "g1"), ["gradcam", "hirescam"]
        )
        a = f(wide, images)

        def score(a):  # log P(g1 | a): species 0 and 1 of 0, 1, 2
            z = g(wide, a)
            return (
                jnp.logaddexp(z[:, 0], z[:, 1]) - jax.nn.logsumexp(z[:, :3], 1)
            ).sum()

        slope = jax.grad(score)(a)
        expected = jnp.einsum("bhwc,bc->bhw", a, slope.mean((1, 2)))
        assert found["gradcam", "activations"].cams.dtype == np.float64
        close(found["gradcam", "activations"].cams[:, 0], expected, 1e-12)
        close(found["hirescam", "activations"].cams[:, 0], (a * slope).sum(-1), 1e-12)


def test_a_call_compiles_once_for_any_weights_and_targets(weights, tree, images):
    """New weights, NumPy's too, are arguments and no constants of the program."""
    explain = FunctionExplainer(f, g, variables=weights, taxonomy=tree, batch_size=4)
    first = explain(images, [0] * 5)
    doubled = jax.tree.map(np.asarray, weights)
    doubled = {**doubled, "logits": {k: 2 * v for k, v in doubled["logits"].items()}}
    again = explain(images[:2], targets.predicted("order"), variables=doubled)
    np.testing.assert_allclose(again.logits, 2 * first.logits[:2], rtol=1e-5)
    close(explain(images, [0] * 5, variables=doubled).cams, 2 * first.cams)
    close(explain(images, [0] * 5).cams, first.cams)
    (compiled,) = explain._compiled.values()
    assert compiled._cache_size() == 1


def test_weights_that_are_closed_over(weights, tree, images, explain_f):
    """f and g without variables= take an array alone."""
    result = explain_function(
        lambda x: f(weights, x),
        jax.jit(lambda a: g(weights, a)),
        images,
        targets.path(3),
        taxonomy=tree,
    )
    expected = explain_f(images, targets.path(3)).cams
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.cams, expected, atol=2e-5 * scale)


def test_the_backward_pass_stops_at_f(weights, tree, images, explain_f):
    """A linear g is differentiated; the convolutions below are run once, forward."""
    explain_f(images)
    program = next(iter(explain_f._programs.values()))
    asked = targets.encode(targets.expand(ASKED, explain_f.space), explain_f.space, 5)
    text = str(
        jax.make_jaxpr(lambda *a: program.run(cam.methods.get_methods("gradcam"), *a))(
            weights, images, (), asked, np.arange(5)
        )
    )
    assert text.count("conv_general_dilated") == 2


def test_images_and_activations_that_are_channels_first(
    weights, tree, images, explain_f
):
    turned = FunctionExplainer(
        lambda w, x: jnp.moveaxis(f(w, jnp.moveaxis(x, 1, -1)), -1, 1),
        lambda w, a: g(w, jnp.moveaxis(a, 1, -1)),
        variables=weights,
        taxonomy=tree,
        data_format="channels_first",
    )
    names = ["gradcam", "scorecam", "saliency"]
    found = turned.explain_many(np.moveaxis(images, -1, 1), ASKED, names)
    for key, one in explain_f.explain_many(images, ASKED, names).items():
        close(found[key].cams, one.cams)
        assert found[key].image_size == (12, 10)


def test_tokens_are_folded(weights, tree, images, explain_f):
    tokens = FunctionExplainer(
        lambda w, x: f(w, x).reshape(len(x), 12, 6),
        lambda w, a: g(w, a.reshape(len(a), 4, 3, 6)),
        variables=weights,
        taxonomy=tree,
        reshape=lambda a: a.reshape(len(a), 4, 3, 6),
    )
    expected = explain_f(images, ASKED).cams
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tokens(images, ASKED).cams, expected, atol=2e-5 * scale)


def test_outputs_in_an_order_of_their_own(weights, tree, images, explain_f):
    """order= gives the label of each column; maps and scores are unchanged."""
    order = [4, 0, 6, 2, 5, 1, 3]
    shuffled = FunctionExplainer(
        f,
        lambda w, a: g(w, a)[:, np.array(order)],
        variables=weights,
        taxonomy=tree,
        order=order,
    )
    found, expected = shuffled(images, ASKED), explain_f(images, ASKED)
    assert found.names == expected.names
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-5)
    scale = np.abs(expected.cams).max()
    np.testing.assert_allclose(found.cams, expected.cams, atol=2e-5 * scale)


def test_a_dict_of_activations_is_a_dict_of_layers(weights, images):
    """Two branches that g adds: each has the gradient of its own part."""

    def two(w, x):
        x = x.astype(jnp.float32) / 127.5 - 1
        return {"b": conv(x, w["first"], 2)[..., :3], "a": conv(x, w["first"], 1)}

    def both(w, found):
        kernel = w["logits"]["kernel"]
        part = found["a"].mean((1, 2)) @ kernel[:4]
        return part + found["b"].mean((1, 2)) @ kernel[3:]

    explain = FunctionExplainer(two, both, variables=weights)
    result = explain.explain_many(images, [1] * 5)
    assert list(result) == [("gradcam", "a"), ("gradcam", "b")]
    kernel = np.asarray(weights["logits"]["kernel"])[:, 1]
    for name, columns in (("a", kernel[:4]), ("b", kernel[3:])):
        a = np.asarray(two(weights, images)[name])
        close(result["gradcam", name].cams[:, 0], a @ columns / a[0, ..., 0].size)
    with pytest.raises(UserError, match="this explainer has a, b"):
        explain(images)


def test_heads_by_rank_and_names(weights, tree, images):
    """A dict of rank -> logits; two sigmoids with names."""
    heads = FunctionExplainer(
        f,
        lambda w, a: {"species": g(w, a), "order": g(w, a)[:, 2:4]},
        variables=weights,
        taxonomy=tree,
    )
    result = heads(images, [targets.predicted("order"), targets.marginal("order")])
    logits = np.asarray(g(weights, f(weights, images)))
    np.testing.assert_allclose(result.head_logits("order"), logits[:, 2:4], rtol=1e-5)
    np.testing.assert_allclose(result.scores[:, 0], logits[:, 2:4].max(1), rtol=1e-4)
    traits = FunctionExplainer(
        f,
        lambda w, a: jax.nn.sigmoid(g(w, a)[:, :2]),
        variables=weights,
        names=["bill", "crest"],
        activation="sigmoid",
        probabilities=True,
    )
    result = traits(images, targets.label("crest"))
    np.testing.assert_allclose(result.scores[:, 0], logits[:, 1], rtol=1e-4)


def test_the_scorer_gives_log_odds(weights, tree, images, explain_f):
    fresh = FunctionExplainer(f, g, variables=weights, taxonomy=tree)
    with pytest.raises(UserError, match="explain some images before"):
        fresh.scorer()
    explain_f(images)
    scorer = explain_f.scorer()
    found = scorer(images, scorer.rows([0] * 5, "order"))  # species 0 .. 4 against 5, 6
    z = np.exp(np.asarray(g(weights, f(weights, images)), np.float64))
    np.testing.assert_allclose(
        found, np.log(z[:, :5].sum(1)) - np.log(z[:, 5:].sum(1)), rtol=1e-4, atol=1e-5
    )


def test_faithfulness_takes_an_explainer_of_functions(explain_f, images):
    import hiercam_keras as hc

    result = explain_f(images[:2], targets.predicted("family"))
    curves = hc.faithfulness(explain_f, images[:2], result).curves
    assert curves["deletion"].shape[:2] == (2, 1)
    assert np.isfinite(curves["deletion"]).any()


def test_the_figure_of_a_photo_takes_an_explainer_of_functions(
    weights, tree, images, tmp_path
):
    """Layers and labels are known before the first image, as for a Keras model."""
    from hiercam_keras.modes.cam import explain_photo

    explain = FunctionExplainer(
        f, g, variables=weights, taxonomy=tree, image_shape=(12, 12, 3)
    )
    assert explain.layers == ("activations",) and explain.space.finest == "species"
    record = types.SimpleNamespace(example_id="bird.jpg", lineage=None)
    square = np.concatenate([images[0], images[0][:, :2]], axis=1)
    text = explain_photo(
        explain, square, record, tree, tmp_path / "bird.png", "gradcam"
    )
    assert (tmp_path / "bird.png").read_bytes().startswith(b"\x89PNG")
    assert explain(square[None]).names[0][0] in text


def lower(weights, images):
    raise KeyError("conv9")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (
            lambda w: FunctionExplainer("f", g),
            "f is a function of JAX.*found str",
        ),
        (
            lambda w: FunctionExplainer(f, g, variables={**w, "act": jax.nn.relu}),
            r"variables\['act'\] is \w+, no array.*equinox.partition",
        ),
        (
            lambda w: FunctionExplainer(f, g, variables=w, data_format="NCHW"),
            "channels_first, channels_last, not 'NCHW'",
        ),
        (
            lambda w: FunctionExplainer(lower, g, variables=w)(IMAGES),
            r"f cannot be traced by JAX on \('B', 8, 8, 3\): KeyError.*evaluation mode",
        ),
        (
            lambda w: FunctionExplainer(f, lambda w, a: a @ w["x"], variables=w)(
                IMAGES
            ),
            "g cannot be traced by JAX on .*KeyError: 'x'",
        ),
        (
            lambda w: FunctionExplainer(
                lambda w, x: f(w, x).mean((1, 2)), g, variables=w
            )(IMAGES),
            r"'activations' are float32 of shape \('B', 6\).*expected floats \(B, h,",
        ),
        (
            lambda w: FunctionExplainer(
                lambda w, x: f(w, x).mean((1, 2), keepdims=True), g, variables=w
            )(IMAGES),
            "maps of one cell.*earlier layer",
        ),
        (
            lambda w: FunctionExplainer(lambda w, x: (f(w, x), 1), g, variables=w)(
                IMAGES
            ),
            "or a dict of name -> activations; found tuple",
        ),
        (
            lambda w: FunctionExplainer(f, lambda w, a: a, variables=w)(IMAGES),
            r"expected logits \(batch, labels\)",
        ),
        (
            lambda w: FunctionExplainer(f, g, variables=w)(IMAGES, other_inputs=[1]),
            "f takes images alone",
        ),
        (
            lambda w: FunctionExplainer(lambda x: x, lambda a: a)(IMAGES, variables=w),
            "make the explainer with variables=",
        ),
        (
            lambda w: FunctionExplainer(f, g, variables=w)(IMAGES[0]),
            r"For a single image give images\[None\]",
        ),
    ],
)
def test_errors(make, part, weights):
    with pytest.raises(UserError, match=part):
        make(weights)


IMAGES = np.zeros((2, 8, 8, 3), np.uint8)

_ALONE = """
import sys
import jax.numpy as jnp
import numpy as np
from hiercam_keras.cam import explain_function, targets
f = lambda x: jnp.stack([x[..., 0], x[..., 1] ** 2], -1).astype(float)
g = lambda a: a.mean((1, 2))
images = np.ones((1, 4, 4, 3), np.float32)
assert explain_function(f, g, images, [1]).scores.tolist() == [[1.0]]
assert explain_function(f, g, images, [1], "saliency").cams[0, 0, 0, 0] == 2 / 16
print(sorted({"keras", "tensorflow"} & {*sys.modules}))
"""


def test_no_keras_is_imported():
    """Keras is not imported and no backend is set for networks of other libraries."""
    found = subprocess.run(
        [sys.executable, "-c", _ALONE], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_maps_that_have_the_proportions_of_images_in_other_axes(caplog):
    """Channels first in place of last; one cell off is no sign of it."""

    def explained(shape, size=(32, 32)):
        caplog.clear()
        image = np.zeros((1, *size, 3), np.uint8)

        def f(x):
            return jnp.zeros((x.shape[0], *shape)) + x.mean((1, 2, 3), keepdims=True)

        explain_function(f, lambda a: a.mean((1, 2))[:, :2], image)
        return "If they are channels first" in caplog.text

    assert explained((5, 8, 8))
    assert explained((9, 4, 6), (40, 60))
    assert not explained((8, 8, 5)) and not explained((8, 7, 7))
    assert not explained((4, 6, 6), (40, 60))
