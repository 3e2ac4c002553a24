"""Losses over the tree, worked out by hand on four leaves in two families."""

import jax
import keras
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from hiercam_keras.training import hierarchy_losses as tree

# Leaves 0, 1 in family 0 and leaves 2, 3 in family 1; one order over all.
FAMILY = np.array([0, 0, 1, 1])
ORDER = np.zeros(4, int)
PARENTS = [ORDER, FAMILY]
# Probabilities 0.4, 0.2, 0.3, 0.1: the families have 0.6 and 0.4.
LOGITS = np.log(np.array([[0.4, 0.2, 0.3, 0.1]], np.float32)) + 3.0
LN = np.log


def test_heights():
    expected = [[0, 1, 2, 2], [1, 0, 2, 2], [2, 2, 0, 1], [2, 2, 1, 0]]
    np.testing.assert_array_equal(tree.lca_heights(PARENTS, 4), expected)


def test_soft_labels_by_hand():
    """d is 0, 1/2, 1, 1: with beta = ln 4 the weights are 1, 1/2, 1/4, 1/4."""
    rows = tree.soft_labels(PARENTS, 4, float(LN(4.0)))
    np.testing.assert_allclose(rows[0], [0.5, 0.25, 0.125, 0.125], rtol=1e-6)
    np.testing.assert_allclose(rows[3], [0.125, 0.125, 0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(tree.soft_labels(PARENTS, 4, 1e3), np.eye(4), atol=1e-30)
    np.testing.assert_allclose(tree.soft_labels(PARENTS, 4, 0.0), 0.25)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 40.0])
def test_hxe_by_hand(alpha):
    """Leaf 2: -ln(0.3/0.4) - e^-alpha ln(0.4/1); the order's step has P = 1."""
    loss = tree.HierarchicalCrossEntropy(PARENTS, 4, alpha)
    expected = -LN(0.75) - np.exp(-alpha) * LN(0.4)
    assert float(loss(np.array([2]), LOGITS)) == pytest.approx(expected, rel=1e-5)
    if alpha == 0.0:  # the chain rule: the plain cross-entropy
        assert expected == pytest.approx(-LN(0.3))


def test_soft_label_loss_by_hand():
    loss = tree.SoftLabelCrossEntropy(PARENTS, 4, float(LN(4.0)))
    expected = -(0.5 * LN(0.2) + 0.25 * LN(0.4) + 0.125 * LN(0.3) + 0.125 * LN(0.1))
    assert float(loss(np.array([1]), LOGITS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: tree.HierarchicalCrossEntropy(PARENTS, 4, 0.3, **k),
        lambda **k: tree.SoftLabelCrossEntropy(PARENTS, 4, 2.0, **k),
    ],
)
def test_labels_may_be_distributions(make):
    """Linear in them: a mixed label costs the mixture, smoothing is such a mixture."""
    loss = make()
    each = [float(loss(np.array([k]), LOGITS)) for k in range(4)]
    mixed = np.array([[0.7, 0.0, 0.3, 0.0]], np.float32)
    assert float(loss(mixed, LOGITS)) == pytest.approx(0.7 * each[0] + 0.3 * each[2])
    assert float(make(label_smoothing=0.2)(np.array([[1]]), LOGITS)) == pytest.approx(
        0.8 * each[1] + 0.2 * np.mean(each), rel=1e-5
    )
    again = type(loss).from_config(loss.get_config())
    assert float(again(mixed, LOGITS)) == float(loss(mixed, LOGITS))


def test_hxe_on_random_trees_against_float64():
    rng = np.random.default_rng(0)
    for _ in range(10):
        genus = np.sort(rng.integers(0, 5, 12))
        genus = np.unique(genus, return_inverse=True)[1]
        family = np.sort(rng.integers(0, 3, genus.max() + 1))
        family = np.unique(family, return_inverse=True)[1][genus]
        logits = rng.normal(0, 4, (6, 12))
        labels = rng.integers(0, 12, 6)
        expected = []
        for row, leaf in zip(logits, labels, strict=True):
            scores = [row[leaf]]
            for level in (genus, family):
                scores.append(logsumexp(row[level == level[leaf]]))
            scores.append(logsumexp(row))
            expected.append(np.sum(np.exp(-0.4 * np.arange(3)) * np.diff(scores)))
        loss = tree.HierarchicalCrossEntropy([family, genus], 12, 0.4)
        found = loss.call(labels, logits.astype("float32"))
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_marginals_are_stable():
    logits = np.array([[0.0, -900.0, -1000.0, -1001.0]], np.float32)
    found = tree.marginal_log_probabilities(keras.ops.log_softmax(logits), FAMILY)
    expected = [[0.0, -1000 + LN(1 + np.exp(-1))]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    grad = jax.grad(
        lambda z: tree.HierarchicalCrossEntropy(PARENTS, 4, 0.1).call(np.array([3]), z)[
            0
        ]
    )(logits)
    assert np.isfinite(grad).all()


def test_disagreement_by_hand():
    """Heads (1/2, 1/2) and (0.6, 0.4): both against their mean (0.55, 0.45)."""
    coarse = np.zeros((1, 2), np.float32)
    p, q = np.array([0.5, 0.5]), np.array([0.6, 0.4])
    m = (p + q) / 2
    expected = (np.sum(p * LN(p / m)) + np.sum(q * LN(q / m))) / 2
    found = tree.disagreement(coarse, LOGITS, FAMILY)
    np.testing.assert_allclose(found, [expected], rtol=1e-4)
    same = tree.disagreement(LN(q)[None].astype("float32"), LOGITS, FAMILY)
    np.testing.assert_allclose(same, [0.0], atol=1e-6)
    apart = tree.disagreement(
        np.array([[900.0, 0.0]], np.float32),
        np.array([[0.0, 0.0, 900.0, 0.0]], np.float32),
        FAMILY,
    )
    np.testing.assert_allclose(apart, [LN(2.0)], rtol=1e-5)


def test_gradient_of_the_disagreement_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    coarse, fine = rng.normal(size=(3, 2)), rng.normal(size=(3, 4))

    def js(coarse, fine):
        p, q = softmax(coarse, -1), softmax(fine, -1)
        q = np.stack([q[:, :2].sum(1), q[:, 2:].sum(1)], 1)
        m = (p + q) / 2
        return (np.sum(p * LN(p / m)) + np.sum(q * LN(q / m))) / 2

    grad = jax.grad(lambda z: tree.disagreement(coarse.astype("f4"), z, FAMILY).sum())(
        fine.astype("f4")
    )
    for index in np.ndindex(fine.shape):
        step = np.zeros_like(fine)
        step[index] = 1e-5
        slope = (js(coarse, fine + step) - js(coarse, fine - step)) / 2e-5
        assert grad[index] == pytest.approx(slope, abs=1e-5)
