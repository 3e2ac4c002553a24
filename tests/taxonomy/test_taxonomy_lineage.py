"""Lineages and ranks: folder names, display names, and invalid names."""

import unicodedata

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import (
    DEFAULT_RANKS,
    Lineage,
    check_rank,
    check_ranks,
    parse_class_name,
)

HAWK = "03113_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_gentilis"


def test_parse_splits_id_and_seven_taxa():
    lineage = parse_class_name(HAWK)
    assert lineage.class_id == "03113"
    assert lineage.ranks == DEFAULT_RANKS
    assert lineage.taxa == (
        "Animalia",
        "Chordata",
        "Aves",
        "Accipitriformes",
        "Accipitridae",
        "Accipiter",
        "gentilis",
    )
    assert lineage.prefix("class") == ("Animalia", "Chordata", "Aves")
    assert lineage.prefix("species") == lineage.taxa


def test_display_names():
    lineage = parse_class_name(HAWK)
    assert lineage.display_name("species") == "Accipiter gentilis"
    assert lineage.display_name("genus") == "Accipiter"
    assert lineage.display_name("kingdom") == "Animalia"


def test_tautonym_keeps_both_words():
    lineage = parse_class_name("1_A_B_C_D_E_Buteo_buteo")
    assert lineage.display_name("species") == "Buteo buteo"


def test_species_column_with_binomials_is_not_doubled():
    lineage = Lineage(("Buteo", "Buteo buteo"), ("genus", "species"))
    assert lineage.display_name("species") == "Buteo buteo"
    # Not a binomial: the epithet only starts with the letters of the genus.
    lineage = Lineage(("Buteo", "Buteoides"), ("genus", "species"))
    assert lineage.display_name("species") == "Buteo Buteoides"


def test_other_ranks():
    ranks = ("order", "species", "subspecies")
    lineage = Lineage(("Passeriformes", "Corvus corone", "cornix"), ranks)
    assert lineage.display_name("species") == "Corvus corone"
    assert lineage.display_name("subspecies") == "Corvus corone cornix"
    ranks = ("genus", "species", "subspecies")
    lineage = Lineage(("Corvus", "corone", "cornix"), ranks)
    assert lineage.display_name("subspecies") == "Corvus corone cornix"


def test_hostile_names_are_kept_as_they_are():
    name = "7_<script>_Chör data_鳥_;rm -rf *_\"'&amp;_%s{}_..\\x"
    lineage = parse_class_name(name)
    assert lineage.taxa[0] == "<script>"
    assert lineage.taxa[1] == "Chör data"
    assert lineage.taxa[2] == "鳥"
    assert lineage.display_name("species") == "%s{} ..\\x"


def test_unicode_forms_are_one_name():
    composed = unicodedata.normalize("NFC", "1_A_B_C_D_E_Märe_nisus")
    apart = unicodedata.normalize("NFD", composed)
    assert composed != apart
    assert parse_class_name(composed) == parse_class_name(apart)


@pytest.mark.parametrize(
    "name, says",
    [
        ("00042_Aves", "folder '00042_Aves' has 2 fields, expected 8"),
        ("images", "has 1 field, expected 8 (id, kingdom, phylum"),
        (HAWK + "_fujiyamae", "has 9 fields"),
        ("", "has 1 field,"),
        ("1_A_B__D_E_F_g", "has no class"),
        ("1_A_B_ _D_E_F_g", "has no class"),
        ("_A_B_C_D_E_F_g", "has no id"),
        ("1_A_B_C_D_E_F_", "has no epithet"),
        ("Animalia_Chordata_Aves_O_F_Corvus_corone_cornix", "expected an id"),
        ("1_A_B_C_D_E_F_g\n", "control character"),
        ("1_A_B_C_D_E_F_\udcff", "not UTF-8"),
    ],
)
def test_wrong_folder_names_say_what_is_wrong(name, says):
    with pytest.raises(UserError) as caught:
        parse_class_name(name)
    assert says in str(caught.value)


def test_lineage_refuses_what_does_not_fit():
    with pytest.raises(UserError, match="has 1 taxa, expected 2"):
        Lineage(("a",), ("family", "species"))
    with pytest.raises(UserError, match="blank species"):
        Lineage(("a", " "), ("family", "species"))
    with pytest.raises(UserError, match="is twice"):
        Lineage(("a", "b"), ("family", "Family"))


def test_check_rank_knows_and_suggests():
    assert check_rank(" Family ") == "family"
    with pytest.raises(UserError) as caught:
        check_rank("specis")
    assert "expected one of kingdom, phylum" in str(caught.value)
    assert "Did you mean 'species'?" in str(caught.value)
    with pytest.raises(UserError) as caught:
        check_rank("tribe", ("family", "species"))
    assert "expected one of family, species." in str(caught.value)


def test_check_ranks_reads_a_header():
    assert check_ranks(["Order", " Tribe ", "species"]) == ("order", "tribe", "species")
    for wrong in ([], ["order", ""], ["order", "order "]):
        with pytest.raises(UserError):
            check_ranks(wrong)
