"""Common names: which one is shown, how it is kept, and how taxa are found by it."""

import json

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import Lineage, Taxonomy, allowed
from hiercam_keras.taxonomy.common_names import (
    Collected,
    CommonName,
    Taxon,
    by_taxon,
    column_language,
    language_code,
    of_lineages,
    titled,
)
from hiercam_keras.taxonomy.label_table import read_labels
from hiercam_keras.taxonomy.naming import UnknownTaxonError

RANKS = ("family", "genus", "species")
PATHS = (
    "Muscicapidae/Erithacus/rubecula",
    "Strigidae/Bubo/bubo",
    "Turdidae/Turdus/merula",
    "Turdidae/Turdus/migratorius",
)
LINEAGES = tuple(Lineage(tuple(path.split("/")), RANKS) for path in PATHS)
NAMES = {
    ("Muscicapidae", "Erithacus", "rubecula"): "European robin",
    ("Turdidae", "Turdus", "migratorius"): "American Robin",
    ("Turdidae",): "thrushes",
    ("Strigidae", "Bubo"): "eagle-owl",
    ("Strigidae", "Bubo", "bubo"): "eagle owl",
    ("Turdidae", "Zoothera"): "none of this tree",
}
TREE = Taxonomy(LINEAGES).with_common_names(NAMES)


def test_names_are_kept_with_the_tree_and_do_not_make_it_another_one():
    assert TREE == Taxonomy(LINEAGES) and hash(TREE) == hash(Taxonomy(LINEAGES))
    assert len(TREE.common_names) == 5  # not that of another tree
    assert TREE.common_name("species", 0) == "European robin"
    assert TREE.common_name("species", 2) == ""
    assert TREE.titles("species")[0] == "Erithacus rubecula (European robin)"
    assert TREE.titles("species")[2] == "Turdus merula"
    assert TREE.names("species")[0] == "Erithacus rubecula"
    kept = Taxonomy.from_json(json.loads(json.dumps(TREE.to_json())))
    assert kept.common_names == TREE.common_names
    # A tree without common names is written as before.
    assert "common_names" not in Taxonomy(LINEAGES).to_json()
    assert Taxonomy(LINEAGES).titles("species") == TREE.names("species")


def test_a_taxon_is_found_by_its_common_name():
    assert TREE.find("european  ROBIN") == ("species", 0)
    assert TREE.find("Erithacus rubecula (European robin)") == ("species", 0)
    assert TREE.find("Thrushes") == ("family", 2)
    genus = TREE.label(LINEAGES[1], "genus")
    assert TREE.find("Eagle Owl", "genus") == ("genus", genus)


def test_a_scientific_name_has_priority():
    tree = TREE.with_common_names({("Turdidae", "Turdus", "merula"): "bubo"})
    assert tree.find("bubo") == ("genus", tree.label(LINEAGES[1], "genus"))


def test_an_ambiguous_common_name_lists_its_taxa():
    with pytest.raises(UserError) as error:
        TREE.find("eagle owl")
    assert "'Bubo' (genus, eagle-owl)" in str(error.value)
    assert "'Bubo bubo' (species, eagle owl)" in str(error.value)
    assert "--target_rank" in str(error.value)
    both = dict.fromkeys([tuple(path.split("/")) for path in PATHS[2:]], "robin")
    with pytest.raises(UserError) as error:
        TREE.with_common_names(both).find("robin")
    assert "'Turdus merula' (species, robin), 'Turdus migratorius'" in str(error.value)
    # A robin is several species, of which none is called so and nothing else.
    with pytest.raises(UnknownTaxonError) as error:
        TREE.find("robin")
    assert "'Erithacus rubecula (European robin)'" in str(error.value)
    assert "'Turdus migratorius (American Robin)'" in str(error.value)
    with pytest.raises(UnknownTaxonError, match=r"Turdidae \(thrushes\)"):
        TREE.find("thrushs")


def test_allowed_taxa_may_be_common_names(tmp_path):
    found = allowed.read("European robin,thrushes").of(TREE)
    assert found.taxonomy.num_labels("species") == 3
    assert found.taxonomy.common_names[("Turdidae",)] == "thrushes"
    assert ("Strigidae", "Bubo") not in found.taxonomy.common_names
    table = tmp_path / "taxa.csv"
    table.write_text("common name\nAmerican robin\neuropean robin\n")
    assert allowed.read(table).of(TREE).taxonomy.num_labels("species") == 2


def test_the_labels_of_an_imported_network_have_common_names(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        "family,genus,species,common_name\n"
        "Turdidae,Turdus,merula,Eurasian blackbird\n,,,\n"
        "Turdidae,Turdus,migratorius,American robin\nStrigidae,Bubo,,eagle-owls\n"
    )
    taxonomy = read_labels(table).taxonomy
    assert taxonomy.ranks == RANKS
    assert taxonomy.find("eurasian blackbird")[0] == "species"
    assert taxonomy.common_names[("Strigidae", "Bubo")] == "eagle-owls"


@pytest.mark.parametrize("text", ["en", "ENG", "en-GB", "en_US", "English"])
def test_languages_have_several_names(text):
    assert language_code(text) == language_code("eng")
    assert language_code("nl") == language_code("dut") == language_code("nld")
    assert language_code("eng") != language_code("nld")


def test_one_name_of_several_is_shown():
    names = Collected("en")
    names.add("a", CommonName("blauwe reiger", "nld"), CommonName("heron", "eng"))
    names.add("b", CommonName("gray heron"), CommonName("gray heron"))
    names.add("b", CommonName("grey heron"))
    names.add("c", CommonName("teal", "en"), CommonName("common\nteal", "en", True))
    names.add("c", CommonName("teal", "en"))
    names.add("d", CommonName("wintertaling", "nl"))
    names.add("e", CommonName("  "))
    found = names.chosen("here")
    assert found == {"a": "heron", "b": "gray heron", "c": "common teal"}


def test_names_in_other_languages_alone_are_reported(caplog):
    names = Collected("en")
    names.add("a", CommonName("blauwe reiger", "nld"))
    assert names.chosen("here") == {}
    assert "nld" in caplog.text and "--config.data.language" in caplog.text


def test_taxa_are_named_by_whole_name_and_rank_never_by_epithet():
    found = of_lineages(
        LINEAGES,
        {
            Taxon("bubo bubo"): "eagle owl",
            Taxon("Turdus", "genus"): "true thrushes",
            Taxon("Turdidae", "genus"): "of another rank",
            Taxon("merula"): "an epithet alone",
        },
    )
    assert found == {
        ("Strigidae", "Bubo", "bubo"): "eagle owl",
        ("Turdidae", "Turdus"): "true thrushes",
    }
    names = by_taxon(found, RANKS)
    assert names[Taxon("Bubo bubo", "species")] == "eagle owl"
    assert of_lineages(LINEAGES, names) == found


def test_a_name_of_two_taxa_names_neither():
    twice = [
        Lineage(("Sulidae", "Morus", "bassanus"), RANKS),
        Lineage(("Moraceae", "Morus", "alba"), RANKS),
    ]
    found = of_lineages(
        twice, {Taxon("Morus"): "gannets", Taxon("Morus alba"): "mulberry"}
    )
    assert found == {("Moraceae", "Morus", "alba"): "mulberry"}


def test_a_name_is_not_repeated():
    assert titled("Gorilla", "gorilla") == "Gorilla"
    assert titled("Pica pica", "") == "Pica pica"


@pytest.mark.parametrize(
    ("column", "language"),
    [
        *[("common_name", ""), ("vernacularName", ""), ("common names", "")],
        *[("common_name_nl", "nld"), ("Common Name (en)", "eng"), ("com name", "")],
        *[("PRIMARY_COM_NAME", ""), ("local name", ""), ("english", "eng")],
        *[("name_en", "eng"), ("English_name_AviList", "eng"), ("Deutsch", "deu")],
        *[("polish common name", "pol"), ("español", "spa")],
        *[("name", None), ("en", None), ("id", None), ("name_id", None)],
        *[("no", None), ("common", None), ("local", None), ("species", None)],
        *[("english german", None), ("name of owner", None)],
    ],
)
def test_columns_of_common_names(column, language):
    assert column_language(column) == language


def test_labels_with_names_in_a_language(tmp_path):
    """Next to taxa the names are shown; alone they are the labels."""
    path = tmp_path / "labels.csv"
    path.write_text(
        "index,group,kind,english,german\n"
        "0,heron,Ardea,grey heron,Graureiher\n1,heron,Egretta,little egret,Seiden\n"
        "2,owl,Bubo,eagle owl,Uhu\n"
    )
    tree = read_labels(path).taxonomy
    assert tree.ranks == ("group", "kind")
    assert tree.titles("kind")[0] == "Ardea (grey heron)"
    path.write_text("index,german,english\n0,Uhu,eagle owl\n1,Krähe,crow\n")
    assert read_labels(path).taxonomy.names("label") == ("crow", "eagle owl")
    path.write_text("group,english\nheron,grey heron\nheron,egret\nowl,eagle owl\n")
    assert read_labels(path).taxonomy.ranks == ("group", "english")
