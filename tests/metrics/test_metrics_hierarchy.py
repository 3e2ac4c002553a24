"""Mistake severity, distances and path measures on a tree of five species."""

import math

import numpy as np
import pytest

from hiercam_keras.metrics import hierarchy
from hiercam_keras.taxonomy import Lineage, Taxonomy

RANKS = ("class", "order", "genus", "species")
# Labels: orders A 0, B 1; genera F 0, G 1, H 2; species As At Gs Hs Ht = 0 .. 4.
PATHS = ("X/A/F/s", "X/A/F/t", "X/A/G/s", "X/B/H/s", "X/B/H/t")
TREE = Taxonomy(Lineage(tuple(path.split("/")), RANKS) for path in PATHS)


def test_severity_is_the_mean_over_mistakes_only():
    # Heights 0, 1, 2, 3.
    labels, predicted = [0, 0, 0, 0], [0, 1, 2, 3]
    assert hierarchy.mistake_severity(labels, predicted, TREE, "species") == 2
    assert math.isnan(hierarchy.mistake_severity([1], [1], TREE, "species"))
    counts = hierarchy.severity_counts(labels, predicted, TREE, "species")
    assert counts.tolist() == [1, 1, 1, 1, 0]
    assert hierarchy.mistake_severity([0], [2], TREE, "genus") == 2


def test_lca_distance_at_k():
    logits = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
    ask = (logits, [0, 0], TREE, "species")
    assert hierarchy.lca_distance_at_k(*ask, k=1).tolist() == [0, 3]
    assert hierarchy.lca_distance_at_k(*ask, k=3).tolist() == [1, 8 / 3]
    # In any order, all five answers have (0 + 1 + 2 + 3 + 3)/5.
    assert hierarchy.lca_distance_at_k(*ask, k=5).tolist() == [1.8, 1.8]
    # Species 2 has no sibling: the best three are itself and two of the order.
    best = hierarchy.best_lca_distance_at_k([0, 2], TREE, "species", k=3)
    assert best.tolist() == [1, 4 / 3]
    # Ties in label order, not at random.
    tied = hierarchy.lca_distance_at_k(np.zeros((1, 5)), [4], TREE, "species", k=2)
    assert tied.tolist() == [3]
    for k in (0, 6):
        with pytest.raises(ValueError, match="expected 1 .. 5"):
            hierarchy.lca_distance_at_k(*ask, k=k)
    with pytest.raises(ValueError, match=r"expected \(N, 5\)"):
        hierarchy.lca_distance_at_k(logits[:, :4], [0, 0], TREE, "species")


def test_hierarchical_precision_and_recall_of_one_head():
    # The class rank has one taxon and does not count: three ranks per image. Truth
    # As; answers As (3 of 3 shared), At (2), Gs (1), Hs (0): 6 of 12.
    found = hierarchy.hierarchical_precision_recall(
        [0, 0, 0, 0], "species", {"species": [0, 1, 2, 3]}, TREE
    )
    assert found == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    # With the class, 4 more are right: 10 of 16.
    every = hierarchy.hierarchical_precision_recall(
        [0, 0, 0, 0], "species", {"species": [0, 1, 2, 3]}, TREE, ranks=RANKS
    )
    assert every["precision"] == every["recall"] == 10 / 16


def test_coarser_answers_cost_recall_and_finer_ones_precision():
    # Genus F of the true As: 2 of 2 right, 2 of 3 found.
    coarse = hierarchy.hierarchical_precision_recall(
        [0], "species", {"genus": [0]}, TREE
    )
    assert coarse["precision"] == 1
    assert coarse["recall"] == pytest.approx(2 / 3)
    assert coarse["f1"] == pytest.approx(0.8)
    fine = hierarchy.hierarchical_precision_recall([0], "genus", {"species": [0]}, TREE)
    assert fine["precision"] == pytest.approx(2 / 3)
    assert fine["recall"] == 1


def test_heads_that_disagree_answer_with_the_union():
    # Truth As. Species head Hs: {B, H, Hs}; order head A: {A}. Union 4, right 1 of 3.
    found = hierarchy.hierarchical_precision_recall(
        [0], "species", {"species": [3], "order": [0]}, TREE
    )
    assert found["precision"] == 1 / 4
    assert found["recall"] == pytest.approx(1 / 3)
    # Heads that agree add nothing.
    same = hierarchy.hierarchical_precision_recall(
        [0], "species", {"species": [0], "order": [0], "genus": [0]}, TREE
    )
    assert same == {"precision": 1, "recall": 1, "f1": 1}
    none = hierarchy.hierarchical_precision_recall(
        [0], "species", {"species": [3]}, TREE
    )
    assert none == {"precision": 0, "recall": 0, "f1": 0}


def test_paths():
    predictions = {"order": [0, 0, 1], "genus": [1, 1, 2], "species": [2, 3, 3]}
    consistent = hierarchy.path_consistency(predictions, TREE)
    assert consistent.tolist() == [True, False, True]
    right = hierarchy.full_path_correct(predictions, [2, 2, 4], "species", TREE)
    assert right.tolist() == [True, False, False]
    assert hierarchy.path_consistency({"genus": [0, 1]}, TREE).tolist() == [True, True]
    with pytest.raises(ValueError, match="at least one rank"):
        hierarchy.path_consistency({}, TREE)
