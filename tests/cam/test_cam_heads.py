"""Heads other than a softmax of several logits, compared with hand-worked values."""

import re

import keras
import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax

from hiercam_keras import cam
from hiercam_keras.cam import targets
from hiercam_keras.cam.score_space import Head, ScoreSpace
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError

layers = keras.layers


class Hidden(layers.Layer):
    """An activation in a layer's code, which cannot be detected."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def network(end, size=3, seed=0, scale=0.02):
    """A convolution, pooling, a linear head and an activation; and the head alone."""
    inputs = keras.Input((6, 5, 3))
    x = layers.Conv2D(4, 2, activation="tanh", name="conv")(inputs)
    z = layers.Dense(size, name="logits")(layers.GlobalAveragePooling2D()(x))
    rng = np.random.default_rng(seed)
    plain = keras.Model(inputs, z)
    for weight in plain.weights:
        weight.assign(rng.normal(0, scale if weight.ndim == 4 else 1, weight.shape))
    return keras.Model(inputs, end(z)), plain


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (4, 6, 5, 3)).astype("float32")


def logits_of(plain, pictures):
    return np.asarray(plain(pictures), np.float64)


def maps_of_logit(plain, pictures, column):
    """Grad-CAM of one logit under a pooled linear head, in float64."""
    layer = plain.get_layer("conv")
    a = np.asarray(keras.Model(plain.input, layer.output)(pictures), np.float64)
    kernel = np.asarray(plain.get_layer("logits").kernel, np.float64)[:, column]
    return a @ kernel / (a.shape[1] * a.shape[2])


def close(found, expected):
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    assert 0 < scale < np.inf  # zeros or NaN would be compared with nothing
    np.testing.assert_allclose(found, expected, atol=2e-5 * scale)


ONE_LOGIT = {
    "logit": (lambda z: z, {}),
    "dense": (layers.Activation("sigmoid"), {}),
    "operation": (keras.ops.sigmoid, {}),
    "caller says": (layers.Activation("sigmoid"), {"activation": "sigmoid"}),
    "found": (layers.Activation("sigmoid"), {"probabilities": True}),
    "hidden": (Hidden(keras.ops.sigmoid), {"probabilities": True}),
}


@pytest.mark.parametrize("kind", ONE_LOGIT)
def test_one_logit_has_two_classes(kind, pictures):
    """The score of class 1 is z, that of class 0 is -z, and P = sigmoid(score)."""
    end, options = ONE_LOGIT[kind]
    model, plain = network(end, size=1)
    z = logits_of(plain, pictures)[:, 0]
    result = cam.Explainer(model, "conv", **options)(
        pictures, [targets.label(0), targets.label(1), targets.predicted()]
    )
    close(result.scores, np.stack([-z, z, np.abs(z)], 1))
    close(result.probabilities, expit(np.stack([-z, z, np.abs(z)], 1)))
    expected = maps_of_logit(plain, pictures, 0)
    close(result.cams[:, 0], -expected)  # evidence for 0 is evidence against 1
    close(result.cams[:, 1], expected)
    assert result.labels[:, 2].tolist() == (z > 0).astype(int).tolist()
    close(result.rank_probabilities()[:, 1], expit(z))
    np.testing.assert_allclose(result.head_logits()[:, 1], z, rtol=1e-5)


def test_questions_about_two_classes_are_those_of_a_softmax(pictures):
    """(0, z) under a softmax: contrast z, steps log sigmoid(+-z)."""
    model, plain = network(layers.Activation("sigmoid"), size=1)
    z = logits_of(plain, pictures)[:, 0]
    asked = [
        targets.contrast(taxon=1, against=0),
        targets.log_probability(0),
        targets.path(1),
        targets.label("bird"),
    ]
    result = cam.Explainer(model, "conv", names=["none", "bird"])(pictures, asked)
    close(result.scores, np.stack([z, log_expit(-z), log_expit(z), z], 1))
    assert result.names[0] == ["bird", "none", "bird", "bird"]
    log_odds = Scorer(model)(pictures, Scorer(model).rows([0, 1, 0, 1]))
    close(log_odds, z * [-1, 1, -1, 1])


def test_a_saturated_sigmoid_keeps_its_logit(pictures):
    """float32 sigmoid(50) is 1, so its logit is infinite, not 50."""
    model, plain = network(layers.Activation("sigmoid"), size=1)
    plain.get_layer("logits").bias.assign([50.0])
    z = logits_of(plain, pictures)[:, 0]
    assert (np.asarray(model(pictures)) == 1).all()
    result = cam.Explainer(model, "conv")(pictures, [0] * 4)
    np.testing.assert_allclose(result.scores[:, 0], -z, rtol=1e-6)
    close(result.cams[:, 0], -maps_of_logit(plain, pictures, 0))
    assert not result.degenerate.all()


@pytest.mark.parametrize("end", ["sigmoid", Hidden(keras.ops.sigmoid), None])
def test_independent_labels(end, pictures, caplog):
    hidden = isinstance(end, Hidden)
    end = layers.Activation(end) if not hidden else end
    model, plain = network(end)
    z = logits_of(plain, pictures)
    explain = cam.Explainer(
        model, "conv", activation="sigmoid", probabilities=hidden or None
    )
    asked = [
        targets.label(2),
        targets.predicted(),
        targets.contrast(taxon=1, against=0),
    ]
    with caplog.at_level("WARNING", logger="absl"):
        result = explain(pictures, asked)
    assert not caplog.records
    close(result.scores, np.stack([z[:, 2], z.max(1), z[:, 1] - z[:, 0]], 1))
    close(result.probabilities[:, :2], expit(np.stack([z[:, 2], z.max(1)], 1)))
    close(result.rank_probabilities(), expit(z))
    close(result.cams[:, 0], maps_of_logit(plain, pictures, 2))
    scorer = Scorer(model, activation="sigmoid", probabilities=hidden or None)
    close(scorer(pictures, scorer.rows([0, 1, 2, 0])), z[range(4), [0, 1, 2, 0]])


@pytest.mark.parametrize(
    "target",
    [
        targets.log_probability(1),
        targets.path(),
        targets.step("label", 1),
        targets.marginal("label", 1),
        targets.contrast(taxon=1, against="siblings"),
    ],
    ids=lambda target: target.title,
)
def test_sums_over_independent_labels_are_refused(target, pictures):
    model, _ = network(layers.Activation("sigmoid"))
    explain = cam.Explainer(model, "conv", activation="sigmoid")
    with pytest.raises(UserError, match="independent sigmoids; ask label"):
        explain(pictures, target)


def test_independent_labels_have_no_coarser_ranks(tree):
    space = ScoreSpace({"species": Head(7, "sigmoid")}, tree)
    assert space.ranks == ("species",)
    with pytest.raises(UserError, match="'family'.*species.*do not add up"):
        space.group("family")
    found = space.probabilities(np.zeros((1, 7)))
    assert found.tolist() == [[0.5] * 7]


def test_several_sigmoids_are_refused_unless_the_caller_says_what_they_are():
    model, _ = network(layers.Activation("sigmoid"))
    with pytest.raises(UserError, match="3 sigmoids.*activation='sigmoid'"):
        cam.Explainer(model)
    with pytest.raises(UserError, match="activation='softmax'.*ends in a sigmoid"):
        cam.Explainer(model, activation="softmax")
    model, _ = network(layers.Activation("softmax"))
    with pytest.raises(UserError, match="activation='sigmoid'.*ends in a softmax"):
        cam.Explainer(model, activation="sigmoid")
    with pytest.raises(UserError, match="softmax of one logit"):
        cam.Explainer(network(lambda z: z, size=1)[0], activation="softmax")
    with pytest.raises(UserError, match="activation is one of auto"):
        cam.Explainer(model, activation="relu")
    with pytest.raises(UserError, match="names the output 'bird'; the model has"):
        cam.Explainer(model, activation={"bird": "softmax"})


@pytest.mark.parametrize(
    "end",
    [
        layers.Softmax(),
        layers.Activation("softmax"),
        keras.ops.softmax,
        keras.activations.softmax,
    ],
    ids=["layer", "activation", "operation", "function"],
)
def test_a_softmax_at_the_end_is_left_out(end, pictures, caplog):
    """Scores are the logits before it; with probabilities=True their log-softmax."""
    model, plain = network(end, scale=2.0)
    z = logits_of(plain, pictures)
    with caplog.at_level("WARNING", logger="absl"):
        result = cam.Explainer(model, "conv")(pictures, [0, 1, 2, 0])
    assert not caplog.records
    close(result.logits, z)
    close(result.rank_probabilities(), softmax(z, axis=1))
    close(result.cams, cam.Explainer(plain, "conv")(pictures, [0, 1, 2, 0]).cams)
    logs = cam.Explainer(model, "conv", probabilities=True)(pictures, [0] * 4)
    close(logs.scores[:, 0], log_softmax(z, axis=1)[:, 0])


def test_dense_activation_and_heads_of_several_kinds(pictures):
    """Each output of a dict ends in an activation of its own."""
    _, plain = network(lambda z: z, size=5)
    x = plain.layers[-2].output
    heads = {
        "bird": layers.Dense(1, activation="sigmoid", name="bird")(x),
        "thing": layers.Dense(4, activation="softmax", name="thing")(x),
        "traits": layers.Dense(3, activation="sigmoid", name="traits")(x),
    }
    model = keras.Model(plain.input, heads)
    with pytest.raises(UserError, match="'traits' is 3 sigmoids"):
        cam.Explainer(model)
    explain = cam.Explainer(
        model,
        "conv",
        activation={"traits": "sigmoid"},
        names={"bird": ["none", "bird"], "traits": ["crest", "tail", "bill"]},
    )
    result = explain(
        pictures,
        [
            targets.label("none", "bird"),
            targets.label(3, "thing"),
            targets.label("tail", "traits"),
        ],
    )
    features = np.asarray(keras.Model(plain.input, x)(pictures), np.float64)

    def z(name, column):
        kernel, bias = model.get_layer(name).get_weights()
        return (features @ kernel + bias)[:, column]

    expected = np.stack([-z("bird", 0), z("thing", 3), z("traits", 1)], 1)
    close(result.scores, expected)
    thing = np.stack([z("thing", i) for i in range(4)], 1)
    close(result.probabilities[:, 0], expit(expected[:, 0]))
    close(result.probabilities[:, 1], softmax(thing, axis=1)[:, 3])
    close(result.probabilities[:, 2], expit(expected[:, 2]))


@pytest.mark.parametrize("size", [1, 2])
def test_the_activation_that_a_message_names_is_taken(size):
    """Heads that end in different activations need a dict."""
    _, plain = network(lambda z: z, size=5)
    x = plain.layers[-2].output
    heads = {
        "thing": layers.Dense(4, activation="softmax")(x),
        "look": layers.Dense(size, activation="sigmoid")(x),
        "traits": layers.Dense(3, activation="sigmoid")(x),
    }
    model = keras.Model(plain.input, heads)
    right = {"look": "sigmoid", "traits": "sigmoid"}
    for asked in ("auto", "sigmoid", "softmax", {"look": "sigmoid"}):
        with pytest.raises(UserError, match=re.escape(f"activation={right}")):
            cam.Explainer(model, activation=asked)
    space = cam.Explainer(model, activation=right).space
    assert space.head_of["traits"].independent


def test_outputs_that_are_nan_have_no_score(pictures, caplog):
    """One NaN bias: its class is NaN, other classes keep their scores."""
    model, plain = network(lambda z: z)
    bias = np.float32([np.nan, 1, -np.inf])
    model.get_layer("logits").bias.assign(bias)
    with caplog.at_level("WARNING", logger="absl"):
        result = cam.Explainer(model, "conv")(
            pictures, [targets.label(0), targets.label(1), targets.label(2)]
        )
    assert "outputs for 4 of 4 images are NaN, the first is number 0" in caplog.text
    assert np.isnan(result.scores[:, 0]).all()
    assert np.isfinite(result.scores[:, 1]).all()
    assert np.isneginf(result.scores[:, 2]).all()
    assert np.isnan(result.probabilities).all()
    assert result.degenerate[:, 0].all()


def test_a_class_that_is_ruled_out_has_the_probability_zero(pictures):
    model, plain = network(lambda z: z)
    model.get_layer("logits").bias.assign(np.float32([0, 1, -np.inf]))
    result = cam.Explainer(model, "conv")(pictures, [2] * 4)
    assert np.isneginf(result.scores).all() and (result.probabilities == 0).all()
    assert np.isfinite(result.cams).all()


def test_layers_after_the_activation_still_see_probabilities(pictures):
    """One head is read before its softmax, which another head uses as input."""
    _, plain = network(lambda z: z, size=4)
    p = layers.Softmax(name="p")(plain.output)
    coarse = layers.Dense(1, activation="sigmoid", name="coarse")(p)
    model = keras.Model(plain.input, {"fine": p, "coarse": coarse, "again": p})
    asked = [targets.label(2, "fine"), targets.label(1, "coarse")]
    result = cam.Explainer(model, "conv")(pictures, asked)
    z = logits_of(plain, pictures)
    kernel, bias = model.get_layer("coarse").get_weights()
    expected = softmax(z, axis=1) @ kernel + bias
    close(result.scores, np.stack([z[:, 2], expected[:, 0]], 1))
    np.testing.assert_array_equal(
        result.head_logits("again"), result.head_logits("fine")
    )


def test_a_taxonomy_of_two_classes(pictures):
    from hiercam_keras.taxonomy.lineage import Lineage
    from hiercam_keras.taxonomy.tree import Taxonomy

    tree = Taxonomy(Lineage((name,), ("kind",)) for name in ("bird", "none"))
    model, plain = network(layers.Activation("sigmoid"), size=1)
    result = cam.Explainer(model, "conv", taxonomy=tree)(
        pictures, [targets.label("bird"), targets.path("none")]
    )
    z = logits_of(plain, pictures)[:, 0]
    close(result.scores, np.stack([-z, log_expit(z)], 1))
    assert result.ranks == ("kind", "kind") and result.names[0] == ["bird", "none"]


@pytest.mark.parametrize(
    "end,options,part",
    [
        (keras.ops.softmax, {}, "they sum to 1.*probabilities=True"),
        (keras.ops.sigmoid, {}, "those of sigmoids.*activation='sigmoid'"),
        (keras.ops.sigmoid, {"probabilities": True}, "do not add up to 1"),
        (
            lambda z: z + 100,
            {"probabilities": True, "activation": "sigmoid"},
            "some are above 1",
        ),
    ],
)
def test_doubtful_outputs_are_warned_about_once(end, options, part, pictures, caplog):
    explain = cam.Explainer(network(Hidden(end))[0], "conv", **options)
    with caplog.at_level("WARNING", logger="absl"):
        explain(pictures)
        explain(pictures)
    (record,) = caplog.records
    assert re.search(part, record.getMessage())


def test_a_caller_who_says_that_they_are_logits_is_believed(pictures, caplog):
    model, plain = network(layers.Softmax())
    with caplog.at_level("WARNING", logger="absl"):
        result = cam.Explainer(model, "conv", probabilities=False)(pictures, [1] * 4)
    assert not caplog.records
    close(result.logits, softmax(logits_of(plain, pictures), axis=1))


def test_names_without_a_taxonomy(pictures):
    model, _ = network(lambda z: z)
    explain = cam.Explainer(model, names=["crow", "jay", "jay"])
    assert explain(pictures, targets.label("crow")).names[0] == ["crow"]
    assert explain(pictures, [2] * 4).names[3] == ["jay"]
    with pytest.raises(UserError, match=r"'jay' names the labels \[1, 2\]"):
        explain(pictures, targets.label("jay"))
    with pytest.raises(UserError, match="no label is named 'corw'.*crow"):
        explain(pictures, targets.label("corw"))
    with pytest.raises(UserError, match="found 2 names for 'label'.*label 3"):
        cam.Explainer(model, names=["crow", "jay"])
    with pytest.raises(UserError, match="names need a taxonomy or a list"):
        cam.Explainer(model)(pictures, targets.label("crow"))


def test_the_model_is_left_as_it_was(pictures):
    model, _ = network(layers.Softmax())
    before = np.asarray(model(pictures))
    cam.Explainer(model, "conv")(pictures)
    np.testing.assert_array_equal(model(pictures), before)
    dense = keras.Sequential(
        [keras.Input((6, 5, 3)), layers.Conv2D(2, 3), layers.Flatten()]
        + [layers.Dense(2, activation="softmax", name="end")]
    )
    cam.Explainer(dense)(pictures)
    assert dense.get_layer("end").activation is keras.activations.softmax
