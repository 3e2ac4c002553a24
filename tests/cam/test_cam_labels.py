"""Outputs that are reordered, excluded and merged relative to the taxonomy.

Expected values are worked in float64 from the logits of the plain network.
"""

import json

import jax
import keras
import numpy as np
import pytest
from scipy.special import expit, logsumexp, softmax

from hiercam_keras import cam
from hiercam_keras.cam import randomization, targets
from hiercam_keras.cam.function import FunctionExplainer
from hiercam_keras.cam.label_columns import LabelColumns
from hiercam_keras.cam.scorer import Scorer
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.given_labels import as_labels
from hiercam_keras.taxonomy.labels import HeadLabels, Labels
from hiercam_keras.taxonomy.lineage import Lineage

L = keras.layers
RANKS = ("order", "family", "genus", "species")
ALL = [
    targets.predicted(),
    targets.predicted("family"),
    targets.path(),
    targets.log_probability(None),
    targets.contrast(against="runner_up"),
    targets.marginal("order", 1),
]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (4, 6, 5, 3)).astype("float32")


def network(size, end=None, seed=0):
    """A convolution, pooling, a linear head and an activation; and the head alone."""
    inputs = keras.Input((6, 5, 3))
    x = L.Conv2D(4, 2, activation="tanh", name="conv")(inputs)
    z = L.Dense(size, name="logits")(L.GlobalAveragePooling2D()(x))
    plain = keras.Model(inputs, z)
    rng = np.random.default_rng(seed)
    for weight in plain.weights:
        weight.assign(rng.normal(0, 0.02 if weight.ndim == 4 else 1, weight.shape))
    return keras.Model(inputs, end(z) if end else z), plain


class Hidden(L.Layer):
    """A function in a layer's code, which cannot be detected."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def logits_of(plain, pictures):
    return np.asarray(plain(pictures), np.float64)


def maps_of(plain, pictures, weights):
    """Grad-CAM of sum_c weights[b, c] z_c under a pooled linear head, in float64."""
    layer = plain.get_layer("conv")
    a = np.asarray(keras.Model(plain.input, layer.output)(pictures), np.float64)
    kernel = np.asarray(plain.get_layer("logits").kernel, np.float64)
    channels = np.asarray(weights) @ kernel.T  # (B, channels)
    return np.einsum("bhwk,bk->bhw", a, channels) / (a.shape[1] * a.shape[2])


def close(found, expected, rtol=2e-5):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, atol=rtol * np.abs(expected).max())


def answers(result):
    return result.cams, result.scores, result.probabilities, result.rows, result.logits


def test_a_permuted_network_with_its_order_gives_the_same_maps(tree, pictures):
    """Results are bitwise equal: the columns are reordered and restored."""
    plain, _ = network(7)
    right = cam.Explainer(plain, "conv", taxonomy=tree)(pictures, ALL)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(7)
        taken = keras.ops.take(plain.output, order, axis=1)
        model = keras.Model(plain.input, taken)
        found = cam.Explainer(model, "conv", taxonomy=tree, order=order)(pictures, ALL)
        for one, other in zip(answers(right), answers(found), strict=True):
            np.testing.assert_array_equal(one, other)
        assert found.names == right.names


def test_a_head_with_permuted_weights_gives_the_same_maps(tree, pictures):
    """Results are equal up to rounding: dot products sum labels in another order."""
    plain, _ = network(7)
    right = cam.Explainer(plain, "conv", taxonomy=tree)(pictures, ALL)
    order = np.random.default_rng(8).permutation(7)
    model = keras.models.clone_model(plain)
    model.set_weights(
        [*plain.get_weights()[:2], *(w[..., order] for w in plain.get_weights()[2:])]
    )
    lineages = [tree.lineages[label] for label in order]
    by_name = [tree.names("species")[label] for label in order]
    for options in (
        {"labels": lineages},
        {"labels": lineages, "taxonomy": tree},
        {"labels": by_name, "taxonomy": tree},
        {"order": order.tolist(), "taxonomy": tree},
        {"order": order, "taxonomy": tree, "rank": "species"},
    ):
        found = cam.Explainer(model, "conv", **options)(pictures, ALL)
        for one, other in zip(answers(right), answers(found), strict=True):
            close(other, one, 1e-6)
    scorer = Scorer(model, labels=lineages)
    expected = Scorer(plain, taxonomy=tree)
    rows = scorer.rows([0, 1, 1, 0], "order")
    close(scorer(pictures, rows), expected(pictures, rows), 1e-6)


def test_labels_in_order_add_nothing_to_the_program(tree, pictures):
    plain, _ = network(7)
    with_labels = cam.Explainer(plain, "conv", labels=tree.lineages)
    without = cam.Explainer(plain, "conv", taxonomy=tree)

    def program(explain):
        return str(jax.make_jaxpr(explain._outputs.logits)(np.zeros((4, 7), "f")))

    assert program(with_labels) == program(without)
    permuted = cam.Explainer(plain, "conv", labels=tree.lineages[::-1])
    assert program(permuted) != program(without)


def test_every_way_of_asking_follows_the_order(tree, pictures):
    """Methods that run the network again, and other weights than the model's own."""
    plain, _ = network(7)
    order = np.random.default_rng(4).permutation(7)
    model = keras.Model(plain.input, keras.ops.take(plain.output, order, axis=1))
    options = cam.Options(scorecam_channels=2, ig_steps=2, smoothgrad_samples=2)
    right = cam.Explainer(plain, "conv", taxonomy=tree, options=options)
    found = cam.Explainer(model, "conv", taxonomy=tree, order=order, options=options)
    shuffled = next(randomization.randomized(plain, seed=3)).variables
    asked = [targets.predicted("genus"), targets.contrast(against="siblings", taxon=3)]
    for variables in (None, shuffled):
        for method in ("scorecam", "integrated_gradients", "smoothgrad"):
            one = right(pictures, asked, method, variables=variables)
            other = found(pictures, asked, method, variables=variables)
            np.testing.assert_array_equal(one.cams, other.cams)
            assert one.cams.any()


def test_two_functions_in_place_of_a_model(pictures):
    """Labels work the same for networks that are no Keras models."""
    rng = np.random.default_rng(1)
    filters, kernel = rng.normal(0, 0.1, (3, 4)), rng.normal(size=(4, 6))
    explain = FunctionExplainer(
        lambda images: images @ filters.astype("float32"),
        lambda a: a.mean((1, 2)) @ kernel.astype("float32"),
        labels=MIXED,
    )
    result = explain(pictures, targets.label("g x"))
    z = (pictures.astype(float) @ filters).mean((1, 2)) @ kernel
    close(result.scores[:, 0], logsumexp(z[:, [0, 3]], axis=1))
    assert explain.labels.taxonomy.num_labels("species") == 3
    with pytest.raises(UserError, match="names the output 'a', and the model has '0'"):
        FunctionExplainer(
            lambda images: images, lambda a: [a[:, 0, 0]] * 2, labels={"a": MIXED}
        )(pictures)


# A species, left out, again the first species, and an unnamed one of the order B.
MIXED = [
    Lineage(("A", "a", "g", "x"), RANKS),
    Lineage(("B", "b", "h", "y"), RANKS),
    None,
    Lineage(("A", "a", "g", "x"), RANKS),
    None,
    Lineage(("B", "c", "c sp.", "c sp."), RANKS),
]


@pytest.mark.parametrize("end", [None, L.Softmax(), keras.ops.softmax])
def test_left_out_and_merged_columns(end, pictures):
    """P of the first species is that of its two columns, among four of the six."""
    model, plain = network(6, end)
    z = logits_of(plain, pictures)
    explain = cam.Explainer(model, "conv", labels=MIXED)
    asked = [
        targets.label("g x"),
        targets.log_probability("g x"),
        targets.marginal("order", "B"),
        targets.step("family", "c"),
    ]
    result = explain(pictures, asked)
    first = logsumexp(z[:, [0, 3]], axis=1)
    all_kept = logsumexp(z[:, [0, 1, 3, 5]], axis=1)
    order_b = logsumexp(z[:, [1, 5]], axis=1)
    expected = [first, first - all_kept, order_b, z[:, 5] - order_b]
    close(result.scores, np.stack(expected, 1))
    close(result.logits, np.stack([first, z[:, 1], z[:, 5]], 1))
    shares = softmax(z[:, [0, 1, 3, 5]], axis=1)
    close(
        result.rank_probabilities(),
        np.stack([shares[:, 0] + shares[:, 2], shares[:, 1], shares[:, 3]], 1),
    )

    def within(columns):
        """The gradient of logsumexp over some columns, (B, 6)."""
        found = np.zeros_like(z)
        found[:, columns] = softmax(z[:, columns], axis=1)
        return found

    gradients = [
        within([0, 3]),
        within([0, 3]) - within([0, 1, 3, 5]),
        within([1, 5]),
        within([5]) - within([1, 5]),
    ]
    assert result.names[0] == ["g x", "g x", "B", "c"]
    for k, weights in enumerate(gradients):
        close(result.cams[:, k], maps_of(plain, pictures, weights))


def test_other_is_a_taxon_at_every_rank(pictures):
    model, plain = network(6)
    z = logits_of(plain, pictures)
    labels = as_labels(MIXED, other="keep")
    result = cam.Explainer(model, "conv", labels=labels)(
        pictures, [targets.label("other", "order"), targets.step("order", "other")]
    )
    probability = softmax(z, axis=1)[:, [2, 4]].sum(1)
    close(result.probabilities[:, 0], probability)
    close(result.scores[:, 1], np.log(probability))
    assert result.names[0] == ["other", "other"]


@pytest.mark.parametrize("end", [None, Hidden(keras.ops.softmax), L.Softmax()])
def test_logarithms_of_probabilities_are_of_the_kept_columns(end, pictures):
    model, plain = network(6, end)
    options = {"probabilities": True} if end else {}
    result = cam.Explainer(model, "conv", labels=MIXED, **options)(pictures)
    z = logits_of(plain, pictures)[:, [0, 3, 1, 5]]
    p = softmax(z, axis=1)
    expected = np.stack([p[:, 0] + p[:, 1], p[:, 2], p[:, 3]], 1)
    close(result.rank_probabilities(), expected)
    assert (result.labels[:, 0] == expected.argmax(1)).all()
    if end:
        close(result.logits, np.log(expected))


@pytest.mark.parametrize("end", [L.Activation("sigmoid"), Hidden(keras.ops.sigmoid)])
def test_sigmoids_of_one_label_are_true_where_any_is(end, pictures):
    model, plain = network(6, end)
    hidden = isinstance(end, Hidden)
    explain = cam.Explainer(
        model,
        "conv",
        labels=["cock", "cow", None, "cock", None, "dog"],
        activation="sigmoid",
        probabilities=hidden or None,
    )
    p = expit(logits_of(plain, pictures))
    any_cock = 1 - (1 - p[:, 0]) * (1 - p[:, 3])
    result = explain(pictures, targets.label("cock"))
    close(result.probabilities[:, 0], any_cock)
    close(result.rank_probabilities(), np.stack([any_cock, p[:, 1], p[:, 5]], 1))
    # d log-odds(any) / d z_c = p_c / P(any).
    weights = np.zeros_like(p)
    weights[:, [0, 3]] = p[:, [0, 3]] / any_cock[:, None]
    close(result.cams[:, 0], maps_of(plain, pictures, weights), 1e-4)
    assert explain.space.head_of["label"].independent


@pytest.mark.parametrize("shift", [-200.0, -40.0, -14.0, 0.0, 14.0, 200.0])
def test_merged_sigmoids_keep_their_digits(shift):
    """Against float64, where probabilities are 0 or 1 to seven digits."""
    z = np.array([[0.3, -1.0, 2.0]]) + shift
    columns = LabelColumns([0, 0, 0], 1)

    def logit(z):
        return columns.gather(z, independent=True)[:, 0].sum()

    found, gradient = jax.value_and_grad(logit)(z.astype("float32"))
    # odds(a or b) = odds(a) + odds(b) + odds(a) odds(b), twice.
    pair = logsumexp([z[0, 0], z[0, 1], z[0, 0] + z[0, 1]])
    expected = logsumexp([pair, z[0, 2], pair + z[0, 2]])
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(
        gradient[0],
        np.exp(-np.logaddexp(0, -z[0]) + np.logaddexp(0, -expected)),
        rtol=1e-5,
        atol=1e-7,
    )


def test_columns_that_are_minus_infinity_or_nan():
    columns = LabelColumns([1, 1, 0, -1], 3)
    inf = np.inf
    z = np.float32([[-inf, -inf, 1, 5], [-inf, 2, 1, 5], [np.nan, 2, 1, 5]])
    found = np.asarray(columns.gather(z))
    expected = [[1, -inf, -inf], [1, 2, -inf], [1, np.nan, -inf]]
    np.testing.assert_array_equal(found, np.float32(expected))
    gradient = jax.grad(lambda z: columns.gather(z)[:, 0].sum())(z[:2])
    np.testing.assert_array_equal(gradient, [[0, 0, 1, 0]] * 2)


def test_one_logit_of_two_named_classes(pictures):
    """The first row is class 0, independent of the order of the names."""
    model, plain = network(1, L.Activation("sigmoid"))
    z = logits_of(plain, pictures)[:, 0]
    for names, sign in ((["none", "bird"], 1), (["bird", "none"], -1)):
        explain = cam.Explainer(model, "conv", labels=names)
        result = explain(pictures, targets.label("bird"))
        close(result.scores[:, 0], sign * z)
        close(result.probabilities[:, 0], expit(sign * z))
        close(result.cams[:, 0], maps_of(plain, pictures, np.full((4, 1), sign)))
    with pytest.raises(UserError, match="1 row for.*2 outputs .its one logit is two"):
        cam.Explainer(model, labels=["bird"])
    with pytest.raises(UserError, match="all outputs.*but those of one label"):
        cam.Explainer(model, labels=[None, "bird"])


HEADS = {
    "fam": [Lineage(("A", "c"), RANKS[:2]), None, Lineage(("A", "a"), RANKS[:2])],
    "sp": [
        Lineage(("A", "a", "g", "x"), RANKS),
        Lineage(("A", "b", "h", "y"), RANKS),
        Lineage(("A", "a", "g", "w"), RANKS),
        Lineage(("A", "a", "g", "x"), RANKS),
    ],
}


def two_heads(keyed):
    plain, _ = network(5)
    x = plain.layers[-2].output
    fam, sp = L.Dense(3, name="fam"), L.Dense(4, name="sp", activation="softmax")
    more = L.Dense(2, name="traits")(x)
    outputs = {"more": more, "sp": sp(x), "fam": fam(x)}
    if not keyed:
        outputs = [more, sp(x), fam(x)]
    model = keras.Model(plain.input, outputs)
    rng = np.random.default_rng(2)
    for weight in model.weights[2:]:
        weight.assign(rng.normal(0, 1, weight.shape))
    features = keras.Model(plain.input, x)
    return (
        model,
        lambda name, images: (
            np.asarray(features(images)) @ np.asarray(model.get_layer(name).kernel)
            + np.asarray(model.get_layer(name).bias)
        ),
    )


@pytest.mark.parametrize("keyed", [True, False])
def test_several_heads(keyed, pictures, caplog):
    """A head never predicts a family that only the other head has."""
    model, logits = two_heads(keyed)
    with caplog.at_level("WARNING", logger="absl"):
        explain = cam.Explainer(model, "conv", labels=HEADS)
    assert "'fam': no output means b" in caplog.text
    assert "'sp': no output means c sp." in caplog.text
    assert explain.space.heads == ("family", "species")
    result = explain(
        pictures,
        [targets.label("c", "family"), targets.marginal("family", "a"), targets.path()],
    )
    fam, sp = logits("fam", pictures), logits("sp", pictures)
    close(result.scores[:, 0], fam[:, 0])
    close(result.scores[:, 1], logsumexp(sp[:, [0, 2, 3]], axis=1))
    p = softmax(fam[:, [0, 2]], axis=1)
    zero = np.zeros(4)
    close(result.rank_probabilities("family"), np.stack([p[:, 1], zero, p[:, 0]], 1))
    close(result.rank_probabilities("species")[:, 3], zero)
    assert np.isfinite(result.cams).all()
    by_place = {"2": HEADS["fam"], "1": HEADS["sp"]}
    if not keyed:
        again = cam.Explainer(model, "conv", labels=by_place)(pictures)
        np.testing.assert_array_equal(again.logits, result.logits)


def test_orders_of_several_heads(tree, pictures):
    plain, _ = network(5)
    x = plain.layers[-2].output
    heads = {"order": L.Dense(2)(x), "species": L.Dense(7)(x)}
    model = keras.Model(plain.input, heads)
    rng = np.random.default_rng(2)
    for weight in model.weights[2:]:
        weight.assign(rng.normal(0, 1, weight.shape))
    order = {"order": [1, 0], "species": [6, 5, 4, 3, 2, 1, 0]}
    found = cam.Explainer(model, "conv", taxonomy=tree, order=order)(pictures)
    plain_result = cam.Explainer(model, "conv", taxonomy=tree)(pictures)
    np.testing.assert_array_equal(
        found.head_logits("order"), plain_result.head_logits("order")[:, ::-1]
    )
    np.testing.assert_array_equal(
        found.head_logits("species"), plain_result.head_logits("species")[:, ::-1]
    )


def test_one_of_several_outputs(pictures):
    model, logits = two_heads(True)
    explain = cam.Explainer(model, "conv", output="sp", labels=HEADS["sp"])
    close(explain(pictures).logits[:, 2], logits("sp", pictures)[:, 1])
    with pytest.raises(UserError, match="of one output, and the model has several"):
        cam.Explainer(model, labels=HEADS["sp"])
    with pytest.raises(UserError, match="names the output 'spec', and.*'sp'"):
        cam.Explainer(model, labels={"spec": HEADS["sp"], "fam": HEADS["fam"]})


def test_a_table_and_its_json(tmp_path, pictures):
    path = tmp_path / "labels.csv"
    path.write_text(
        "family,species,index\nb,y,1\na,x,0\n,,2\na,x,3\n,,4\nc,,5\n", encoding="utf-8"
    )
    model, plain = network(6)
    explain = cam.Explainer(model, "conv", labels=path)
    result = explain(pictures, targets.predicted("family"))
    z = logits_of(plain, pictures)
    close(result.logits[:, 0], logsumexp(z[:, [0, 3]], axis=1))
    labels = explain.labels
    assert labels.taxonomy.names("species") == ("x", "y", "c sp.")
    saved = tmp_path / "labels.json"
    saved.write_text(json.dumps(labels.to_json()), encoding="utf-8")
    again = cam.Explainer(model, "conv", labels=str(saved))
    assert again.labels == labels
    np.testing.assert_array_equal(again(pictures).cams, explain(pictures).cams)


def test_what_contradicts_labels(tree, tmp_path):
    model, _ = network(6)
    path = tmp_path / "labels.csv"
    path.write_text("species\nx\ny\n", encoding="utf-8")
    with pytest.raises(UserError, match="labels.csv has 2 rows.*has 6 outputs"):
        cam.Explainer(model, labels=path)
    with pytest.raises(UserError, match="labels= and order= both"):
        cam.Explainer(model, labels=path, order=[0], taxonomy=tree)
    with pytest.raises(UserError, match="taxonomy of its own.*leave taxonomy= out"):
        cam.Explainer(model, labels=path, taxonomy=tree)
    with pytest.raises(UserError, match="names= is for outputs without labels="):
        cam.Explainer(model, labels=MIXED, names=["x"] * 6)
    with pytest.raises(UserError, match="rank='genus', and labels= is of .* species"):
        cam.Explainer(model, labels=MIXED, rank="genus")
    with pytest.raises(UserError, match="order= numbers the labels of a taxonomy"):
        cam.Explainer(model, order=[0] * 6)
    with pytest.raises(UserError, match="up to 5, and no rank.*has 6 taxa"):
        cam.Explainer(model, order=range(6), taxonomy=tree)
    with pytest.raises(UserError, match="labels 0 .. 7, expected 0 .. 6"):
        cam.Explainer(model, order=[0, 1, 2, 3, 4, 7], taxonomy=tree, rank="species")
    with pytest.raises(UserError, match="but those of one label are left out"):
        cam.Explainer(model, labels=[None] * 5 + ["bird"])
    with pytest.raises(UserError, match="has 5 rows for the rank species"):
        cam.Explainer(model, labels=MIXED[:5])


def test_doubts_are_of_columns_that_were_not_merged(pictures, caplog):
    """Undeclared probabilities, with some columns excluded."""
    model, _ = network(6, Hidden(keras.ops.softmax))
    with caplog.at_level("WARNING", logger="absl"):
        cam.Explainer(model, "conv", labels=MIXED)(pictures)
    (record,) = caplog.records
    assert "they sum to 1 or less, as some outputs are left out" in record.getMessage()


def test_labels_of_heads_are_checked(tree):
    with pytest.raises(UserError, match="expected one label an output"):
        Labels(tree, {None: HeadLabels("species", [[0]])})
    with pytest.raises(UserError, match="both have the rank species"):
        Labels(
            tree,
            {"a": HeadLabels("species", [0, 1]), "b": HeadLabels("species", [0, 1])},
        )


def test_taxa_without_an_output_are_never_the_answer(tree, pictures):
    """Their scores are -inf, and that of a coarser one of such taxa is no NaN."""
    model, plain = network(5)
    order = [0, 1, 3, 4, 5]  # neither a/g2 nor the species v of b/g4
    given = {"taxonomy": tree, "order": order, "rank": "species"}
    explain = cam.Explainer(model, "conv", **given)
    logits = np.full((len(pictures), 7), -np.inf)
    logits[:, order] = logits_of(plain, pictures)
    for rank in ("order", "family", "genus"):
        parents = np.asarray(tree.parents("species", rank))
        scores = np.stack(
            [logsumexp(logits[:, parents == one], axis=1) for one in set(parents)], 1
        )
        result = explain(pictures, targets.predicted(rank))
        np.testing.assert_array_equal(result.labels[:, 0], scores.argmax(1))
        close(result.scores[:, 0], scores.max(1))
    rival = explain(pictures, targets.contrast("genus", against="runner_up"))
    assert np.isfinite(rival.scores).all()
    heads = cam.Explainer(two_heads(True)[0], "conv", labels=HEADS)
    for rank in ("family", "genus"):
        found = heads(pictures, targets.predicted(rank))
        assert np.isfinite(found.scores).all() and found.probabilities.min() > 0
