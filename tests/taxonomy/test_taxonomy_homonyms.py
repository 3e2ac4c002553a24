"""Names that occur twice in a tree: errors and homonyms."""

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import homonyms, parse_class_name
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("class", "family", "genus", "species")


def tree(*paths, ranks=RANKS):
    return Taxonomy(Lineage(tuple(path.split("/")), ranks) for path in paths)


def kinds(taxonomy):
    return [(one.rank, one.kind) for one in homonyms.find(taxonomy)]


def test_one_species_in_two_classes_is_an_error():
    taxonomy = tree(
        "Aves/Accipitridae/Accipiter/nisus",
        "Reptilia/Accipitridae/Accipiter/nisus",
    )
    assert kinds(taxonomy)[-1] == ("species", "binomial")
    with pytest.raises(
        UserError, match="the species 'nisus' is in Aves/.* and in Rept"
    ):
        homonyms.check(taxonomy, "error", "birds")
    said = homonyms.check(taxonomy, "keep", "birds")
    assert "birds: names of several taxa" in said and "Reptilia" in said


def test_one_binomial_under_two_genera_is_an_error():
    """A species in its old and in its new genus."""
    taxonomy = tree(
        "Aves/Accipitridae/Accipiter/Accipiter gentilis",
        "Aves/Accipitridae/Astur/Accipiter gentilis",
    )
    assert kinds(taxonomy) == [("species", "binomial")]


@pytest.mark.parametrize(
    ("one", "other", "rank"),
    [
        ("Aves/Picidae/Picus/viridis", "Aves/Picidae/Picus/Viridis", "species"),
        ("Aves/Picidae/Picus/viridis", "Aves/picidae/Picus/viridis", "family"),
        ("Aves/Picidae/Picus/viridis", "aves/Picidae/Picus/viridis", "class"),
        ("Aves/X/Picus/Picus viridis", "Aves/X/Picus/Picus_viridis", "species"),
        ("Aves/X/Picus/Picus viridis", "Aves/X/Picus/Picus  viridis", "species"),
        ("Aves/X/Picus/viridis", "Aves/Y/picus/canus", "genus"),
    ],
)
def test_two_spellings_are_an_error_that_is_listed_once(one, other, rank):
    taxonomy = tree(one, other)
    assert kinds(taxonomy) == [(rank, "spelling")]
    with pytest.raises(UserError, match=f"the {rank} is spelled .*homonyms=keep"):
        homonyms.check(taxonomy, "error", "birds")


def test_a_genus_in_two_families_and_epithets_are_no_errors():
    taxonomy = tree(
        "Aves/Sulidae/Morus/bassanus",
        "Magnoliopsida/Moraceae/Morus/alba",
        "Aves/Tytonidae/Tyto/alba",
    )
    assert kinds(taxonomy) == [("genus", "name")]
    assert "the genus 'Morus' is in" in homonyms.check(taxonomy, "error", "x")


def test_epithets_without_a_genus_are_homonyms():
    taxonomy = tree("Tytonidae/alba", "Ardeidae/alba", ranks=("family", "species"))
    assert kinds(taxonomy) == [("species", "name")]


def test_plain_labels_in_two_spellings():
    taxonomy = tree("ALBATROSS", "Albatross", ranks=("label",))
    assert kinds(taxonomy) == [("label", "spelling")]


def test_a_clean_tree_says_nothing_and_the_field_is_checked():
    taxonomy = tree("Aves/Picidae/Picus/viridis", "Aves/Picidae/Picus/canus")
    assert homonyms.check(taxonomy, "error", "x") == ""
    with pytest.raises(UserError, match="data.homonyms is 'no': use error or keep"):
        homonyms.check(taxonomy, "no", "x")


def test_the_birds_of_inat2021_have_no_homonyms(real_data):
    names = (real_data / "inat2021_aves_class_names.txt").read_text("utf-8").split()
    taxonomy = Taxonomy(map(parse_class_name, names))
    assert taxonomy.num_labels("species") == 1486 and kinds(taxonomy) == []
