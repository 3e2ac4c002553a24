"""The bird names of iNat2021 in AviList 2025: the table, how it is made, its counts.

With the class names of iNat2021, which have the orders and families of that year.
"""

import collections
import importlib.util

import numpy as np
import pytest

from hiercam_keras import csv_files
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy import name_table, translation, update
from hiercam_keras.taxonomy.lineage import parse_class_name
from hiercam_keras.taxonomy.scores import marginal_logits, softmax
from hiercam_keras.taxonomy.tree import Taxonomy

LIST = """Scientific_name,Taxon_rank,Order,Family,English_name_AviList
Trochilidae,family,Apodiformes,Trochilidae,
Goldmania violiceps,species,Apodiformes,Trochilidae,Violet-capped Hummingbird
Ramosomyia violiceps,species,Apodiformes,Trochilidae,Violet-crowned Hummingbird
Corvus corax,species,Passeriformes,Corvidae,Northern Raven
Corvus corone,species,Passeriformes,Corvidae,Carrion Crow
"""
REVIEWED = """name,list_name,change,reason
Amazilia violiceps,Ramosomyia violiceps,moved,by its English name
Corvus cornix,Corvus corone,lumped,one species
"""


@pytest.fixture(scope="module")
def table():
    return name_table.read(name_table.AVILIST)


@pytest.fixture(scope="module")
def changes():
    """Change by name, as the table has it."""
    path = name_table.find(name_table.AVILIST)
    return {cells["name"]: cells["change"] for _, cells in csv_files.read(path).rows()}


@pytest.fixture(scope="module")
def old(real_data):
    path = real_data / "inat2021_aves_class_names.txt"
    return [parse_class_name(line) for line in path.read_text().split()]


@pytest.fixture(scope="module")
def found(old, table):
    return translation.translate(old, table)


def test_the_table_says_what_it_is(table):
    about = table.about
    assert (str(about), about.year, about.licence) == (
        "AviList v2025",
        2025,
        "CC BY 4.0",
    )
    assert "10.2173/avilist.v2025" in about.citation
    assert table.ranks[3:] == ("order", "family", "genus", "species")


def test_every_name_is_mapped(old, found):
    assert len(old) == 1486 and found.unmapped == ()


def test_counts(found, changes):
    """The counts of docs/TAXONOMY.md."""
    moved = {rank: found.moved(rank) for rank in found.table.ranks}
    assert [len(moved[rank]) for rank in ("genus", "family", "order")] == [69, 3, 39]
    others = collections.Counter(changes.values())
    assert (others["lumped"], others["respelled"], others["split"]) == (10, 3, 52)
    # 82 names are not names of the list: 69 in another genus and 13 others.
    same = [old for old, new in found.lineages.items() if _same_name(old, new)]
    assert len(same) == 1486 - 82
    # Of the orders that changed, 34 are of names that the list has unchanged.
    assert sum(old in set(same) for old, _ in moved["order"]) == 34
    endings = [
        old.taxa[-1] for old, new in moved["genus"] if old.taxa[-1] not in new.taxa[-1]
    ]
    assert len(endings) == 10 and "badius" in endings
    lumped = sum(len(names) - 1 for names in found.lumped.values())
    new = Taxonomy(one for one in found.lineages.values())
    assert lumped == 7 and new.num_labels("species") == 1486 - 7


def _same_name(old, new):
    name = new.display_name("species").removesuffix(name_table.BROAD)
    return name == old.display_name("species")


def test_the_changes_of_orders_and_families(found):
    pairs = collections.Counter(
        (old.prefix("order")[-1], new.prefix("order")[-1])
        for old, new in found.moved("order")
    )
    assert pairs == {
        ("Caprimulgiformes", "Apodiformes"): 36,
        ("Caprimulgiformes", "Nyctibiiformes"): 2,
        ("Caprimulgiformes", "Podargiformes"): 1,
    }
    families = {old.display_name("species") for old, _ in found.moved("family")}
    assert families == {"Bucorvus leadbeateri", "Icteria virens", "Chamaea fasciata"}


@pytest.mark.parametrize(
    ("name", "new", "not_it"),
    [
        ("Amazilia violiceps", "Ramosomyia violiceps", "Goldmania violiceps"),
        ("Turdoides striata", "Argya striata", "Grammatoptila striata"),
        ("Buphagus erythrorynchus", "Buphagus erythroryncha", ""),
        ("Setophaga petechia", "Setophaga petechia s.l.", "Setophaga aestiva"),
    ],
)
def test_whole_names_not_epithets(table, name, new, not_it):
    found = table.find(name).lineage.display_name("species")
    assert found == new != not_it


def test_the_same_species_and_other_orders(old, found):
    """A fresh network of 1,486 outputs, asked under either taxonomy."""
    whole = Taxonomy(old)
    tree = translation.other_tree(
        translation.own_labels(whole, ("species",)), found.table
    )
    new, columns = tree.labels.taxonomy, tree.labels.heads[None].columns
    rng = np.random.default_rng(7)
    sure = np.arange(1486)  # one picture a species, of which the network is sure
    logits = rng.normal(size=(1486, 1486)).astype(np.float32)
    logits[sure, sure] += 20
    merged = np.full((1486, new.num_labels("species")), -np.inf)
    np.logaddexp.at(merged.T, columns, logits.T.astype(np.float64))
    was = _answers(logits, whole)
    now = _answers(merged, new)
    translated = [tree.translation.lineages[one] for one in whole.lineages]
    assert np.array_equal(now["species"], new.labels(translated, "species"))
    assert np.array_equal(was["species"], sure)
    differ = {
        rank: sum(
            whole.names(rank)[a] != new.names(rank)[b]
            for a, b in zip(was[rank], now[rank], strict=True)
        )
        for rank in ("class", "order", "family", "genus")
    }
    assert differ == {"class": 0, "order": 39, "family": 3, "genus": 69}
    shares = softmax(marginal_logits(merged, new, "species", "order"))
    by_hand = np.zeros_like(shares)
    np.add.at(by_hand.T, new.parents("species", "order")[columns], softmax(logits).T)
    np.testing.assert_allclose(shares, by_hand, atol=1e-5)


def _answers(logits, taxonomy):
    """Label of each picture by rank, by the marginals of the species."""
    return {
        rank: marginal_logits(logits, taxonomy, "species", rank).argmax(-1)
        for rank in taxonomy.ranks
    }


def test_the_table_is_what_the_program_makes(tmp_path):
    if importlib.util.find_spec("birdnames") is None:
        pytest.skip("install requirements-parity.txt to read AviList in birdnames")
    made = update.main([f"--out={tmp_path / 'made.csv'}"])
    assert made.read_bytes() == name_table.find(name_table.AVILIST).read_bytes()


def _make(tmp_path, names, reviewed=REVIEWED):
    for name, text in (("list.csv", LIST), ("r.csv", reviewed), ("n.txt", names)):
        (tmp_path / name).write_text(text)
    path = update.main(
        [
            f"--list={tmp_path / 'list.csv'}",
            f"--reviewed={tmp_path / 'r.csv'}",
            f"--names={tmp_path / 'n.txt'}",
            f"--out={tmp_path / 'out.csv'}",
        ]
    )
    return [list(cells.values()) for _, cells in csv_files.read(path).rows()]


def test_a_table_of_other_names(tmp_path):
    rows = _make(
        tmp_path,
        "Corvus corax\n03_Animalia_Chordata_Aves_Apodiformes_Trochilidae_Amazilia_"
        "violiceps\nCorvus cornix\n",
    )
    assert [row[0] for row in rows] == [
        "Amazilia violiceps",
        "Corvus corax",
        "Corvus cornix",
    ]
    above = ["Animalia", "Chordata", "Aves"]
    taxa = [*above, "Passeriformes", "Corvidae", "Corvus"]
    assert rows[1][1:] == [*taxa, "corax", "Northern Raven", ""]
    assert rows[2][1:] == [*taxa, "corone", "Carrion Crow", "lumped"]
    assert rows[0][6:] == [
        "Ramosomyia",
        "violiceps",
        "Violet-crowned Hummingbird",
        "moved",
    ]


def test_no_rule_decides_on_a_name(tmp_path):
    error = r"Leucolia violiceps \(Goldmania violiceps, Ramosomyia violiceps\)"
    with pytest.raises(UserError, match=error):
        _make(tmp_path, "Leucolia violiceps\nCorvus corax\n")


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("A b,Corvus nix,moved,x", "'Corvus nix', which is no species of the list"),
        ("A b,Corvus corax,moved,", "expected one change of .* and a reason"),
        ("A b,Corvus corax,other,x", "expected one change of"),
        ("Corvus b,Corvus corax,moved,x", "which is not moved"),
        ("A b,Corvus corax,respelled,x", "which is not respelled"),
        ("A b,Corvus corax,split,x", "has 1 row and is split"),
    ],
)
def test_reviews_are_checked(tmp_path, row, error):
    with pytest.raises(UserError, match=error):
        _make(tmp_path, "Corvus corax\n", f"{REVIEWED}{row}\n")
