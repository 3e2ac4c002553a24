"""Allowed taxa: a masked network is one whose head lacks the columns."""

import keras
import numpy as np
import pytest

from hiercam_keras.cam import Explainer, targets
from hiercam_keras.cam.function import FunctionExplainer
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import allowed
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

L = keras.layers
RANKS = ("order", "family", "species")
TREE = Taxonomy(
    Lineage((f"o{i // 6}", f"f{i // 2}", f"s{i:02}"), RANKS) for i in range(12)
)
ASKED = "f0,f2,s06,s09,s10"
KEPT = [0, 1, 4, 5, 6, 9, 10]
ALL = [
    targets.predicted(),
    targets.predicted("family"),
    targets.path(),
    targets.log_probability(None),
    targets.contrast(against="runner_up"),
    targets.contrast(against="nearest", count=2),
    targets.marginal("order", 1),
]


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(5).integers(0, 256, (4, 6, 5, 3)).astype("float32")


def networks(heads, end=None):
    """A network, and the same one without the columns that are not kept.

    `heads` are the kept columns of each output by rank; None for one output.
    """
    inputs = keras.Input((6, 5, 3))
    conv = L.Conv2D(4, 2, activation="tanh", name="conv")
    pooled = L.GlobalAveragePooling2D()(conv(inputs))
    made = []
    layers = {}
    for short in (False, True):
        outputs = {}
        for rank, kept in heads.items():
            size = len(kept) if short else TREE.num_labels(rank)
            layer = L.Dense(size, name=f"{rank}_{short}")
            outputs[rank] = layer(pooled)
            layers[rank, short] = layer
            if end:
                outputs[rank] = L.Softmax()(outputs[rank])
        single = outputs["species"] if len(outputs) == 1 else outputs
        made.append(keras.Model(inputs, single))
    rng = np.random.default_rng(0)
    for weight in made[0].weights:
        weight.assign(rng.normal(0, 0.02 if weight.ndim == 4 else 1, weight.shape))
    for rank, kept in heads.items():
        kernel, bias = (np.asarray(w) for w in layers[rank, False].weights)
        layers[rank, True].set_weights([kernel[:, kept], bias[kept]])
    return made


@pytest.fixture(scope="module", params=["one", "softmax", "several"])
def pair(request):
    """The masked explainer, and that of the network that lacks the columns."""
    heads = {"species": KEPT}
    if request.param == "several":
        heads = {"family": [0, 2, 3, 4, 5], "species": KEPT}
    model, short = networks(heads, end=request.param == "softmax")
    taxonomy = allowed.read(ASKED).of(TREE).taxonomy
    assert taxonomy.num_labels("species") == len(KEPT)
    return (
        Explainer(model, "conv", taxonomy=TREE, allowed_taxa=ASKED),
        Explainer(short, "conv", taxonomy=taxonomy),
    )


@pytest.mark.parametrize("method", ["gradcam", "layercam", "scorecam"])
def test_maps_and_probabilities_are_those_of_a_network_without_the_columns(
    pair, pictures, method
):
    masked, short = (explain(pictures, ALL, method) for explain in pair)
    assert masked.names == short.names
    np.testing.assert_allclose(masked.probabilities, short.probabilities, atol=1e-6)
    np.testing.assert_allclose(masked.scores, short.scores, atol=1e-5)
    scale = np.abs(short.cams).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(masked.cams / scale, short.cams / scale, atol=1e-6)
    for rank in RANKS:
        found, expected = (one.rank_probabilities(rank) for one in (masked, short))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_scorer(pictures):
    model, short = networks({"species": KEPT})
    masked = Scorer(model, taxonomy=TREE, allowed_taxa=ASKED)
    plain = Scorer(short, taxonomy=allowed.read(ASKED).of(TREE).taxonomy)
    for rank in RANKS:
        labels = [0, 1, 0, 1]
        found, expected = (
            scorer(pictures, scorer.rows(labels, rank)) for scorer in (masked, plain)
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_labels_in_another_order(pictures):
    """Allowed taxa of a network with an order of its own and a left-out column."""
    model, short = networks({"species": KEPT})
    order = np.random.default_rng(1).permutation(12)
    kernel, bias = (np.asarray(w) for w in model.layers[-1].weights)
    shuffled = keras.Model(model.inputs, L.Dense(13)(model.layers[-2].output))
    shuffled.layers[-1].set_weights(
        [np.insert(kernel[:, order], 3, 9, axis=1), np.insert(bias[order], 3, 9)]
    )
    own = Explainer(
        shuffled,
        "conv",
        taxonomy=TREE,
        order=np.insert(order, 3, -1),
        allowed_taxa=ASKED,
    )
    plain = Explainer(short, "conv", taxonomy=allowed.read(ASKED).of(TREE).taxonomy)
    found, expected = own(pictures, ALL), plain(pictures, ALL)
    np.testing.assert_allclose(found.cams, expected.cams, atol=1e-6)


def test_a_coarse_head_without_a_choice_is_left_out(pictures):
    model, _ = networks({"family": [0], "species": [0, 1]})
    explain = Explainer(model, "conv", taxonomy=TREE, allowed_taxa="f0")
    assert list(explain(pictures, [targets.predicted()]).space.heads) == ["species"]


def test_function_explainer(pictures):
    model, short = networks({"species": KEPT})
    explainers = []
    for one, more in ((model, ASKED), (short, None)):
        kernel, bias = (np.asarray(w) for w in one.layers[-1].weights)
        explainers.append(
            FunctionExplainer(
                lambda variables, x: x,
                lambda variables, a, k=kernel, b=bias: a.mean((1, 2)) @ k[:3] + b,
                variables={},
                taxonomy=TREE if more else allowed.read(ASKED).of(TREE).taxonomy,
                allowed_taxa=more,
            )
        )
    found, expected = (explain(pictures / 255, ALL) for explain in explainers)
    np.testing.assert_allclose(found.cams, expected.cams, atol=1e-6)


def test_without_a_taxonomy_the_outputs_have_no_taxa():
    model, _ = networks({"species": KEPT})
    with pytest.raises(UserError, match="allowed_taxa= needs to know the taxa"):
        Explainer(model, "conv", allowed_taxa="f0")
