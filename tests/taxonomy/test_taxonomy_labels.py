"""Labels of a network's outputs from tables and lists."""

import json

import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.given_labels import as_labels, from_order
from hiercam_keras.taxonomy.label_table import read_labels
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy

BIRDS = """index,order,family,genus,species,wnid
0,Galliformes,Phasianidae,Gallus,gallus,n1
1,Galliformes,Phasianidae,Gallus,gallus,n2
2,,,,,n3
3,Passeriformes,Corvidae,,,n4
4,,,,,n5
5,Gruiformes,Gruidae,Grus,,n6
"""
A = "00001_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_nisus"
B = "00002_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_gentilis"


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding="utf-8")
        return read_labels(path, **options)

    return read


def names(labels, output=None):
    """Display name of each column's taxon."""
    head = labels.heads[output]
    known = labels.taxonomy.names(head.rank)
    return [known[label] if label >= 0 else None for label in head.columns]


def test_rank_columns(read, caplog):
    with caplog.at_level("INFO", logger="absl"):
        labels = read(BIRDS)
    assert labels.ranks == ("species",)
    assert labels.taxonomy.ranks == ("order", "family", "genus", "species")
    assert names(labels) == [
        *("Gallus gallus", "Gallus gallus", None, "Corvidae sp.", None, "Grus sp.")
    ]
    assert labels.taxonomy.names("genus") == ("Gallus", "Grus", "Corvidae sp.")
    assert labels.heads[None].columns.dtype == np.int32
    assert not labels.heads[None].columns.flags.writeable
    assert "6 outputs are 3 species; 2 are left out" in caplog.text
    assert "several outputs mean one species: Gallus gallus 2" in caplog.text
    assert "columns that are notes: wnid" in caplog.text


def test_other_is_kept_as_one_taxon(read):
    labels = read(BIRDS, other="keep")
    assert [name for name in names(labels) if name == "other"] == ["other"] * 2
    for rank in labels.taxonomy.ranks:
        assert "other" in labels.taxonomy.names(rank)
    with pytest.raises(UserError, match="other is 'kept', expected leave_out or keep"):
        read(BIRDS, other="kept")


def test_rows_and_columns_in_any_order(read):
    lines = BIRDS.splitlines()
    expected = names(read(BIRDS))
    assert names(read("\n".join([lines[0], *lines[:0:-1]]))) == expected
    turned = "\n".join(",".join(line.split(",")[::-1]) for line in lines)
    assert names(read(turned)) == expected
    assert read(turned).taxonomy == read(BIRDS).taxonomy


def test_a_wrong_cell_does_not_turn_the_ranks_around(read):
    """Ranks are ordered by their names, not by nesting of values."""
    text = BIRDS.replace("\n1,Galli", "\n1,Accipitri")
    with pytest.raises(UserError) as error:
        read(text)
    message = str(error.value)
    assert "the family 'Phasianidae' is in" in message
    assert "labels.csv: " in message and ": line 3 and line 2." in message
    assert "homonyms=keep" in message
    kept = read(text, homonyms="keep")
    assert names(kept)[0] == "Gallus gallus (Galliformes)"


def test_two_spellings_are_refused(read):
    with pytest.raises(UserError, match="family is spelled 'Corvidae' and 'corvidae'"):
        read("order,family\nP,corvidae\nP,Corvidae\nG,Gruidae\n")


def test_rows_without_cells_are_outputs(read):
    """Without an index every row counts, including the last one."""
    labels = read("family,species\n,\nA,x\n,\n,\nB,y\n,\n")
    assert names(labels) == [None, "x", None, None, "y", None]
    labels = read("label\n\ncat\n\ndog\n\n\n")
    assert names(labels) == [None, "cat", None, "dog"]
    assert names(read('label\n""\ncat\ndog\n""\n')) == [None, "cat", "dog", None]


def test_names_of_inaturalist(read):
    for column in ("label", "folder"):
        labels = read(f"{column}\n{A}\n\n{B}\n")
        assert names(labels) == ["Accipiter nisus", None, "Accipiter gentilis"]
        assert labels.taxonomy.ranks[0] == "kingdom"
        assert labels.taxonomy.lineages[0].class_id == "00002"
    with pytest.raises(UserError, match="line 3: folder 'cat' has 1 field"):
        read(f"label\n{A}\ncat\n")


def test_ranks_of_nobody_are_ordered_by_nesting(read):
    labels = read("thing,kind\ncat,animal\ncar,vehicle\nbus,vehicle\ndog,animal\n")
    assert labels.taxonomy.ranks == ("kind", "thing")
    assert names(labels) == ["cat", "car", "bus", "dog"]


def test_a_column_of_another_meaning_may_be_called_order(read):
    labels = read("order,label\n0,cat\n1,dog\n2,cow\n")
    assert labels.taxonomy.ranks == ("label",)
    named = read("order,label\n0,cat\n0,dog\n2,cow\n", ranks=("order", "label"))
    assert named.taxonomy.ranks == ("order", "label")


def test_ranks_that_a_caller_names(read):
    labels = read(BIRDS, ranks=("order", "family"))
    assert labels.ranks == ("family",)
    assert names(labels)[:2] == ["Phasianidae"] * 2
    with pytest.raises(UserError, match="no column 'tribe', which was named"):
        read(BIRDS, ranks=("tribe",))


HEADS = """output,index,order,family,genus,species
fam,0,O,F,,
fam,1,O,G,,
sp,0,O,F,Fa,x
sp,1,P,H,Ha,y
sp,2,,,,
"""


def test_several_heads(read, caplog):
    with caplog.at_level("WARNING", logger="absl"):
        labels = read(HEADS)
    assert labels.ranks == ("family", "species")
    assert names(labels, "fam") == ["F", "G"]
    assert names(labels, "sp") == ["Fa x", "Ha y", None]
    assert labels.taxonomy.names("species") == ("Fa x", "G sp.", "Ha y")
    assert "'fam': no output means H, " in caplog.text


@pytest.mark.parametrize(
    "text,part",
    [
        (BIRDS.replace("\n3,", "\n4,"), "line 6: the index 4 occurs in line 5 already"),
        (BIRDS.replace("\n4,", "\n7,"), "index up to 7, and 2 are missing.*is 4"),
        (BIRDS.replace("\n0,", "\n6,"), "missing, the first is 0. The first output"),
        (
            BIRDS.replace("\n4,", "\nd,"),
            "line 6: the index is 'd', expected the",
        ),
        (BIRDS.replace("Corvidae,,", ",Pica,"), "line 5: the genus is 'Pica', and the"),
        ("index,species\n0,\n1,\n", "none of the 2 rows has a lineage"),
        ("index\n0\n1\n", "expected columns of ranks, as in index,family,species"),
        ("label\n", "has a header, but no rows"),
        (HEADS.replace("sp,2", ",2"), "line 6: the column 'output' is empty"),
        (HEADS.replace("fam,1,O,G,,", "fam,1,O,G,g,x"), "'fam' and 'sp' both have the"),
        (HEADS.replace("sp,2", "no,0"), "1 rows of the output 'no' has a lineage"),
        ("output,label\na,cat\nb,dog\n", "so the rank of each output is unknown"),
        ("label\ncat\nd\x00g\n", "line 3.*control character"),
    ],
)
def test_what_is_refused(text, part, read):
    with pytest.raises(UserError, match=part) as error:
        read(text)
    assert "labels.csv" in str(error.value)


def test_json_and_back(read, tmp_path):
    for text in (BIRDS, HEADS):
        labels = read(text)
        path = tmp_path / "labels.json"
        path.write_text(json.dumps(labels.to_json()), encoding="utf-8")
        again = read_labels(path)
        assert again == labels and hash(again) == hash(labels)
        assert list(again.heads) == list(labels.heads)
    assert read(BIRDS) != read(HEADS)
    damaged = read(BIRDS).to_json()
    for change, part in (
        ({"schema_version": 2}, "schema_version 2, expected 1"),
        ({"heads": [{"rank": "species"}]}, "is damaged.*output"),
        ({"heads": []}, "expected one head"),
        ({"heads": damaged["heads"] * 1 + [{"output": "a"}]}, "is damaged"),
    ):
        path.write_text(json.dumps(damaged | change), encoding="utf-8")
        with pytest.raises(UserError, match=part):
            read_labels(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot read the labels"):
        read_labels(path)


def test_sequences():
    assert names(as_labels(["cat", None, "dog", "cat"])) == ["cat", None, "dog", "cat"]
    assert names(as_labels(np.array(["cat", "dog"]))) == ["cat", "dog"]
    assert names(as_labels([A, None, B]))[0] == "Accipiter nisus"
    ranks = ("family", "species")
    mixed = [Lineage(("F", "x"), ranks), Lineage(("G",), ranks[:1])]
    assert names(as_labels(mixed)) == ["x", "G sp."]
    tree = Taxonomy([Lineage(("F", "x"), ranks), Lineage(("G", "y"), ranks)])
    assert names(as_labels(["y", None, "x", "Y"], tree)) == ["y", None, "x", "y"]
    assert as_labels([mixed[1], "F"], tree, "family").ranks == ("family",)
    for given, options, part in (
        (3, {}, "found int"),
        ({"a": "cat"}, {}, "found str for 'a'"),
        (["cat", mixed[0]], {}, "'cat' next to lineages"),
        ({"a": ["cat"], "b": ["dog"]}, {}, "a name alone does not say its rank"),
        (["F", "y"], {"taxonomy": tree}, "of the ranks family, species, expected one"),
        (["z"], {"taxonomy": tree}, "unknown taxon 'z'"),
        ([mixed[0], Lineage(("a",), ("kind",))], {}, "output 1: .* ranks kind"),
    ):
        with pytest.raises(UserError, match=part):
            as_labels(given, **options)


def test_orders():
    ranks = ("family", "species")
    tree = Taxonomy(Lineage(one, ranks) for one in (("F", "x"), ("G", "y"), ("G", "z")))
    assert from_order([2, -1, 0, 1], tree).ranks == ("species",)
    assert from_order([1, 0, 1], tree).ranks == ("family",)
    assert from_order([1, 0, 1], tree, "species").ranks == ("species",)
    both = from_order({"Family": [1, 0], "species": [2, 1, 0]}, tree)
    assert both.heads.keys() == {"family", "species"}
    for order, part in (
        ([0.0, 1.0], "type float64"),
        ([[0, 1]], r"shape \(1, 2\)"),
        ({"tribe": [0]}, "unknown rank 'tribe'"),
    ):
        with pytest.raises(UserError, match=part):
            from_order(order, tree)


def test_cells_without_a_value_are_no_taxa(read):
    """R writes NA where pandas writes nothing."""
    rows = "family,species\nA,a\nNA,NA\nB,NA\n"
    labels, empty = read(rows), read(rows.replace("NA", ""))
    assert names(labels) == names(empty) == ["a", None, "B sp."]


@pytest.mark.parametrize("entry", [float("nan"), 3, b"c", "", " "])
def test_entries_that_are_no_names(entry):
    with pytest.raises(UserError, match="output 2: .*None for an output without a mea"):
        as_labels(["a", "b", entry])
    tree = Taxonomy([Lineage((name,), ("label",)) for name in "ab"])
    with pytest.raises(UserError, match="output 2: .*None for an output without a mea"):
        as_labels(["a", "b", entry], tree)


def test_the_count_of_outputs_has_its_nouns(read, caplog):
    with caplog.at_level("INFO", logger="absl"):
        read("label\nhen\nhen\ncrow\n")
        read("label\nhen\n")
    assert "3 outputs are 2 labels; 0 are left out" in caplog.text
    assert "1 output is 1 label; 0 are left out" in caplog.text
