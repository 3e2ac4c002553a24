"""Tables of whole names: reading, translating lineages, networks under another tree."""

import numpy as np
import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import name_table, source, translation
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.scores import marginal_logits, softmax
from hiercam_keras.taxonomy.source import TaxonomySource
from hiercam_keras.taxonomy.tree import Taxonomy

RANKS = ("order", "family", "genus", "species")
OLD = [
    ("Accipitriformes", "Accipitridae", "Accipiter", "badius"),
    ("Accipitriformes", "Accipitridae", "Accipiter", "gentilis"),
    ("Accipitriformes", "Accipitridae", "Accipiter", "nisus"),
    ("Caprimulgiformes", "Apodidae", "Apus", "apus"),
    ("Caprimulgiformes", "Caprimulgidae", "Caprimulgus", "europaeus"),
    ("Passeriformes", "Corvidae", "Corvus", "cornix"),
    ("Passeriformes", "Corvidae", "Corvus", "corone"),
]
TABLE = """name,order,family,genus,species,change
Accipiter badius,Accipitriformes,Accipitridae,Tachyspiza,badia,moved
Accipiter gentilis,Accipitriformes,Accipitridae,Astur,gentilis,split
Accipiter gentilis,Accipitriformes,Accipitridae,Astur,atricapillus,split
Accipiter nisus,Accipitriformes,Accipitridae,Accipiter,nisus,
Apus apus,Apodiformes,Apodidae,Apus,apus,
Caprimulgus europaeus,Caprimulgiformes,Caprimulgidae,Caprimulgus,europaeus,
Corvus cornix,Passeriformes,Corvidae,Corvus,corone,lumped
Corvus corone,Passeriformes,Corvidae,Corvus,corone,
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "list_2025.csv"
    path.write_text(TABLE)
    return name_table.read(str(path))


@pytest.fixture
def old():
    return [Lineage(taxa, RANKS) for taxa in OLD]


def read(tmp_path, text, **given):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return name_table.read(str(path), **given)


def test_names_have_lineages(table):
    assert table.ranks == RANKS
    badia = table.find("accipiter_badius")  # as folders and people write it
    assert badia.lineage.taxa[2:] == ("Tachyspiza", "badia")
    assert table.find("badius") is None and table.find("Accipiter") is None


def test_a_new_name_is_found(table):
    assert table.find("Tachyspiza badia") == table.find("Accipiter badius")
    whole = table.find("Accipiter gentilis")
    assert table.find("Astur atricapillus").lineage == whole.lineage


def test_a_split_name_is_one_taxon(table):
    found = table.find("Accipiter gentilis")
    assert found.lineage.taxa[2:] == ("Astur", "Astur gentilis s.l.")
    assert found.lineage.display_name("species") == "Astur gentilis s.l."
    assert [one.taxa[-1] for one in found.parts] == ["gentilis", "atricapillus"]


def test_parts_in_two_genera_leave_a_gap(tmp_path):
    text = "name,family,genus,species\nAus bus,Aidae,Aus,bus\nAus bus,Aidae,Cus,dus\n"
    found = read(tmp_path, text).find("Aus bus").lineage
    assert found.taxa == ("Aidae", "", "Aus bus s.l.")
    assert found.display_name("species") == "Aus bus s.l."


def test_the_file_next_to_it_says_which_taxonomy(tmp_path, table):
    assert table.about == TaxonomySource("list_2025", year=2025)
    (tmp_path / "table.json").write_text(
        '{"name": "AviList", "version": "v2025", "year": 2025, "note": "x"}'
    )
    about = read(tmp_path, TABLE).about
    assert about == TaxonomySource("AviList", "v2025", 2025)
    assert str(about) == "AviList v2025"
    assert str(TaxonomySource("Backbone", "1.2", 2023)) == "Backbone 1.2 (2023)"


@pytest.mark.parametrize(
    ("text", "year"), [("list_2025", 2025), ("v12025", None), ("birds-1999-b", 1999)]
)
def test_the_year_of_a_table_is_in_its_name(tmp_path, text, year):
    assert source.of_table(tmp_path / f"{text}.csv").year == year


def test_metadata_of_coldp_name_the_taxonomy(tmp_path):
    (tmp_path / "metadata.yaml").write_text(
        "title: 'Birds of Somewhere'\ncontact:\n  title: not this\n"
        "version: 1.3\nissued: 2024-05-01\nlicense: CC0-1.0\n"
    )
    about = source.of_table(tmp_path / "NameUsage.tsv")
    assert about == TaxonomySource("Birds of Somewhere", "1.3", 2024, "CC0-1.0")


def test_the_source_stays_with_the_tree(old):
    about = TaxonomySource("AviList", "v2025", 2025, licence="CC BY 4.0")
    tree = Taxonomy(old, about)
    assert tree == Taxonomy(old) and "source" not in Taxonomy(old).to_json()
    assert Taxonomy.from_json(tree.to_json()).source == about


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("label,genus\nx,y\n", "has the columns label, genus: expected name"),
        ("name,remark\nx,y\n", "has the columns name, remark: expected name"),
        ("name,genus\n,y\n", "line 2: the column 'name' is empty"),
        ("name,genus\nx,\n", "line 2: a lineage has no taxon"),
        ("name,genus\n", "no rows"),
        (
            "name,order,genus\nx,A,\nx,B,C\n",
            "the rows of 'x' have no taxon in common",
        ),
    ],
)
def test_errors_of_tables_name_the_line(tmp_path, text, error):
    with pytest.raises(UserError, match=error):
        read(tmp_path, text)


def test_a_table_that_is_not_there():
    with pytest.raises(UserError, match=r"no.csv .*does not exist.*avilist2025"):
        name_table.read("no.csv")


def test_ranks_can_be_chosen(tmp_path):
    found = read(tmp_path, TABLE, ranks=("species", "Family")).ranks
    assert found == ("family", "species")
    with pytest.raises(UserError, match="unknown rank 'tribe'"):
        read(tmp_path, TABLE, ranks=("tribe",))


def test_a_table_without_any_of_the_names_is_doubted(table):
    whole = Lineage(("Passeriformes", "Paridae", "Parus", "major"), RANKS)
    short = Lineage(("Pica", "pica"), RANKS[2:])
    found = translation.translate([whole, short], table)
    assert found.lineages == {whole: whole, short: None}
    assert found.warning().endswith(
        "does not have 2 of 2 taxa: Parus major, Pica pica; own lineage kept for 1 "
        "taxon; 1 taxon left out, with a lineage of its own that lacks ranks of the "
        "table (order, family, genus, species); nothing is translated: is it the table "
        "for these names?"
    )


def test_translation_reports_what_changed(old, table):
    unknown = Lineage(("Passeriformes", "Paridae", "Parus", "major"), RANKS)
    found = translation.translate([*old, unknown], table)
    assert found.lumped == {"Corvus corone": ("Corvus cornix", "Corvus corone")}
    assert found.split == {
        "Accipiter gentilis": ("Astur gentilis", "Astur atricapillus")
    }
    assert found.unmapped == ("Parus major",)
    assert found.lineages[unknown] == unknown  # it has the ranks of the table
    assert {rank: len(found.moved(rank)) for rank in RANKS[:3]} == {
        "order": 1,
        "family": 0,
        "genus": 2,
    }
    assert "2 lumped to 1 taxon" in found.sentence()
    assert "list_2025 has them" in found.sentence()
    said = found.warning()
    assert said.endswith(
        "does not have 1 of 8 taxa: Parus major; own lineage kept for 1 taxon"
    )
    rows = {row[0]: row[1] for row in found.rows()}
    assert rows == {
        "Accipiter badius": "other genus",
        "Accipiter gentilis": "other genus, split",
        "Apus apus": "other order",
        "Corvus cornix": "lumped",
        "Corvus corone": "lumped",
        "Parus major": "not in the table",
    }


def test_a_genus_that_was_split_is_what_its_parts_have_in_common(old, table):
    records = [
        Lineage(("Accipitriformes", "Accipitridae", "Accipiter", ""), RANKS),
        Lineage(("Caprimulgiformes", "", "", ""), RANKS),
        Lineage(("Passeriformes", "Corvidae", "Corvus", ""), RANKS),
    ]
    found = translation.translate([*old, *records], table).lineages
    assert found[records[0]].taxa == ("Accipitriformes", "Accipitridae", "", "")
    assert found[records[2]].taxa == ("Passeriformes", "Corvidae", "Corvus", "")
    # Apodiformes and Caprimulgiformes share nothing: the taxon of the name is left.
    assert found[records[1]].taxa == ("Caprimulgiformes", "", "", "")


def test_a_genus_is_never_one_of_its_species(old, table):
    """The only pictured species of a genus says nothing on its other pictures."""
    apus = Lineage(("Caprimulgiformes", "Apodidae", "Apus", ""), RANKS)
    hawk = Lineage(("Accipitriformes", "Accipitridae", "Accipiter", ""), RANKS)
    found = translation.translate([old[2], old[3], apus, hawk], table).lineages
    assert found[apus].taxa == ("Apodiformes", "Apodidae", "Apus", "")
    # The table has names of Accipiter that are in other genera now.
    assert found[hawk].taxa == ("Accipitriformes", "Accipitridae", "", "")


def test_common_names_are_those_of_the_table(tmp_path, old):
    lines = TABLE.splitlines()
    names = ["common_name", "Shikra", "A", "B", "Sparrowhawk", "", "Nightjar", "", ""]
    text = "\n".join(f"{a},{b}" for a, b in zip(lines, names, strict=False))
    table = read(tmp_path, text)
    whole = Taxonomy(old).with_common_names(
        {
            OLD[0]: "little hawk",
            OLD[1]: "goshawk",
            OLD[3]: "swift",
            OLD[0][:2]: "hawks",
            OLD[3][:1]: "nightjars and swifts",
        }
    )
    tree = translation.other_tree(translation.own_labels(whole, ("species",)), table)
    new = tree.labels.taxonomy
    found = {prefix[-1]: name for prefix, name in new.common_names.items()}
    assert found == {
        "Accipitridae": "hawks",
        "badia": "Shikra",
        "Astur gentilis s.l.": "goshawk",  # neither part is called so alone
        "nisus": "Sparrowhawk",
        "apus": "swift",
        "europaeus": "Nightjar",
        "Caprimulgiformes": "nightjars and swifts",
    }


def test_a_lineage_of_other_ranks_without_a_row_is_left_out(table):
    plain = Lineage(("Parus_major",), ("label",))
    found = translation.translate([plain], table)
    assert (
        found.lineages == {plain: None} and "1 taxon left out, with" in found.warning()
    )


def test_answers_under_another_tree(old, table):
    """Lumped outputs are summed; marginals are those of the new tree."""
    whole = Taxonomy(old)
    tree = translation.other_tree(translation.own_labels(whole, ("species",)), table)
    new = tree.labels.taxonomy
    assert new.source == table.about and tree.dropped == ()
    columns = tree.labels.heads[None].columns
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, len(OLD)))
    shares = softmax(logits)
    for rank in RANKS:
        by_hand = np.zeros((5, new.num_labels(rank)))
        for i, one in enumerate(whole.lineages):
            lineage = tree.translation.lineages[one]
            by_hand[:, new.label(lineage, rank)] += shares[:, i]
        leaves = np.zeros((5, new.num_labels("species")))
        np.add.at(leaves.T, columns, shares.T)
        found = softmax(marginal_logits(np.log(leaves), new, "species", rank))
        np.testing.assert_allclose(found, by_hand, atol=1e-12)
    assert new.num_labels("genus") == 6 and whole.num_labels("genus") == 4


def test_a_coarse_head_is_kept_if_no_taxon_of_it_is_divided(old, table):
    labels = translation.own_labels(Taxonomy(old), ("order", "family", "species"))
    tree = translation.other_tree(labels, table)
    assert tree.dropped == ("order",)  # Caprimulgiformes are divided
    assert tree.labels.ranks == ("family", "species")
    new = tree.labels.taxonomy.names("family")
    columns = tree.labels.heads["family"].columns
    assert [new[i] for i in columns] == list(labels.taxonomy.names("family"))


def test_the_finest_head_cannot_be_divided(old, table):
    labels = translation.own_labels(Taxonomy(old), ("order",))
    error = r"Caprimulgiformes \(Apodiformes, Caprimulgiformes\)"
    with pytest.raises(UserError, match=error):
        translation.other_tree(labels, table)


def test_a_network_of_genera(old, table):
    """A genus of the same name is another one if some of its names left it."""
    genera = {one.taxa[:3] for one in old}
    some = [Lineage(taxa, RANKS[:3]) for taxa in genera if taxa[2] != "Accipiter"]
    labels = translation.own_labels(Taxonomy(some), ("genus",))
    tree = translation.other_tree(labels, table)
    names = tree.labels.taxonomy.names("order")
    assert names == ("Apodiformes", "Caprimulgiformes", "Passeriformes")
    every = Taxonomy(Lineage(taxa, RANKS[:3]) for taxa in genera)
    with pytest.raises(UserError, match=r"no single genus in .*: Accipiter"):
        translation.other_tree(translation.own_labels(every, ("genus",)), table)


def test_a_network_of_plain_names_gets_a_tree(table):
    plain = [Lineage((name,), ("label",)) for name in ("Apus_apus", "Corvus corone")]
    labels = translation.own_labels(Taxonomy(plain), ("label",))
    tree = translation.other_tree(labels, table)
    assert tree.heads == {"label": "species"}
    assert tree.labels.taxonomy.ranks == RANKS
    assert tree.labels.taxonomy.names("order") == ("Apodiformes", "Passeriformes")


def test_a_network_needs_all_its_taxa_in_a_table_of_other_ranks(old, tmp_path):
    text = TABLE.replace("apus,\n", "affinis,\n").replace("Apus apus", "Apus affinis")
    text = text.replace("order", "tribe")
    labels = translation.own_labels(Taxonomy(old), ("species",))
    with pytest.raises(UserError, match="does not have 1 taxon of the network: Apus"):
        translation.other_tree(labels, read(tmp_path, text))
