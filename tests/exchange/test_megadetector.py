"""MegaDetector JSON, read and written."""

import copy
import json
from pathlib import Path

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.exchange import megadetector
from hiercam_keras.exchange.megadetector import Taxon

PATH = Path("md.json")
HERON = Taxon(
    "Ardea cinerea",
    {
        "kingdom": "Animalia",
        "class": "Aves",
        "order": "Pelecaniformes",
        "family": "Ardeidae",
        "genus": "Ardea",
        "species": "cinerea",
    },
)
DUCKS = Taxon("Anatidae", {"class": "Aves", "family": "Anatidae"})


def document():
    """As MegaDetector writes it, with an own field at every level."""
    return {
        "info": {"format_version": "1.5", "detector": "md_v5a", "mine": 1},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {"4": "fox", "7": "deer"},
        "camera": "A7",
        "images": [
            {
                "file": "b\\heron.jpg",
                "note": "x",
                "detections": [
                    {
                        "category": "1",
                        "conf": 0.95,
                        "bbox": [0.25, 0.5, 0.25, 0.25],
                        "classifications": [["7", 0.2], ["4", 0.7]],
                    },
                    {"category": "2", "conf": 0.8, "bbox": [0, 0, 0.5, 1.004]},
                    {"category": "1", "conf": 0.3, "bbox": [0.5, 0.5, 0.5, 0.5]},
                ],
            },
            {"file": "./blank.jpg", "detections": []},
            {"file": "broken.jpg", "detections": None, "failure": "image access"},
        ],
    }


def test_detections_are_read():
    found = megadetector.read(document(), PATH)
    assert found.photos == ("b/heron.jpg", "blank.jpg", "broken.jpg")
    assert found.failures == {"broken.jpg": "image access"}
    assert not found.unread
    first, person, second = found.detections
    assert first.box == (0.25, 0.5, 0.5, 0.75)
    assert (first.category, first.confidence, first.index) == ("animal", 0.95, 1)
    assert first.classifications == (("deer", 0.2), ("fox", 0.7))
    assert (person.kind, person.box, person.index) == ("human", (0, 0, 0.5, 1), 2)
    assert second.index == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"conf": 1.7}, "the score is not in 0..1"),
        ({"conf": "0.9"}, "a number is expected"),
        ({"bbox": [0.9, 0.9, 0.3, 0.1]}, "goes beyond its edge"),
        ({"bbox": None}, "has no bbox"),
        ({"category": "9"}, "not among detection_categories"),
        ({"classifications": [["7", 1.4]]}, "the score is not in 0..1"),
        ({"classifications": [["70", 0.4]]}, "not among classification_categories"),
    ],
)
def test_a_detection_with_a_fault_is_left_out_and_others_keep_their_number(change, why):
    made = document()
    made["images"][0]["detections"][0].update(change)
    found = megadetector.read(made, PATH)
    assert [one.index for one in found.detections] == [2, 3]
    (row,) = found.unread
    assert row.number == 1 and why in row.reason
    assert row.found.startswith("detection 1 of b/heron.jpg")


def test_photographs_with_a_fault_are_left_out():
    made = document()
    made["images"] += [{"detections": []}, made["images"][1], {"file": "c.jpg"}]
    made["images"].append({"file": "d.jpg", "detections": {}})
    found = megadetector.read(made, PATH)
    assert [row.number for row in found.unread] == [4, 5, 7]
    # A photograph without the field was not looked at.
    assert "c.jpg" in found.failures


def test_numeric_ids_are_those_of_the_table():
    """camtraptools takes such a file for empty pictures."""
    made = document()
    for row in made["images"][0]["detections"]:
        row["category"] = int(row["category"])
    found = megadetector.read(made, PATH)
    assert [one.kind for one in found.detections] == ["animal", "human", "animal"]


def test_what_is_no_table_is_an_error():
    made = document()
    made["detection_categories"] = ["animal"]
    with pytest.raises(UserError, match="detection_categories is no table"):
        megadetector.read(made, PATH)
    made = document()
    made["images"] = {}
    with pytest.raises(UserError, match="images is no list"):
        megadetector.read(made, PATH)
    assert not megadetector.is_document({"images": []})


def test_classifications_are_added_and_all_else_is_kept():
    made = document()
    answers = {
        ("b/heron.jpg", 1): [(DUCKS, 0.25), (HERON, 0.625)],
        ("b/heron.jpg", 3): [(HERON, 1 / 3)],
    }
    written = megadetector.classify(made, answers, {"classifier": "ours"})
    assert made == document()  # untouched
    rows = written["images"][0]["detections"]
    # 4 and 7 are taken; the best is the first.
    assert rows[0]["classifications"] == [["8", 0.625], ["9", 0.25]]
    assert rows[2]["classifications"] == [["8", 0.33333]]
    names = {"4": "fox", "7": "deer", "8": "Ardea cinerea", "9": "Anatidae"}
    assert written["classification_categories"] == names
    described = written["classification_category_descriptions"]
    # All categories have one, as the format wants it.
    assert set(described) == set(names) and described["7"] == "deer"
    assert described["8"].split(";")[1:] == [
        *("aves", "pelecaniformes", "ardeidae", "ardea", "cinerea"),
        "Ardea cinerea",
    ]
    assert described["9"].split(";")[1:] == ["aves", "", "anatidae", "", "", "Anatidae"]
    assert written["info"] == {**made["info"], "classifier": "ours"}
    # Without what was added it is the file that was read.
    rest = copy.deepcopy(written)
    rest["info"].pop("classifier")
    rest.pop("classification_category_descriptions")
    rest["classification_categories"] = made["classification_categories"]
    rest["images"][0]["detections"][0]["classifications"] = [["7", 0.2], ["4", 0.7]]
    rest["images"][0]["detections"][2].pop("classifications")
    assert rest == made


def test_writing_twice_gives_the_same_file():
    answers = {("b/heron.jpg", 1): [(HERON, 0.5), (DUCKS, 0.25)]}
    once = megadetector.classify(document(), answers, {"classifier": "ours"})
    again = megadetector.classify(once, answers, {"classifier": "ours"})
    assert json.dumps(again) == json.dumps(once)
    found = megadetector.read(once, PATH).detections[0]
    assert found.classifications == (("Ardea cinerea", 0.5), ("Anatidae", 0.25))


def test_a_detection_that_is_not_there_cannot_be_classified():
    for place in (("b/heron.jpg", 4), ("other.jpg", 1), ("blank.jpg", 1)):
        with pytest.raises(ValueError, match="has no detection"):
            megadetector.classify(document(), {place: [(HERON, 1.0)]}, {})


def test_a_document_is_made_of_detections_of_another_format():
    """A detection that could not be read leaves no hole."""
    source = document()
    source["images"][0]["detections"][0]["conf"] = 2
    found = megadetector.read(source, PATH)
    answers = {("b/heron.jpg", 3): [(HERON, 0.5)]}
    made = megadetector.document_of(found, answers, {"classifier": "ours"})
    again = megadetector.read(made, PATH)
    # blank.jpg has no box: whether a detector looked at it is not known.
    assert again.photos == ("b/heron.jpg", "broken.jpg")
    assert again.failures == found.failures
    assert [one.box for one in again.detections] == [
        one.box for one in found.detections
    ]
    assert [one.index for one in again.detections] == [1, 2]
    assert again.detections[1].classifications == (("Ardea cinerea", 0.5),)
    assert made["info"] == {"format_version": "1.4", "classifier": "ours"}


def test_semicolons_in_names_divide_no_part():
    taxon = Taxon("a;b", {"genus": "x;y"})
    assert taxon.description.count(";") == 6


def test_a_binomial_is_divided_into_genus_and_epithet():
    for taxa in (
        {"species": "Ardea cinerea"},
        {"genus": "Ardea", "species": "cinerea"},
    ):
        taxon = Taxon("Ardea cinerea", taxa)
        assert taxon.description.split(";")[4:] == ["ardea", "cinerea", "Ardea cinerea"]


def test_a_description_ends_with_the_common_name():
    plain = HERON.description.split(";")
    named = HERON._replace(common_name="grey heron").description.split(";")
    assert named == [*plain[:-1], "grey heron"] and plain[-1] == HERON.name
