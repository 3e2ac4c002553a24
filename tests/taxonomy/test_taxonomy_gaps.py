"""Lineages with missing taxa: gaps within the tree, and parts of other lineages."""

import numpy as np
import pytest

from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError
from hiercam_keras.metrics import belief, hierarchy
from hiercam_keras.taxonomy import Lineage, Taxonomy, matching
from hiercam_keras.taxonomy.scores import (
    marginal_logits,
    marginal_probabilities,
    softmax,
)

RANKS = ("family", "subfamily", "genus", "species")
# Corvidae: Corvinae/Corvus (2), Corvinae/Nucifraga (1), and Pica (1) in no subfamily.
# Ardeidae has no subfamily: Ardea (2).
TAXA = (
    ("Ardeidae", "", "Ardea", "alba"),
    ("Ardeidae", "", "Ardea", "cinerea"),
    ("Corvidae", "", "Pica", "pica"),
    ("Corvidae", "Corvinae", "Corvus", "corax"),
    ("Corvidae", "Corvinae", "Corvus", "corone"),
    ("Corvidae", "Corvinae", "Nucifraga", "caryocatactes"),
)


def lineage(*taxa):
    return Lineage(taxa, RANKS)


@pytest.fixture(scope="module")
def tree():
    return Taxonomy(lineage(*taxa) for taxa in TAXA)


def test_a_lineage_says_what_it_lacks():
    heron = lineage("Ardeidae", "", "Ardea", "")
    assert heron.finest == "genus"
    assert heron.path == "Ardeidae//Ardea"
    assert heron.is_partial
    assert not heron.has("subfamily")
    assert heron.has("family")
    assert heron.display_name("species") == ""
    assert heron.display_name("genus") == "Ardea"
    assert not lineage(*TAXA[2]).is_partial
    assert lineage("", "Corvinae", "", "").path == "/Corvinae"
    with pytest.raises(UserError, match="no taxon at any of family"):
        lineage("", "", "", "")
    with pytest.raises(UserError, match="blank subfamily"):
        lineage("Ardeidae", " ", "Ardea", "alba")


def test_an_epithet_without_a_genus_has_no_empty_word():
    assert lineage("Ardeidae", "", "", "alba").display_name("species") == "alba"


def test_labels_and_parents_by_hand(tree):
    assert [tree.num_labels(rank) for rank in RANKS] == [2, 1, 4, 6]
    assert tree.names("genus") == ("Ardea", "Pica", "Corvus", "Nucifraga")
    assert tree.label(lineage(*TAXA[2]), "subfamily") == -1
    assert tree.label(lineage("Ardeidae", "", "Ardea", ""), "species") == -1
    assert tree.parents("genus", "subfamily").tolist() == [-1, -1, 0, 0]
    assert tree.parents("species", "family").tolist() == [0, 0, 1, 1, 1, 1]
    assert tree.rollup("genus", "subfamily").ravel().tolist() == [0, 0, 1, 1]
    assert tree.parent("genus", 1) == ("family", 1)
    assert tree.parent("genus", 2) == ("subfamily", 0)
    assert tree.parent("family", 0) is None
    assert tree.descendants("family", 1, "species").tolist() == [2, 3, 4, 5]
    assert tree.descendants("family", 0, "subfamily").tolist() == []


def test_siblings_are_below_one_parent_at_one_rank(tree):
    # Pica's parent has another child, the subfamily, so Pica is not certain.
    assert tree.siblings("genus", 1).tolist() == []
    assert not tree.is_only_child("genus", 1)
    assert not tree.is_only_child("subfamily", 0)
    assert tree.siblings("genus", 2).tolist() == [3]
    assert tree.is_only_child("genus", 0)
    assert tree.is_only_child("species", 2)


def test_heights_count_the_ranks_that_both_skip(tree):
    heights = tree.lca_height("species", 2, np.arange(6))
    assert heights.tolist() == [4, 4, 0, 3, 3, 3]
    assert tree.lca_height("species", 0, [0, 1]).tolist() == [0, 1]
    assert tree.lca_height("genus", [2, 2], [3, 1]).tolist() == [1, 2]


def test_a_part_of_a_lineage_adds_nothing(tree):
    parts = [
        lineage("Corvidae", "", "", ""),
        lineage("Corvidae", "Corvinae", "Corvus", ""),
        lineage("Ardeidae", "", "Ardea", ""),
    ]
    assert Taxonomy([*parts, *tree.lineages]) == tree
    more = Taxonomy([*tree.lineages, lineage("Ardeidae", "", "Nycticorax", "")])
    assert more.num_labels("genus") == 5
    assert more.num_labels("species") == 6
    assert more.descendants("genus", 1, "species").size == 0


def test_json_keeps_gaps(tree):
    assert Taxonomy.from_json(tree.to_json()) == tree


def test_homonyms_are_not_named_by_a_gap():
    one = Taxonomy([lineage("A", "", "G", "x"), lineage("B", "S", "G", "x")])
    assert one.names("genus") == ("G (A)", "G (B)")


def test_a_rank_of_no_image_is_not_trainable():
    one = Taxonomy([lineage("A", "", "", ""), lineage("B", "", "", "")])
    with pytest.raises(UserError, match="no image .* is identified to the rank 'spec"):
        one.check_trainable("species")


def test_marginals_leave_out_taxa_without_the_rank(tree):
    logits = np.log(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    found = marginal_logits(logits, tree, "species", "subfamily")
    np.testing.assert_allclose(np.exp(found), [15.0])
    found = marginal_logits(logits, tree, "species", "family")
    np.testing.assert_allclose(np.exp(found), [3.0, 18.0])
    shares = softmax(logits)
    for rank in RANKS:
        sums = marginal_probabilities(shares, tree, "species", rank)
        np.testing.assert_allclose(sums, shares @ tree.rollup("species", rank), 1e-6)
    # Ardeidae has no subfamily: a head of subfamilies cannot answer it.
    assert marginal_logits([0.5], tree, "subfamily", "family").tolist() == [
        -np.inf,
        0.5,
    ]
    assert marginal_probabilities([1.0], tree, "subfamily", "family").tolist() == [0, 1]


def test_steps_go_from_the_next_rank_that_there_is(tree):
    space = ScoreSpace({"species": 6}, tree)
    genus = space.groups[space.group("genus")].start
    family = space.groups[space.group("family")].start
    subfamily = space.groups[space.group("subfamily")].start
    assert space.parent[genus : genus + 4].tolist() == [
        family,
        family + 1,
        subfamily,
        subfamily,
    ]
    only = space.only_child[genus : genus + 4].tolist()
    assert only == [tree.is_only_child("genus", label) for label in range(4)]
    assert space.ancestors[2].tolist()[:2] == [family + 1, 0]
    assert (space.owner[space.group("subfamily")] == subfamily).sum() == 3


def test_the_engine_gives_a_gap_its_marginals_and_steps(tree):
    from hiercam_keras.cam import selection, targets

    space = ScoreSpace({"species": 6}, tree)
    logits = np.log(np.array([[1.0, 2.0, 30.0, 4.0, 5.0, 6.0]], np.float32))
    scores = np.asarray(selection.row_scores(space, logits))[0]
    row = space.row("subfamily", 0)
    np.testing.assert_allclose(np.exp(scores[row]), 15.0, 1e-5)
    asked = targets.expand(targets.path(), space)
    codes = targets.encode(asked, space, 1)
    chosen = selection.select(space, codes, logits)
    assert np.asarray(chosen.trivial)[0].tolist() == [False, True, False, True]
    scored = selection.score(space, chosen, logits)
    np.testing.assert_allclose(
        np.exp(np.asarray(scored.scores)[0]), [45 / 48, 1, 30 / 45, 1], 1e-5
    )
    marginal = targets.encode([targets.marginal("subfamily", 0)], space, 1)
    scored = selection.score(space, selection.select(space, marginal, logits), logits)
    np.testing.assert_allclose(np.asarray(scored.probabilities), [[15 / 48]], 1e-5)


def test_measures_of_a_tree_with_gaps_by_hand(tree):
    leaves = np.array([2, 3])  # Pica pica, Corvus corax
    answers = {
        "family": np.array([1, 1]),
        "subfamily": np.array([0, 0]),
        "species": np.array([2, 4]),
    }
    assert hierarchy.path_consistency(answers, tree).tolist() == [True, True]
    right = hierarchy.full_path_correct(answers, leaves, "species", tree)
    assert right.tolist() == [True, False]
    one = {"species": np.array([2, 4])}
    found = hierarchy.hierarchical_precision_recall(
        leaves, "species", one, tree, ("family", "subfamily", "genus", "species")
    )
    # Pica: 3 of 3. Corvus corone for Corvus corax: family, subfamily, genus of 4.
    assert found["precision"] == found["recall"] == 6 / 7


def test_a_path_skips_a_rank_and_is_believed_down_to_a_taxon(tree):
    """The likeliest child of each taxon: of Corvidae, Pica (0.4) or Corvinae (0.35)."""
    shares = np.array(
        [[0.1, 0.15, 0.4, 0.2, 0.1, 0.05], [0.05, 0.05, 0.1, 0.3, 0.4, 0.1]]
    )
    found = belief.paths(shares, tree, "species")
    assert found.ranks == ("family", "genus", "species")  # one subfamily alone
    more = Taxonomy([*tree.lineages, lineage("Ardeidae", "Ardeinae", "Egretta", "x")])
    shares = np.insert(shares, 2, 0.0, axis=1)
    found = belief.paths(shares, more, "species")
    assert found.ranks == RANKS
    assert found.taxa.tolist() == [[1, -1, 2, 3], [1, 1, 3, 5]]
    np.testing.assert_allclose(
        found.probabilities, [[0.75, 0.75, 0.4, 0.4], [0.9, 0.8, 0.7, 0.4]]
    )
    said = belief.coverage(found, [1, 1], more, "species")
    np.testing.assert_allclose(said, 1 - np.log([4, 3]) / np.log(7))
    truth = {rank: [1, 1] for rank in RANKS}
    truth["subfamily"] = [belief.UNLABELLED, 1]
    assert belief.correct(found, [1, 1], truth).tolist() == [1, 1]
    paths, depth = belief.roll_up(shares, more, "species", best=6)
    assert paths.taxa[0].tolist() == [1, -1, 2, 3]
    assert depth.tolist() == [0, 2]


def test_matching_by_name_does_not_count_a_missing_rank(tree):
    asked = Lineage(("Corvidae", "Coracinae", "Pica", ""), RANKS)
    found = matching.find(tree, asked)
    assert found.labels == {"family": 1, "subfamily": -1, "genus": 1, "species": -1}
    assert found.doubts == ()
    asked = Lineage(("", "", "Nucifraga", "caryocatactes"), RANKS)
    assert matching.find(tree, asked).labels["species"] == 5
