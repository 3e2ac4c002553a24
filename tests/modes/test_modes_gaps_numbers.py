"""Answers in a tree with gaps: a taxon that skips a rank has no label there."""

import numpy as np
import pytest

from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.metrics import belief
from hiercam_keras.modes import belief as rules
from hiercam_keras.modes import guide_evidence, unseen
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy import Lineage, Taxonomy
from hiercam_keras.taxonomy.scores import rank_scores

RANKS = ("family", "subfamily", "genus", "species")
TREE = Taxonomy(
    Lineage(tuple(path.split("/")), RANKS)
    for path in (
        *("A//g2/s3", "A//g2/s4", "A/A1/g1/s1", "A/A1/g1/s2"),
        *("B//g3/s5", "B/B1/g4/s6"),
    )
)
# Of s3, s4, s1, s2, s5, s6: the labels are in the order of the tree.
SKIPS = np.array([0.3, 0.2, 0.1, 0.1, 0.2, 0.1])
DOES_NOT = np.array([0.1, 0.1, 0.3, 0.2, 0.2, 0.1])


def mass(tree, probabilities, rank, label):
    return probabilities[tree.descendants(rank, label, tree.finest)].sum()


def walk(tree, probabilities):
    """The likeliest child from the root down: label by rank, -1 where none is."""
    found, children = dict.fromkeys(tree.ranks, -1), None
    while True:
        if children is None:
            children = [
                (rank, label)
                for rank in tree.ranks
                for label in range(tree.num_labels(rank))
                if tree.parent(rank, label) is None
            ]
        if not children:
            return found
        rank, label = max(children, key=lambda one: mass(tree, probabilities, *one))
        found[rank] = label
        children = tree.children(rank, label)


def test_a_path_skips_a_rank_where_its_likeliest_child_does():
    found = belief.paths([SKIPS, DOES_NOT], TREE, "species")
    assert found.taxa.tolist() == [[0, -1, 0, 0], [0, 0, 1, 2]]
    # Where no name is given, the probability is that of the taxon above.
    expected = [[0.7, 0.7, 0.5, 0.3], [0.7, 0.5, 0.5, 0.3]]
    assert found.probabilities == pytest.approx(np.array(expected))


def random_tree(rng):
    lineages = []
    for family in range(3):
        for genus in range(4):
            subfamily = f"F{family}{rng.integers(2)}" if rng.random() < 0.5 else ""
            taxa = [f"F{family}", subfamily, f"G{family}{genus}"]
            lineages += [Lineage((*taxa, f"s{i}"), RANKS) for i in range(2)]
    return Taxonomy(lineages)


@pytest.mark.parametrize("seed", range(5))
def test_paths_are_those_of_the_tree_walked_down(seed):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng)
    shares = rng.dirichlet(np.full(tree.num_labels("species"), 0.3), 20)
    found = belief.paths(shares, tree, "species")
    for row, labels in zip(shares, found.taxa, strict=True):
        expected = walk(tree, row)
        assert dict(zip(found.ranks, labels, strict=True)) == {
            rank: expected[rank] for rank in found.ranks
        }
    # All rules give names that are there, and all numbers are of them.
    for name in rules.RULES:
        rule = rules.Rule(name, "", dict.fromkeys(RANKS, 0.4))
        given = rules.judged(rule, shares, tree, "species")
        rows = rules.believed_rows([str(i) for i in range(20)], given, rule, tree)
        for number, row in enumerate(rows):
            if row[1]:
                label = tree.label(tuple(row[3].split("/")), row[1])
                assert tree.names(row[1])[label] == row[2] != ""
                assert row[4] <= mass(tree, shares[number], row[1], label) + 1e-9
        said = belief.coverage(given.paths, given.depth, tree, "species")
        assert np.isfinite(said).all() and said.min() >= 0
        for number in range(20):
            assert rules.in_words(given, number, tree)
            fork = rules.fork(given, number, tree)
            if fork is not None:
                assert fork[1][0][1] >= fork[1][1][1]


def test_no_name_is_believed_at_a_gap():
    for genus, depth in ((0.6, 0), (0.4, 2)):
        thresholds = dict(zip(RANKS, (0.6, 0.6, genus, 0.6), strict=True))
        rule = rules.Rule(rules.CALIBRATED, "", thresholds)
        given = rules.judged(rule, np.array([SKIPS]), TREE, "species")
        assert given.depth.tolist() == [depth]
    found = belief.paths([SKIPS], TREE, "species")
    truth = {rank: np.array([-1]) for rank in RANKS}
    # A gap is not a right answer for a taxon that the network does not know.
    thresholds = belief.calibrate(found, truth)
    assert thresholds.pictures.tolist() == [1, 0, 1, 1]


def test_probabilities_of_a_rank_that_not_all_have_lack_the_others():
    logits = np.log(np.stack([SKIPS, DOES_NOT]))
    expected = [[0.2, 0.1], [0.5, 0.1]]
    space = ScoreSpace({"species": 6}, TREE)
    assert space.probabilities(logits, "subfamily") == pytest.approx(np.array(expected))
    network = Network(None, TREE, ("species",), "", 8)
    scores = network.scores({"species": logits.astype(np.float32) + 3})
    found = network.probabilities("subfamily", scores["subfamily"])
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    for rank in ("family", "genus", "species"):
        found = network.probabilities(rank, scores[rank])
        assert found.sum(1) == pytest.approx([1, 1], abs=1e-6)
    # A head of its own answers which subfamily it is, if there is one.
    heads = {"species": logits, "subfamily": np.zeros((2, 2))}
    own = Network(None, TREE, ("subfamily", "species"), "", 8)
    assert own.probabilities("subfamily", rank_scores(heads, TREE)["subfamily"]) == (
        pytest.approx(np.full((2, 2), 0.5))
    )


def test_evidence_of_a_guide_is_among_all_children_of_the_parent():
    labels = np.array([0, -1])  # of the subfamily A1; and a picture that has none
    chances = np.stack([SKIPS, SKIPS])
    within, rival = guide_evidence._within(
        chances, labels, TREE, "species", "subfamily"
    )
    assert within == pytest.approx(np.array([[2 / 7, 0], [0, 0]]))
    assert rival == pytest.approx([5 / 7, 0])  # the genus g2 is in no subfamily
    labels = TREE.parents("species", "genus")[[0, 2]]
    within, rival = guide_evidence._within(chances, labels, TREE, "species", "genus")
    assert within[0] == pytest.approx([5 / 7, 0, 0, 0])
    assert within[1] == pytest.approx([0, 1, 0, 0])
    assert rival == pytest.approx([2 / 7, 0])


def test_children_are_of_several_ranks_below_a_gap():
    assert TREE.children("family", 0) == (("genus", 0), ("subfamily", 0))
    assert TREE.children("subfamily", 0) == (("genus", 1),)
    assert TREE.children("species", 0) == ()


def test_a_picture_without_a_rank_is_not_one_that_nothing_was_trained_for():
    class Has:
        def __init__(self, label):
            self.lineage = TREE.lineages[label]

    train, asked = [Has(2)], [Has(0), Has(2), Has(5)]
    assert unseen.count(train, asked, "subfamily", TREE) == 1
    assert unseen.count(train, asked, "genus", TREE) == 2
