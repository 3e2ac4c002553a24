"""Effects of exchanged parts from logits, and measures of maps against them."""

import numpy as np
import pytest
from scipy.special import logsumexp
from small_tree import tree

from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.evaluation import causal_effects, map_controls
from hiercam_keras.evaluation.cause_measures import CAUSE_MEASURES, Parts

# Labels of the seven species in the order of the tree, which is that of their names.
TREE = tree()
RANKS = ("order", "family", "genus", "species")


def labels_of(leaves):
    lineages = [TREE.lineages[leaf] for leaf in leaves]
    return {rank: np.asarray(TREE.labels(lineages, rank)) for rank in RANKS}


def below(rank, label):
    return np.flatnonzero(np.asarray(TREE.parents("species", rank)) == label)


def test_scores_are_sums_below_the_taxa_of_the_tree():
    logits = np.random.default_rng(1).normal(size=(7, 7)) * 3
    space = ScoreSpace({"species": 7}, TREE)
    labels = labels_of(range(7))
    rivals = causal_effects.runners_up(space, logits, labels)
    found = causal_effects.scores_of(space, logits, labels, rivals)
    for row, column in np.ndindex(7, 4):
        rank, label = RANKS[column], labels[RANKS[column]][row]
        mine = logsumexp(logits[row, below(rank, label)])
        above = np.arange(7)
        if column:
            above = below(RANKS[column - 1], labels[RANKS[column - 1]][row])
        others = np.setdiff1d(above, below(rank, label))
        assert found["marginal"][row, column] == pytest.approx(mine)
        assert found["label"][row, column] == pytest.approx(mine)
        rival = logsumexp(logits[row, below(rank, rivals[rank][row])])
        assert found["contrast"][row, column] == pytest.approx(mine - rival)
        if not others.size:  # an only child: there was nothing to choose
            assert np.isnan(found["step"][row, column])
            assert np.isnan(found["log_odds"][row, column])
            continue
        step = mine - logsumexp(logits[row, above])
        assert found["step"][row, column] == pytest.approx(step)
        odds = mine - logsumexp(logits[row, others])
        assert found["log_odds"][row, column] == pytest.approx(odds)
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(np.exp(step))


def test_the_label_is_that_of_the_ranks_own_head():
    logits = np.random.default_rng(2).normal(size=(7, 10))
    space = ScoreSpace({"family": 3, "species": 7}, TREE)
    labels = labels_of(range(7))
    rivals = causal_effects.runners_up(space, logits, labels)
    found = causal_effects.scores_of(space, logits, labels, rivals)
    own = logits[np.arange(7), labels["family"]]
    np.testing.assert_allclose(found["label"][:, 1], own)
    finest = logits[:, 3:]
    sums = [
        logsumexp(finest[i, below("family", labels["family"][i])]) for i in range(7)
    ]
    np.testing.assert_allclose(found["marginal"][:, 1], sums)


def test_effects_are_exactly_zero_where_nothing_changes():
    logits = np.random.default_rng(3).normal(size=(2, 7)).astype(np.float32)
    space = ScoreSpace({"species": 7}, TREE)
    both = np.arange(2)
    changed = logits.copy()
    changed[0, 0] -= 5.0  # more than its lead over y
    found = causal_effects.effects(
        space,
        ["one", "two"],
        ["a", "b"],
        labels_of([0, 3]),
        logits,
        {
            ("wing", "sibling"): (both, logits),
            ("bill", "sibling"): (both[:1], changed[:1]),
        },
    )
    for name in causal_effects.SCORES:
        wing = found.of(name, "species", "sibling")[:, 0]
        assert (wing[np.isfinite(wing)] == 0).all()
    assert found.of("label", "species", "sibling")[0, 1] == pytest.approx(5)
    assert np.isnan(found.of("label", "species", "sibling")[1, 1])  # not exchanged
    # x of g1 has lost 5 nats against its only sibling y.
    odds = found.of("log_odds", "species", "sibling")[0, 1]
    assert odds == pytest.approx(5)
    assert found.turned[0, 3, 1, 0] == 1 and found.turned[0, 3, 0, 0] == 0


def parts(energy, effect):
    energy, effect = np.array([energy], float), np.array([effect], float)
    area = np.array([[0.5, 0.2, 0.2, 0.1]])
    return Parts(energy, area, {"sibling": effect, "removed": effect})


def test_a_map_that_lies_does_not_agree_with_the_causes():
    effect = [0.1, 3.0, 0.5, 0.0]
    honest = parts([0.2, 0.5, 0.25, 0.05], effect)
    liar = parts([0.25, 0.05, 0.2, 0.5], effect)
    expected = {
        "energy_correlation": (1, -1),
        "single_deletion": (1, 0),
        "top_part": (1, 0),
    }
    for name, (right, wrong) in expected.items():
        compute = CAUSE_MEASURES[name].compute
        assert compute(honest)[0] == pytest.approx(right)
        assert compute(liar)[0] == pytest.approx(wrong)
    lift = CAUSE_MEASURES["lift_correlation"].compute
    # Lifts 0.4 2.5 1.25 0.5 have the ranks 1 4 3 2, the effects 2 4 3 1.
    assert lift(honest)[0] == pytest.approx(0.8)
    assert lift(liar)[0] < 0.1


def test_random_maps_agree_with_the_causes_by_chance_alone():
    rng = np.random.default_rng(4)
    many = Parts(
        rng.random((4000, 6)),
        np.full((4000, 6), 1 / 6),
        {"sibling": rng.normal(size=(4000, 6))},
    )
    found = CAUSE_MEASURES["energy_correlation"].compute(many)
    assert abs(found.mean()) < 4 / np.sqrt(5 * 4000)  # its variance is 1/(P - 1)
    hits = CAUSE_MEASURES["top_part"].compute(many)
    assert abs(np.nanmean(hits) - 1 / 6) < 0.03


def test_controls_know_the_picture_alone():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :, 4:] = 255
    assert map_controls.area(image).shape == (1, 1, 1)
    found = map_controls.edges(image)[0]
    assert (found[:, 3:5] > 100).all() and (found[:, [0, 1, 6, 7]] == 0).all()
