"""Targets: scores and gradients compared with brute force over sets of leaves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.cam import selection, targets
from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError

# Labels of the finest rank by lineage, written out by hand: sorted lineages.
LEAVES = ["A/a/g1/x", "A/a/g1/y", "A/a/g2/x", "A/c/g3/w", "A/c/g3/z"]
LEAVES += ["B/b/g4/v", "B/b/g4/x"]


@pytest.fixture(scope="module")
def space(tree):
    return ScoreSpace({"species": 7}, tree)


def below(prefix):
    return [i for i, leaf in enumerate(LEAVES) if (leaf + "/").startswith(prefix + "/")]


def lse(values):
    values = np.asarray(values, np.float64)
    return values.max() + np.log(np.exp(values - values.max()).sum())


def ask(space, asked, logits):
    """Targets of up to 4 images, filled up to 4 x 5 so that all share a compilation."""
    asked = targets.expand(asked, space)
    batch, count = len(logits), len(asked)
    codes = targets.encode(asked + asked[-1:] * (5 - count), space, batch)
    rows = np.minimum(np.arange(4), batch - 1)
    codes = codes.take(rows)
    found = resolve(space, codes, np.asarray(logits, np.float32)[rows])
    return jax.tree.map(lambda x: np.asarray(x)[:batch, :count], found)


@functools.partial(jax.jit, static_argnums=0)
def resolve(space, codes, logits):
    selected = selection.select(space, codes, logits)
    return selected, selection.score(space, selected, logits)


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(0).normal(0, 3, (4, 7))


def test_rows_are_where_they_should_be(space):
    # root, then 2 orders, 3 families, 4 genera, 7 species
    assert [group.start for group in space.groups] == [0, 1, 3, 6, 10]
    assert space.num_rows == 17
    assert [space.name(row) for row in (0, 1, 3, 9, 10)] == [
        "root",
        "A",
        "a",
        "g4",
        "g1 x",
    ]
    assert space.parent.tolist() == [
        *(0, 0, 0),  # root and the orders
        *(1, 1, 2),  # a, c in A; b in B
        *(3, 3, 4, 5),  # g1, g2 in a; g3 in c; g4 in b
        *(6, 6, 7, 8, 8, 9, 9),
    ]
    # b in B, g3 in c, g4 in b, g2's x; and the root, which has no siblings
    assert np.flatnonzero(space.only_child).tolist() == [0, 5, 8, 9, 12]


@pytest.mark.parametrize(
    "rank,name", [("order", "A"), ("family", "a"), ("genus", "g4")]
)
def test_marginal_is_logsumexp_of_descendants(space, logits, rank, name):
    prefix = {"A": "A", "a": "A/a", "g4": "B/b/g4"}[name]
    _, scored = ask(space, targets.marginal(rank, name), logits)
    for z, score, probability in zip(
        logits, scored.scores[:, 0], scored.probabilities[:, 0], strict=True
    ):
        assert score == pytest.approx(lse(z[below(prefix)]), abs=1e-5)
        share = np.exp(z[below(prefix)]).sum() / np.exp(z).sum()
        assert probability == pytest.approx(share, abs=1e-6)


def test_label_is_the_logit_itself(space, logits):
    _, scored = ask(space, [3, 0, 6, 2], logits)
    np.testing.assert_allclose(
        scored.scores[:, 0], [logits[0, 3], logits[1, 0], logits[2, 6], logits[3, 2]]
    )
    expected = np.eye(7)[[3, 0, 6, 2]]
    np.testing.assert_array_equal(scored.cotangents[:, 0], expected)


def test_step_is_a_conditional_log_probability(space, logits):
    _, scored = ask(space, targets.step("genus", "g1"), logits)
    for z, score in zip(logits, scored.scores[:, 0], strict=True):
        expected = lse(z[below("A/a/g1")]) - lse(z[below("A/a")])
        assert score == pytest.approx(expected, abs=1e-5)


def test_path_follows_the_predicted_leaf_and_telescopes(space, logits):
    selected, scored = ask(space, targets.path(), logits)
    leaf = logits.argmax(1)
    np.testing.assert_array_equal(selected.row, space.ancestors[leaf])
    log_p = logits[np.arange(4), leaf] - [lse(z) for z in logits]
    np.testing.assert_allclose(scored.scores.sum(1), log_p, atol=1e-5)


def test_step_into_only_child_is_zero_and_marked(space, logits):
    # g4 is b's only genus, b is B's only family.
    selected, scored = ask(space, targets.path(6), logits)
    np.testing.assert_array_equal(selected.trivial, [[0, 1, 1, 0]] * 4)
    assert (scored.scores[:, 1:3] == 0).all()
    assert (scored.cotangents[:, 1:3] == 0).all()


def test_steps_of_an_image_end_where_its_taxon_is_unknown(space, logits):
    """Image 0 is known to the species, 1 to the genus g1, 2 to the family, 3 not."""
    known = {"order": [0, 0, 1, -1], "family": [0, 0, 2, -1],
             "genus": [0, 0, -1, -1], "species": [1, -1, -1, -1]}  # fmt: skip
    asked = [targets.step(rank, np.array(one)) for rank, one in known.items()]
    selected, scored = ask(space, asked, logits)
    whole, steps = ask(space, targets.path(1), logits)
    unknown = np.array(list(known.values())).T < 0
    np.testing.assert_array_equal(selected.row == 0, unknown)
    assert selected.trivial[unknown].all()
    assert (scored.scores[unknown] == 0).all()
    assert (scored.cotangents[unknown] == 0).all()
    np.testing.assert_array_equal(selected.row[0], whole.row[0])
    np.testing.assert_array_equal(scored.scores[0], steps.scores[0])
    np.testing.assert_array_equal(scored.scores[1, :3], steps.scores[1, :3])
    assert not selected.trivial[2, 0] and selected.trivial[2, 1]  # b is B's only child


def test_an_unknown_taxon_is_refused_where_it_is_no_step(space):
    for asked in (
        targets.label(np.array([0, -1])),
        targets.path(np.array([0, -1])),
        targets.contrast("genus", np.array([0, -1])),
        targets.step("genus", -1),
        targets.step("genus", np.array([0, -2])),
    ):
        with pytest.raises(UserError, match="label -. is out of range"):
            targets.encode(targets.expand(asked, space), space, 2)


def test_predicted_at_coarser_rank_is_its_own_argmax(space):
    # x of g4 has the largest logit, but the order A has more mass in all.
    z = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, -9.0, 1.5]])
    selected, _ = ask(space, [targets.predicted("order"), targets.predicted()], z)
    assert [space.name(int(r)) for r in selected.row[0]] == ["A", "g4 x"]
    # A step follows the predicted species instead, so that steps form a path.
    selected, _ = ask(space, targets.step("order"), z)
    assert space.name(int(selected.row[0, 0])) == "B"


def test_contrast_with_siblings(space, logits):
    _, scored = ask(space, targets.contrast("genus", "g1", "siblings"), logits)
    for z, score in zip(logits, scored.scores[:, 0], strict=True):
        expected = lse(z[below("A/a/g1")]) - lse(z[below("A/a/g2")])
        assert score == pytest.approx(expected, abs=1e-5)


def test_contrast_with_runner_up_and_a_named_rival(space):
    z = np.array([[5.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]])
    asked = [
        targets.contrast(),
        targets.contrast("species", 1),
        targets.contrast("species", 1, against=3),
    ]
    selected, scored = ask(space, asked, z)
    labels = [space.rank_label(int(r))[1] for r in selected.rival[0]]
    assert labels == [2, 0, 3]
    np.testing.assert_allclose(scored.scores[0], [1.0, -2.0, 3.0])


def test_runner_up_is_found_among_tiny_probabilities(space):
    z = np.array([[500.0, 100.0, 120.0, 0.0, 0.0, 0.0, 0.0]])
    selected, scored = ask(space, targets.contrast(), z)
    assert space.rank_label(int(selected.rival[0, 0])) == ("species", 2)
    assert float(scored.scores[0, 0]) == 380


row_scores = jax.jit(selection.row_scores, static_argnums=0)


@settings(max_examples=30, deadline=None)
@given(z=hnp.arrays(np.float32, (2, 7), elements=st.floats(-200, 200, width=32)))
def test_all_row_scores_against_brute_force(space, z):
    found = np.asarray(row_scores(space, jnp.asarray(z)))
    prefixes = [""] + ["A", "B", "A/a", "A/c", "B/b", "A/a/g1", "A/a/g2", "A/c/g3"]
    prefixes += ["B/b/g4", *LEAVES]
    for row, prefix in enumerate(prefixes):
        columns = below(prefix) if prefix else list(range(7))
        expected = [lse(line[columns]) for line in z]
        np.testing.assert_allclose(found[:, row], expected, rtol=1e-5, atol=1e-5)


def test_cotangents_are_the_gradient(space, logits):
    asked = [
        targets.marginal("family", "a"),
        targets.log_probability("c", "family"),
        targets.step("species", 1),
        targets.contrast("genus", "g2", "siblings"),
        targets.contrast(),
    ]
    z = jnp.asarray(logits, jnp.float32)
    selected, scored = ask(space, asked, logits)
    scores = lambda z: selection.score(space, selected, z).scores  # noqa: E731
    found = jax.jit(jax.jacrev(scores))(z)
    for b in range(4):
        np.testing.assert_allclose(found[b, :, b], scored.cotangents[b], atol=1e-6)


def test_one_compilation_serves_all_targets(space, logits):
    ask(space, targets.predicted(), logits)
    compiled = resolve._cache_size()
    for asked in (targets.step("genus"), targets.contrast(), targets.path(), [1] * 4):
        ask(space, asked, logits)
    assert resolve._cache_size() == compiled


def test_multi_rank_model_answers_by_own_head_or_marginal(tree):
    space = ScoreSpace({"species": 7, "family": 3}, tree)
    assert space.heads == ("family", "species")
    z = np.array([[0.0, 9.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    own, scored = ask(space, targets.predicted("family"), z)
    np.testing.assert_array_equal(scored.cotangents[0, 0], np.eye(10)[1])
    marginal, scored = ask(space, targets.predicted("family", "marginal"), z)
    assert space.name(int(own.row[0, 0])) == "c"
    assert space.name(int(marginal.row[0, 0])) == "a"
    assert (scored.cotangents[0, 0, :3] == 0).all()
    # Steps ask the species head even at a rank that has a head of its own.
    step, scored = ask(space, targets.step("family", "c"), z)
    assert float(scored.scores[0, 0]) == pytest.approx(
        np.log(2) - lse(z[0, 3:8]), abs=1e-5
    )


def test_probability_of_own_head_is_within_that_head(tree):
    space = ScoreSpace({"species": 7, "family": 3}, tree)
    z = np.array([[0.0, 9.0, 0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    _, scored = ask(space, targets.predicted("family"), z)
    assert float(scored.probabilities[0, 0]) == pytest.approx(
        1 / (1 + 2 * np.exp(-9)), abs=1e-6
    )


@pytest.mark.parametrize(
    "asked,part",
    [
        (targets.label([1, 2]), "each of the 4 images of the batch, found 2"),
        ([1, 2, 3], "found 3"),
        ([[1, 2]] * 3, "found 3"),
        (targets.label(7), "labels 0 to 6"),
        (targets.label(-1), "labels 0 to 6"),
        (targets.predicted("subspecies"), "it can for order, family"),
        (targets.marginal("order", "C"), "C"),
        (targets.contrast("genus", "g3", "siblings"), "no sibling"),
        (targets.contrast("genus", "g3", "g3"), "with itself"),
        (targets.label(1.5), "one for each image; found 1.5"),
        (targets.label([1.5, 2, 2, 2]), "an integer label or a name, not 1.5"),
        ([0.5] * 4, "integer labels of shape"),
        ([], "at least one"),
    ],
)
def test_errors_say_what_is_wrong(space, asked, part):
    with pytest.raises(UserError, match=part):
        targets.encode(targets.expand(asked, space), space, 4)


def test_names_need_a_taxonomy():
    space = ScoreSpace({"label": 3})
    with pytest.raises(UserError, match="need a taxonomy"):
        targets.encode([targets.label("robin")], space, 2)
    with pytest.raises(UserError, match="without a taxonomy"):
        targets.encode([targets.predicted("family")], space, 2)


def test_head_of_another_taxonomy_is_refused(tree):
    with pytest.raises(UserError, match="has 8 labels, the taxonomy 7"):
        ScoreSpace({"species": 8}, tree)


def test_real_birds_have_a_row_for_every_taxon(real_data):
    from hiercam_keras.taxonomy.lineage import parse_class_name
    from hiercam_keras.taxonomy.tree import Taxonomy

    names = (real_data / "inat2021_aves_class_names.txt").read_text().split()
    space = ScoreSpace({"species": 1486}, Taxonomy(map(parse_class_name, names)))
    # The root; one kingdom, phylum and class; then what the birds have.
    assert space.num_rows == 1 + 3 + 32 + 147 + 648 + 1486
    # Three ranks of one taxon, and the families, genera and species without siblings.
    only = [space.rank_label(row)[0] for row in np.flatnonzero(space.only_child)[1:]]
    assert [only.count(rank) for rank in ("kingdom", "phylum", "class")] == [1, 1, 1]
    assert only.count("species") == 364
    codes = targets.encode(targets.expand(targets.path(100), space), space, 3)
    assert codes.row.shape == (3, 7)
    assert [space.rank_label(row)[0] for row in codes.row[0]] == list(space.ranks)


@pytest.mark.parametrize("strength", [1.0, 0.6, 2.5])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_nearest_are_the_best_others(space, logits, count, strength):
    """s_a minus a multiple of the mean of the k best others, and its gradient."""
    asked = [
        targets.contrast("species", 3, "nearest", count=count, strength=strength),
        targets.contrast("genus", None, "nearest", count=count, strength=strength),
        targets.contrast("species", 3, 0),
    ]
    selected, scored = ask(space, asked, logits)
    genera = ["A/a/g1", "A/a/g2", "A/c/g3", "B/b/g4"]
    for b, z in enumerate(logits.astype(np.float32).astype(np.float64)):
        others = sorted(set(range(7)) - {3}, key=lambda i: -z[i])[:count]
        expected = z[3] - strength * z[others].mean()
        assert scored.scores[b, 0] == pytest.approx(expected, abs=1e-5)
        gradient = np.eye(7)[3] - strength * np.eye(7)[others].mean(0)
        np.testing.assert_allclose(scored.cotangents[b, 0], gradient, atol=1e-6)
        assert selected.rival[b, 0] == 10 + others[0]

        sums = np.array([lse(z[below(genus)]) for genus in genera])
        best, *rest = np.argsort(-sums)
        rest = rest[:count]
        expected = sums[best] - strength * sums[rest].mean()
        assert scored.scores[b, 1] == pytest.approx(expected, abs=1e-5)
        shares = np.zeros((4, 7))
        for i, genus in enumerate(genera):
            shares[i, below(genus)] = np.exp(z[below(genus)] - sums[i])
        gradient = shares[best] - strength * shares[rest].mean(0)
        np.testing.assert_allclose(scored.cotangents[b, 1], gradient, atol=1e-5)

        # Another contrast in the same call is not affected.
        assert scored.scores[b, 2] == pytest.approx(z[3] - z[0], abs=1e-5)
        np.testing.assert_allclose(scored.cotangents[b, 2], np.eye(7)[3] - np.eye(7)[0])


@pytest.mark.parametrize("against", ["runner_up", "siblings", 0])
def test_a_contrast_of_any_kind_has_a_strength(space, logits, against):
    whole, half = (
        ask(space, targets.contrast("species", 3, against, strength=strength), logits)
        for strength in (1.0, 0.5)
    )
    alone = ask(space, targets.marginal("species", 3), logits)[1]
    for field in ("scores", "cotangents"):
        one, other = getattr(whole[1], field), getattr(half[1], field)
        np.testing.assert_allclose(2 * other - one, getattr(alone, field), atol=1e-5)


def test_the_nearest_of_one_is_the_runner_up(space, logits):
    nearest = ask(space, targets.contrast(against="nearest", count=1), logits)
    runner_up = ask(space, targets.contrast(), logits)
    np.testing.assert_array_equal(nearest[0].rival, runner_up[0].rival)
    np.testing.assert_allclose(nearest[1].scores, runner_up[1].scores, atol=1e-6)


def test_labels_that_are_ruled_out_are_not_near(space, logits):
    """Rows with a score of -inf are excluded from the mean."""
    z = logits.copy()
    z[:, [0, 5]] = -np.inf
    asked = targets.contrast("species", 3, "nearest", count=6)
    _, scored = ask(space, asked, z)
    left = [1, 2, 4, 6]
    np.testing.assert_allclose(
        scored.scores[:, 0], z[:, 3] - z[:, left].mean(1), atol=1e-5
    )
    assert np.isfinite(scored.cotangents).all()


def test_targets_without_nearest_have_the_program_that_they_had(space):
    asked = targets.expand([targets.path(3), targets.contrast(taxon=3)], space)
    codes = targets.encode(asked, space, 2)
    assert codes.count is None and codes.strength is None
    assert len(jax.tree.leaves(codes)) == 5


def test_what_a_contrast_refuses(space):
    for options, part in (
        ({"count": 0}, "count is the number of nearest taxa, from 1; found 0"),
        ({"count": 1.5}, "found 1.5"),
        ({"strength": 0}, "strength is a number above 0, found 0"),
        ({"strength": float("nan")}, "found nan"),
    ):
        with pytest.raises(UserError, match=part):
            targets.contrast(against="nearest", **options)
    asked = targets.contrast("genus", against="nearest", count=4, strength=0.6)
    assert asked.title == "contrast-genus-nearest4-0.6"
    assert targets.contrast("genus").title == "contrast-genus-runner_up"


def test_the_map_against_the_nearest_is_the_mean_of_their_maps(explain, images):
    """Grad-CAM is linear in the gradient; two named taxa are two maps of one image."""
    first = explain(images, targets.predicted())
    order = np.argsort(-first.logits, axis=1)
    asked = [targets.contrast(against="nearest", count=2, strength=0.6)]
    asked += [
        targets.contrast("species", order[:, 0], order[:, place], strength=0.6)
        for place in (1, 2)
    ]
    cams = explain(images, asked).cams
    scale = np.abs(cams).max()
    np.testing.assert_allclose(cams[:, 0], cams[:, 1:].mean(1), atol=1e-5 * scale)
    pair = explain(images, [targets.label("g1 x"), targets.label("g4 v")])
    assert pair.names == [["g1 x", "g4 v"]] * len(images)
