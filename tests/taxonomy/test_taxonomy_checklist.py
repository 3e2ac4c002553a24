"""Parent-child tables of taxa."""

import logging

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import checklist, name_table
from hiercam_keras.taxonomy.tree import Taxonomy

SIMPLE = """taxon,parent,rank
Aves,,class
Accipitriformes,Aves,order
Accipitridae,Accipitriformes,family
Accipitrinae,Accipitridae,subfamily
Accipitrini,Accipitrinae,tribe
Harrier group,Accipitrini,clade
Astur,Harrier group,genus
Astur gentilis,Astur,species
Pandionidae,Accipitriformes,family
Pandion,Pandionidae,genus
Pandion haliaetus,Pandion,species
Pandion haliaetus ridgwayi,Pandion haliaetus,subspecies
"""
COLDP = """col:ID\tcol:parentID\tcol:status\tcol:scientificName\tauthorship\tcol:rank
1\t\taccepted\tAnimalia\t\tkingdom
2\t\taccepted\tPlantae\t\tkingdom
3\t1\taccepted\tSulidae\t"Reichenbach\tfamily
4\t3\taccepted\tMorus\tVieillot\tgenus
5\t2\taccepted\tMoraceae\t\tfamily
6\t5\taccepted\tMorus\tL.\tgenus
7\t4\taccepted\tMorus bassanus\t(L.)\tspecies
8\t7\tsynonym\tSula bassana\t(L.)\tspecies
"""
GBIF = """taxonID\tparentNameUsageID\tacceptedNameUsageID\tscientificName\
\tcanonicalName\ttaxonRank\ttaxonomicStatus\tkingdom
1\t\t\tAnimalia\tAnimalia\tkingdom\taccepted\tAnimalia
4\t1\t\tAstur Lacepede, 1799\tAstur\tgenus\taccepted\tAnimalia
7\t4\t\tAstur gentilis (L.)\tAstur gentilis\tspecies\taccepted\tAnimalia
8\t1\t7\tAccipiter gentilis (L.)\tAccipiter gentilis\tspecies\tsynonym\tAnimalia
"""


def read(tmp_path, text, name="taxa.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def table(tmp_path, text, names, **given):
    return name_table.read(str(read(tmp_path, text)), names, **given)


def test_ranks_that_are_passed_over_are_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    text = SIMPLE.replace("Pandion,Pandionidae,genus", "Pandion,Pandionidae,gensu")
    names = ("Astur gentilis", "Pandion haliaetus")
    table(tmp_path, text.replace("Aves,,class", "Aves,,"), names)
    assert "passed over: 1 clade, 1 gensu, 1 unranked" in caplog.text
    caplog.clear()
    table(tmp_path, text, ("Accipitridae",))  # the others are not above it
    assert "passed over" not in caplog.text


def test_ranks_that_not_all_have_are_gaps(tmp_path):
    names = ("Astur gentilis", "Pandion_haliaetus", "Aus bus")
    found = table(tmp_path, SIMPLE, names)
    ranks = ("class", "order", "family", "subfamily", "tribe", "genus", "species")
    assert found.ranks == ranks  # no clade, and no subspecies of the data
    goshawk, osprey = (found.find(name).lineage for name in names[:2])
    above = ("Aves", "Accipitriformes")
    assert goshawk.taxa[2:5] == ("Accipitridae", "Accipitrinae", "Accipitrini")
    assert goshawk.taxa[5:] == ("Astur", "gentilis")
    assert osprey.taxa == (*above, "Pandionidae", "", "", "Pandion", "haliaetus")
    assert found.find("Aus bus") is None
    tree = Taxonomy([goshawk, osprey])
    assert tree.labels([goshawk, osprey], "tribe").tolist() == [0, -1]
    assert tree.parent("genus", 1) == ("family", 1)


def test_coarser_taxa_and_subspecies_have_lineages(tmp_path):
    names = ("Pandion haliaetus ridgwayi", "Accipitridae", "Astur gentilis")
    found = table(tmp_path, SIMPLE, names, ranks=("family", "species", "subspecies"))
    assert found.ranks == ("family", "species", "subspecies")
    taxa = [found.find(name).lineage.taxa for name in names]
    assert taxa[0] == ("Pandionidae", "Pandion haliaetus", "ridgwayi")
    assert taxa[1] == ("Accipitridae", "", "")
    assert taxa[2] == ("Accipitridae", "Astur gentilis", "")


def test_later_names_have_the_same_ranks(tmp_path):
    """Images of an evaluation may be of other taxa than those of the network."""
    found = table(tmp_path, SIMPLE, ("Pandion haliaetus",))
    assert found.ranks == ("class", "order", "family", "genus", "species")
    assert found.find("Astur gentilis").lineage.ranks == found.ranks
    ranks = ("order", "tribe", "species")  # of a network; these data have no tribe
    found = table(tmp_path, SIMPLE, ("Pandion haliaetus",), ranks=ranks)
    assert found.find("Pandion haliaetus").lineage.taxa[1] == ""


def test_coldp_with_synonyms(tmp_path):
    found = table(tmp_path, COLDP, ("Sula bassana", "Moraceae"))
    assert found.find("Sula bassana") == found.find("Morus bassanus")
    taxa = found.find("Sula bassana").lineage.taxa
    assert taxa == ("Animalia", "Sulidae", "Morus", "bassanus")


def test_the_backbone_of_gbif(tmp_path):
    found = table(tmp_path, GBIF, ("Accipiter gentilis",))
    assert found.find("accipiter gentilis").lineage.path == "Animalia/Astur/gentilis"


def test_an_ambiguous_name_lists_candidates(tmp_path):
    error = (
        r"'Morus' is the name of 2 taxa: genus Morus \(Animalia, line 5\) and genus "
        r"Morus \(Plantae, line 7\)"
    )
    with pytest.raises(UserError, match=error):
        table(tmp_path, COLDP, ("Morus",))


def test_an_accepted_name_has_priority(tmp_path):
    text = COLDP + "9\t7\tsynonym\tMoraceae\t\tfamily\n"
    assert table(tmp_path, text, ("Moraceae",)).find("Moraceae").lineage.taxa == (
        "Plantae",
        "Moraceae",
    )


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ("B,C,genus\n", "line 2: the parent 'C' of 'B' is not in the table"),
        (
            "A,,family\nB,,family\nC,A,genus\nC,B,genus\n",
            "line 5: 'C' is genus below A and genus below B .line 4.: a taxon has one",
        ),
        ("A,B,family\nB,A,genus\n", "taxa are their own ancestors: A > B > A"),
        ("A,,family\n,A,genus\n", "line 3: the column 'taxon' is empty"),
        (
            "A,,genus\nB,A,family\nC,B,species\n",
            "line 3: the family 'B' is below the genus 'A', which is a finer rank",
        ),
        ("A,,family,x\n", "line 2: 4 cells, expected 3"),
        ("", "no rows"),
    ],
)
def test_faults_are_named(tmp_path, rows, error):
    with pytest.raises(UserError, match=error):
        table(tmp_path, f"taxon,parent,rank\n{rows}", ("A", "B", "C"))


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("7\t4\taccepted\tAus bus\t\tspecies", "the col:ID '7' occurs in line 8"),
        ("9\t\tsynonym\tAus bus\t\tspecies", "is a synonym, and no accepted taxon"),
        ("9\t99\tsynonym\tAus bus\t\tspecies", "the accepted '99' of 'Aus bus' is not"),
    ],
)
def test_faults_of_ids_are_named(tmp_path, row, error):
    with pytest.raises(UserError, match=error):
        table(tmp_path, f"{COLDP}{row}\n", ("Morus bassanus",))


def test_synonyms_in_a_circle(tmp_path):
    rows = "8\t9\tsynonym\tA\t\tgenus\n9\t8\tsynonym\tB\t\tgenus\n"
    text = COLDP.replace(COLDP.splitlines()[-1] + "\n", rows)
    with pytest.raises(UserError, match="leads back to itself"):
        table(tmp_path, text, ("A",))


def test_none_of_the_names(tmp_path):
    with pytest.raises(UserError, match="has 12 taxa, and none of the names"):
        table(tmp_path, SIMPLE, ("ALBATROSS",))


def test_the_form_is_known_by_the_columns(tmp_path):
    assert checklist.columns_of(["name", "order", "species"]) is None
    assert checklist.columns_of(["taxon", "rank"]) is None
    assert checklist.columns_of(["Parent", "Rank", "Name"]).name == "Name"
