"""Taxa count by their whole path: a genus and its species may share a name.

hiclass counts bags of names. With species written as "genus epithet" no path has a name
twice, and its figures are those of this program; with epithets alone an answer that
stops at the genus Bubo is wholly right for Bubo bubo.
"""

import numpy as np
import pytest

from hiercam_keras.metrics import hierarchy
from hiercam_keras.taxonomy import Lineage, Taxonomy, parse_class_name
from hiercam_keras.taxonomy.lineage import full_name

RANKS = ("family", "genus", "species")
REASON = "install requirements-parity.txt to compare with hiclass"
TREE = Taxonomy(
    Lineage(tuple(path.split("/")), RANKS)
    for path in (
        "Strigidae/Bubo/bubo",
        "Strigidae/Bubo/scandiacus",
        "Strigidae/Strix/aluco",
        "Sulidae/Morus/bassanus",
        "Moraceae/Morus/alba",
        "Corvidae/Pica/pica",
    )
)


def label(name, rank="species", tree=TREE):
    return tree.find(name, rank)[1]


def scores(truth, predictions, tree=TREE, ranks=RANKS):
    found = hierarchy.hierarchical_precision_recall(
        truth, "species", predictions, tree, ranks
    )
    return found["precision"], found["recall"], found["f1"]


@pytest.fixture(scope="module")
def birds(real_data) -> Taxonomy:
    """The 1,486 birds of iNat2021."""
    names = (real_data / "inat2021_aves_class_names.txt").read_text().split()
    return Taxonomy(map(parse_class_name, names))


def test_an_answer_that_stops_at_the_genus_lacks_the_species_of_the_same_name():
    truth = [label("Bubo bubo")]
    stops = {"genus": [label("Bubo", "genus")]}
    assert scores(truth, stops) == (1, pytest.approx(2 / 3), pytest.approx(0.8))
    # As for a species with another name.
    assert scores([label("Strix aluco")], {"genus": [label("Strix", "genus")]})[1] == (
        pytest.approx(2 / 3)
    )
    # The other way round: the species of a picture that is known to the genus.
    found = hierarchy.hierarchical_precision_recall(
        stops["genus"], "genus", {"species": truth}, TREE, RANKS
    )
    assert (found["precision"], found["recall"]) == (pytest.approx(2 / 3), 1)


def test_a_wrong_species_of_a_tautonym_s_genus_is_a_sibling():
    one, other = label("Bubo bubo"), label("Bubo scandiacus")
    assert scores([one], {"species": [other]})[:2] == pytest.approx((2 / 3, 2 / 3))
    assert TREE.lca_height("species", one, other) == 1
    assert TREE.lca_height("species", one, label("Pica pica")) == 3
    logits = np.eye(6)[[other]]
    distance = hierarchy.lca_distance_at_k(logits, [one], TREE, "species", k=1)
    assert distance.tolist() == [1]


def test_one_genus_name_in_two_families_is_two_taxa():
    gannet, mulberry = label("Morus bassanus"), label("Morus alba")
    assert scores([gannet], {"species": [mulberry]}) == (0, 0, 0)
    assert TREE.lca_height("species", gannet, mulberry) == 3
    genera = {"genus": TREE.parents("species", "genus")[[mulberry]]}
    assert scores([gannet], genera) == (0, 0, 0)
    predictions = {"species": [gannet], **genera}
    assert not hierarchy.path_consistency(predictions, TREE).any()


def test_all_tautonyms_among_the_birds(birds):
    same = [one[-1] == one[-2].lower() for one in birds.prefixes("species")]
    tautonyms = np.flatnonzero(same)
    assert len(tautonyms) == 48 and birds.num_labels("species") == 1486
    ranks = ("order", "family", "genus", "species")
    genera = birds.parents("species", "genus")[tautonyms]
    found = scores(tautonyms, {"genus": genera}, birds, ranks)
    assert found == (1, 0.75, pytest.approx(6 / 7))
    heights = birds.lca_height("species", tautonyms, np.roll(tautonyms, 1))
    assert heights.min() > 1  # each is in a genus of its own


def paths(labels, tree, ranks, whole=True):
    """Names of the taxa at the ranks: (N, R) of text, species as "genus epithet"."""
    rows = []
    for one in labels:
        prefix = tree.prefixes("species")[one]
        depths = [tree.ranks.index(rank) + 1 for rank in ranks]
        names = [prefix[:depth] for depth in depths]
        if whole:
            rows.append([full_name(name, tree.ranks) for name in names])
        else:
            rows.append([name[-1].capitalize() for name in names])
    return np.array(rows)


def test_parity_with_hiclass(birds):
    metrics = pytest.importorskip("hiclass.metrics", reason=REASON)
    ranks = ("order", "family", "genus", "species")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 1486, 400)
    # Half of the answers are right, or close to it in the order of the tree.
    near = np.clip(truth + rng.integers(-2, 3, 400), 0, 1485)
    said = np.where(rng.random(400) < 0.7, near, rng.integers(0, 1486, 400))
    theirs, answers = (paths(one, birds, ranks) for one in (truth, said))
    expected = [one(theirs, answers) for one in _of(metrics)]
    found = scores(truth, {"species": said}, birds, ranks)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.2 < found[0] < 0.9
    # Answers down to the genus: paths of three ranks.
    genera = {"genus": birds.parents("species", "genus")[said]}
    expected = [one(theirs, answers[:, :3]) for one in _of(metrics)]
    assert scores(truth, genera, birds, ranks) == pytest.approx(expected, abs=1e-12)


def test_hiclass_takes_a_genus_for_its_tautonym():
    """Why paths have whole names here."""
    metrics = pytest.importorskip("hiclass.metrics", reason=REASON)
    bags = paths([label("Bubo bubo")], TREE, RANKS, whole=False)
    assert bags.tolist() == [["Strigidae", "Bubo", "Bubo"]]
    assert metrics.recall(bags, bags[:, :2]) == 1
    whole = paths([label("Bubo bubo")], TREE, RANKS)
    assert metrics.recall(whole, whole[:, :2]) == pytest.approx(2 / 3)


def _of(metrics):
    return metrics.precision, metrics.recall, metrics.f1
