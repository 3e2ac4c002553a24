"""The table of ImageNet's birds: outputs, classes, and lineages."""

import csv
import importlib.util
import pathlib

import pytest

from hiercam_keras.models import named
from hiercam_keras.taxonomy.lineage import parse_class_name

RANKS = ("order", "family", "genus", "species")
BIRDS = [*range(7, 25), *range(80, 101), *range(127, 147)]


@pytest.fixture(scope="module")
def rows():
    with open(named.labels_table(), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lineage(row):
    return tuple(row[rank] for rank in RANKS if row[rank])


def test_every_output_has_a_row_and_every_bird_an_order(rows):
    assert [int(row["index"]) for row in rows] == list(range(1000))
    assert [int(row["index"]) for row in rows if row["order"]] == BIRDS
    for row in rows:
        if row["order"]:
            assert row["synset"] and row["name"]
        else:
            assert not any(row[c] for c in row if c != "index"), row
        cells = [row[rank] for rank in RANKS]
        assert cells == sorted(cells, key=lambda cell: cell == ""), "a gap"


def test_a_name_belongs_to_one_parent(rows):
    parents = {}
    for row in rows:
        taxa = lineage(row)
        for depth in range(1, len(taxa) + 1):
            key = taxa[depth - 1 : depth] if depth < 4 else taxa[2:4]
            assert (
                parents.setdefault((depth, key), taxa[: depth - 1]) == taxa[: depth - 1]
            )
    assert len({t[:1] for t in map(lineage, rows) if t}) == 21


def test_the_classes_are_imagenets(rows):
    """tfds lists the synsets in ImageNet's order; keras.applications has the same."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    if spec is None:
        pytest.skip("TensorFlow Datasets is not installed")
    folder = pathlib.Path(spec.submodule_search_locations[0])
    synsets = (folder / "datasets/imagenet2012/labels.txt").read_text().split()
    assert len(synsets) == 1000
    for row in rows:
        if row["order"]:
            assert synsets[int(row["index"])] == row["synset"], row


@pytest.mark.parametrize(
    ("index", "name", "taxa"),
    [
        (7, "cock", "Galliformes Phasianidae Gallus gallus"),
        (8, "hen", "Galliformes Phasianidae Gallus gallus"),
        (16, "bulbul", "Passeriformes Pycnonotidae"),
        (23, "vulture", "Accipitriformes"),
        (91, "coucal", "Cuculiformes Cuculidae Centropus"),
        (94, "hummingbird", "Caprimulgiformes Trochilidae"),
        (97, "drake", "Anseriformes Anatidae Anas platyrhynchos"),
        (128, "black_stork", "Ciconiiformes Ciconiidae Ciconia nigra"),
        (134, "crane", "Gruiformes Gruidae"),
        (145, "king_penguin", "Sphenisciformes Spheniscidae Aptenodytes patagonicus"),
        (517, "", ""),
    ],
)
def test_some_by_hand(rows, index, name, taxa):
    assert rows[index]["name"] == name
    assert " ".join(lineage(rows[index])) == taxa


def test_lineages_are_spelled_as_in_inat(rows, real_data):
    """A genus, else a family, that iNat2021 has, has the same parents there."""
    names = (real_data / "inat2021_aves_class_names.txt").read_text().split()
    taxa = [tuple(parse_class_name(name).taxa[3:]) for name in names]
    parents = [{t[:depth] for t in taxa} for depth in range(5)]
    seen = {2: 0, 3: 0}
    for row in rows:
        found = lineage(row)
        for depth in (2, 3):
            theirs = {p for p in parents[depth] if found[depth - 1 : depth] == p[-1:]}
            if len(found) >= depth and theirs:
                assert theirs == {found[:depth]}, row
                seen[depth] += 1
    assert seen[2] >= 50 and seen[3] >= 30, seen
