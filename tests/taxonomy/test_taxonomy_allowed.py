"""Lists of allowed taxa, and the part of a taxonomy that they leave."""

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import allowed
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("class", "family", "genus", "species")
TREE = Taxonomy(
    Lineage(taxa, RANKS)
    for taxa in [
        ("Aves", "Ardeidae", "Ardea", "cinerea"),
        ("Aves", "Ardeidae", "Ardea", "alba"),
        ("Aves", "Corvidae", "Pica", "pica"),
        ("Insecta", "Apidae", "Apis", "mellifera"),
    ]
)


def names(restriction):
    return restriction.taxonomy.names("species")


def test_names_of_any_rank_with_all_below_them():
    found = allowed.read("Insecta, Ardea").of(TREE)
    assert names(found) == ("Ardea alba", "Ardea cinerea", "Apis mellifera")
    assert found.labels("species").tolist() == [0, 1, -1, 2]
    assert found.labels("family").tolist() == [0, -1, 1]
    assert found.labels("class").tolist() == [0, 1]


@pytest.mark.parametrize(
    "table",
    [
        "family,genus,species\nArdeidae,Ardea,alba\nCorvidae,,\n",
        "taxon\nArdea alba\nPica pica\n",
        "species\nArdea alba\nPica pica\n",
        "label\n00001_Animalia_Chordata_Aves_Pelecaniformes_Ardeidae_Ardea_alba\n"
        "00002_Animalia_Chordata_Aves_Passeriformes_Corvidae_Pica_pica\n",
    ],
)
def test_tables(tmp_path, table):
    path = tmp_path / "region.csv"
    path.write_text(table)
    assert names(allowed.read(str(path)).of(TREE)) == ("Ardea alba", "Pica pica")


def test_an_unknown_species_is_not_allowed_by_its_known_genus(tmp_path, caplog):
    path = tmp_path / "region.csv"
    path.write_text("genus,species\nArdea,herodias\nArdea,alba\nPica,pica\n")
    found = allowed.read(path).of(TREE)
    assert names(found) == ("Ardea alba", "Pica pica")
    assert "does not know 1 of 3 taxa: Ardea herodias" in caplog.text


def test_unknown_names_are_reported_with_the_nearest(caplog):
    allowed.read("Ardea,Corvidea").of(TREE)
    assert "Corvidea (near: Corvidae" in caplog.text
    caplog.clear()
    allowed.read("Ardea,Corvidea").of(TREE, quiet=True)
    assert not caplog.text


def test_none_known_is_an_error():
    with pytest.raises(UserError, match="knows none of 2 taxa: Felidae"):
        allowed.read("Felidae,Canidae").of(TREE)


def test_one_label_is_no_choice():
    with pytest.raises(UserError, match="leaves one label of the network, Pica pica"):
        allowed.read("Corvidae").of(TREE).check("species")


@pytest.mark.parametrize("empty", ["", " , ", []])
def test_an_empty_list_is_an_error(empty):
    with pytest.raises(UserError, match="--allowed_taxa is empty"):
        allowed.read(empty)


def test_lineages_as_a_sequence():
    lineage = Lineage(("Aves", "Ardeidae"), RANKS[:2])
    found = allowed.read([lineage, "Pica pica"]).of(TREE)
    assert names(found) == ("Ardea alba", "Ardea cinerea", "Pica pica")


@pytest.mark.parametrize("asked", [5, [3], ["Ardea", None]])
def test_what_is_no_list_of_taxa_is_refused(asked):
    with pytest.raises(UserError, match="expected names or lineages in a list"):
        allowed.read(asked)


def test_a_folder_is_no_list(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is a folder. Expected names"):
        allowed.read(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Ardea").mkdir()
    assert allowed.read("Ardea").taxa == ("Ardea",)
    with pytest.raises(UserError, match="--allowed_taxa=Ardea/ is a folder"):
        allowed.read("Ardea/")


def test_the_name_of_a_table_is_of_its_taxa_and_not_of_its_place(tmp_path):
    paths = [tmp_path / name / "region.csv" for name in ("a", "b", "c")]
    for path, last in zip(paths, ("alba", "alba", "cinerea"), strict=True):
        path.parent.mkdir()
        path.write_text(f"genus,species\nPica,pica\nArdea,{last}\n")
    one, same, other = (allowed.read(path).name for path in paths)
    assert one == same != other and one.startswith("region-") and "/" not in one
    assert allowed.read("Insecta,Ardea").name == "Insecta,Ardea"
