"""Marginal scores: hand-worked, stable at the extremes, equal to summed softmax."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.taxonomy import Lineage, Taxonomy, scores

RANKS = ("order", "genus", "species")
PATHS = ("A/F/s", "A/F/t", "A/F/u", "A/G/s", "B/H/s", "B/H/t")
TREE = Taxonomy(Lineage(tuple(path.split("/")), RANKS) for path in PATHS)


def slow_marginal(row, coarse):
    """The definition for one taxon at a time, in Python floats on shifted values."""
    out = []
    for label in range(TREE.num_labels(coarse)):
        values = [float(row[i]) for i in TREE.descendants(coarse, label, "species")]
        top = max(values)
        out.append(top + math.log(math.fsum(math.exp(v - top) for v in values)))
    return out


def test_by_hand():
    # log of 1 2 3 4 5 6: sums of genera are 6, 4, 11, of orders 10 and 11.
    logits = np.log(np.arange(1.0, 7.0))
    genus = scores.marginal_logits(logits, TREE, "species", "genus")
    np.testing.assert_allclose(np.exp(genus), [6, 4, 11], rtol=1e-12)
    order = scores.marginal_logits(logits, TREE, "species", "order")
    np.testing.assert_allclose(np.exp(order), [10, 11], rtol=1e-12)
    same = scores.marginal_logits(logits, TREE, "species", "species")
    assert (same == logits).all()


def test_masked_logits():
    logits = np.array([-np.inf, -np.inf, -np.inf, 0.0, -np.inf, 1.0])
    genus = scores.marginal_logits(logits, TREE, "species", "genus")
    assert genus.tolist() == [-np.inf, 0.0, 1.0]


def test_shape_is_checked():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), expected \(..., 6\)"):
        scores.marginal_logits(np.zeros((2, 3)), TREE, "species", "genus")
    with pytest.raises(ValueError, match="expected"):
        scores.marginal_probabilities(1.0, TREE, "species", "genus")


LOGITS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 3), st.just(6)),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(LOGITS)
@settings(deadline=None)
def test_marginals_against_the_definition(logits):
    for coarse in ("genus", "order"):
        found = scores.marginal_logits(logits, TREE, "species", coarse)
        assert found.dtype == logits.dtype
        assert np.isfinite(found).all()
        expected = [slow_marginal(row, coarse) for row in logits]
        tolerance = 1e-6 if logits.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@given(LOGITS)
@settings(deadline=None)
def test_softmax_of_marginals_is_the_summed_softmax(logits):
    logits = logits.astype(np.float64)
    summed = scores.softmax(logits) @ TREE.rollup("species", "order").astype(float)
    marginal = scores.marginal_logits(logits, TREE, "species", "order")
    np.testing.assert_allclose(scores.softmax(marginal), summed, rtol=1e-9, atol=1e-15)
    probabilities = scores.softmax(logits)
    direct = scores.marginal_probabilities(probabilities, TREE, "species", "order")
    np.testing.assert_allclose(direct, summed, rtol=1e-12, atol=1e-300)


@given(LOGITS)
@settings(deadline=None)
def test_marginals_compose(logits):
    logits = logits.astype(np.float64)
    genus = scores.marginal_logits(logits, TREE, "species", "genus")
    twice = scores.marginal_logits(genus, TREE, "genus", "order")
    once = scores.marginal_logits(logits, TREE, "species", "order")
    np.testing.assert_allclose(twice, once, rtol=1e-13, atol=1e-13)


@given(LOGITS)
@settings(deadline=None)
def test_softmax_sums_to_one_and_log_softmax_is_its_log(logits):
    probabilities = scores.softmax(logits)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-6)
    logs = scores.log_softmax(logits)
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(np.exp(logs), probabilities, rtol=1e-2, atol=1e-7)


def test_softmax_axis():
    values = np.log([[1.0, 1.0], [3.0, 1.0]])
    np.testing.assert_allclose(
        scores.softmax(values, axis=0), [[0.25, 0.5], [0.75, 0.5]], rtol=1e-12
    )


def test_the_best_order_is_not_that_of_the_best_species():
    """Probabilities .3 .0 .3 .4 .0: the best species is of the order B (.4), the best
    order is A (.6). In the second row both are of B."""
    ranks = ("order", "genus", "species")
    paths = ("A/F/s", "A/F/t", "A/G/s", "B/H/s", "B/H/t")
    tree = Taxonomy(Lineage(tuple(path.split("/")), ranks) for path in paths)
    p = np.array([[0.3, 1e-9, 0.3, 0.4, 1e-9], [0.1, 0.1, 0.1, 0.2, 0.5]])
    best = scores.marginal_logits(np.log(p), tree, "species", "order").argmax(-1)
    assert best.tolist() == [0, 1]
    assert tree.parents("species", "order")[p.argmax(-1)].tolist() == [1, 1]
    best = scores.marginal_logits(np.log(p), tree, "species", "genus").argmax(-1)
    assert [tree.names("genus")[label] for label in best] == ["H", "H"]  # .3 .3 .4
