"""Lists of allowed taxa, and the part of a taxonomy that they leave."""

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import allowed, name_table
from hiercam_keras.taxonomy.former_names import FormerNames
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.translation import translate
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


OWLS = Taxonomy(
    Lineage(taxa, ("genus", "species"))
    for taxa in [("Tyto", "alba"), ("Bubo", "bubo"), ("Strix", "aluco")]
).with_common_names(
    {("Tyto", "alba"): "Owl, Barn", ("Bubo", "bubo"): 'Owl, Eagle "Uhu"'}
)


def test_a_common_name_with_a_comma_is_quoted():
    found = allowed.read('"Owl, Barn",Strix')
    assert found.taxa == ("Owl, Barn", "Strix")
    assert names(found.of(OWLS)) == ("Strix aluco", "Tyto alba")
    assert allowed.read(found.source).taxa == found.taxa
    assert allowed.read('Strix, "Owl, Eagle ""Uhu"""').taxa[1] == 'Owl, Eagle "Uhu"'
    assert allowed.read('"Barn" owl').taxa == ('"Barn" owl',)  # quotes in a name
    with pytest.raises(UserError, match='Barn .near: "Tyto alba .Owl, Barn.".'):
        allowed.read("Owl, Barn").of(OWLS)
    with pytest.raises(UserError, match="a quote that does not end"):
        allowed.read('"Owl, Barn')


@pytest.mark.parametrize("suffix", ["txt", "csv"])
def test_a_list_of_names_without_a_header(tmp_path, suffix):
    """The first line was taken for the header, and its taxon was not allowed."""
    path = tmp_path / f"region.{suffix}"
    path.write_text('Ardea alba\n"Pie, bavarde"\nPica pica\n')
    tree = TREE.with_common_names({("Aves", "Ardeidae"): "Pie, bavarde"})
    found = allowed.read(str(path)).of(tree)
    assert names(found) == ("Ardea alba", "Ardea cinerea", "Pica pica")
    path.write_text("species\nArdea alba\nPica pica\n")
    assert allowed.read(path).taxa[0] == Lineage(("Ardea alba",), ("species",))
    path.write_text("Finding\nArdea alba\n")  # a rank of the network's own
    tree = Taxonomy(Lineage((name,), ("finding",)) for name in ("Ardea alba", "x"))
    assert allowed.read(path).of(tree).taxonomy.names("finding") == ("Ardea alba",)


TABLE = (
    "name,order,family,genus,species\n"
    "Accipiter badius,Accipitriformes,Accipitridae,Tachyspiza,badia\n"
    "Accipiter nisus,Accipitriformes,Accipitridae,Accipiter,nisus\n"
    "Corvus cornix,Passeriformes,Corvidae,Corvus,corone\n"
    "Corvus corone,Passeriformes,Corvidae,Corvus,corone\n"
)
OLD_RANKS = ("order", "family", "genus", "species")
OLD = [
    Lineage(("Falconiformes", "Accipitridae", "Accipiter", "badius"), OLD_RANKS),
    Lineage(("Falconiformes", "Accipitridae", "Accipiter", "nisus"), OLD_RANKS),
    Lineage(("Passeriformes", "Corvidae", "Corvus", "corone"), OLD_RANKS),
]


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "list2030.csv"
    path.write_text(TABLE)
    table = name_table.read(str(path))
    translation = translate(OLD, table)
    return FormerNames(table, translation), Taxonomy(translation.lineages.values())


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("Accipiter badius,Corvus", ["Corvus corone", "Tachyspiza badia"]),
        ("Corvus cornix,Accipiter nisus", ["Accipiter nisus", "Corvus corone"]),
        ("Falconiformes", ["Accipiter nisus", "Tachyspiza badia"]),
        ([OLD[0]], ["Tachyspiza badia"]),
        ([Lineage(("Accipiter", "badius"), OLD_RANKS[2:])], ["Tachyspiza badia"]),
        ([Lineage(("Corvus", "cornix"), OLD_RANKS[2:])], ["Corvus corone"]),
    ],
)
def test_a_list_with_former_names(asked, kept, new, caplog):
    former, tree = new
    found = allowed.read(asked).with_former_names(tree, former)
    with caplog.at_level("INFO", logger="absl"):
        assert sorted(names(found.of(tree))) == kept
    assert "does not know" not in caplog.text
    assert found.name == allowed.read(asked).name  # names the folder of results


def test_former_names_are_said(new, caplog):
    former, tree = new
    with caplog.at_level("INFO", logger="absl"):
        asked = allowed.read("Accipiter badius,Corvus cornix,Pica pica")
        asked.with_former_names(tree, former).of(tree)
    said = (
        "2 of 3 taxa have other names in list2030: Accipiter badius (Tachyspiza badia)"
    )
    assert said in caplog.text
    assert "does not know 1 of 3 taxa: Pica pica" in caplog.text
