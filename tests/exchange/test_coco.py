"""COCO and COCO Camera Traps, read and written."""

import copy
from pathlib import Path

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.exchange import coco

PATH = Path("coco.json")


def document():
    """COCO Camera Traps: a sequence, an image level label, fields of its own."""
    return {
        "info": {"version": "1", "contributor": "us"},
        "licenses": [{"id": 3}],
        "categories": [
            {"id": 0, "name": "empty"},
            {"id": 5, "name": "ardea_cinerea", "supercategory": "bird"},
        ],
        "images": [
            {
                **{"id": "i1", "file_name": "a\\1.jpg", "width": 400, "height": 200},
                **{"seq_id": "s1", "location": "pond", "corrupt": False},
            },
            {"id": "i2", "file_name": "a/2.jpg", "location": 7},
            {"id": "i3", "file_name": "a/3.jpg", "width": 10, "height": 10},
        ],
        "annotations": [
            {"id": "x", "image_id": "i2", "category_id": 0, "count": 0},
            {"id": "y", "image_id": "i1", "category_id": 5},
            {
                **{"id": "z", "image_id": "i1", "category_id": 5},
                "bbox": [100.0, 20, 200, 181],
            },
        ],
    }


def test_boxes_and_sequences_are_read():
    found = coco.read(document(), PATH)
    assert found.photos == ("a/1.jpg", "a/2.jpg", "a/3.jpg")
    (one,) = found.detections
    assert one.box == (0.25, 0.1, 0.75, 1.0)  # a pixel beyond the edge is cut
    assert (one.category, one.kind, one.confidence) == ("ardea_cinerea", "animal", None)
    assert one.index == 2  # the second annotation of its photograph
    assert found.groups == {"a/1.jpg": "s1", "a/2.jpg": "7"}
    assert not found.unread


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"image_id": "i9"}, "image_id is not among"),
        ({"image_id": "i2"}, "no width and height"),
        ({"category_id": 6}, "category_id is not among"),
        ({"bbox": [300, 20, 200, 100]}, "beyond its edge"),
        ({"bbox": [300, 20, 50]}, "4 numbers"),
        ({"bbox": [300, 20, "50", 50]}, "a number is expected"),
        ({"score": 2}, "score is not in 0..1"),
    ],
)
def test_an_annotation_with_a_fault_is_left_out(change, why):
    made = document()
    made["annotations"][2].update(change)
    found = coco.read(made, PATH)
    assert not found.detections
    (row,) = found.unread
    assert (row.number, row.table) == (3, "coco.json")
    assert row.found.startswith("annotation 3: ")
    assert why in row.reason


def test_images_with_a_fault_are_left_out():
    made = document()
    made["images"] += [{"id": 4}, {"file_name": "x.jpg"}, made["images"][0]]
    found = coco.read(made, PATH)
    assert [row.number for row in found.unread] == [4, 5, 6]
    assert len(found.detections) == 1


def test_what_is_no_list_is_an_error():
    with pytest.raises(UserError, match="images is no list"):
        coco.read({**document(), "images": {}}, PATH)


def test_boxes_are_added_and_all_else_is_kept():
    made = document()
    boxes = [
        coco.Box("a/1.jpg", 400, 200, (10, 20, 110, 70), "ardea_cinerea", 0.5),
        coco.Box("b.jpg", 30, 40, (0, 0, 30, 40), "Anas", None, {"rank": "genus"}),
    ]
    written = coco.add_boxes(boxes, made, {"contributor": "hiercam"})
    assert made == document()  # untouched
    assert written["info"] == {"version": "1", "contributor": "hiercam"}
    assert written["licenses"] == made["licenses"]
    assert written["images"][:3] == made["images"]
    assert written["annotations"][:3] == made["annotations"]
    first, second = written["annotations"][3:]
    assert first == {
        **{"id": "1", "image_id": "i1", "category_id": 5, "iscrowd": 0},
        **{"bbox": [10, 20, 100, 50], "area": 5000, "score": 0.5},
    }
    assert written["categories"][2] == {"id": 6, "name": "Anas"}
    assert (second["category_id"], second["rank"]) == (6, "genus")
    assert written["images"][3] == {
        **{"id": "1", "file_name": "b.jpg", "width": 30, "height": 40},
    }
    assert second["image_id"] == "1" and "score" not in second


def test_a_round_trip_keeps_every_box():
    boxes = [
        coco.Box("a/1.jpg", 400, 200, (10, 20, 110, 70), "Ardea", 0.5),
        coco.Box("a/1.jpg", 400, 200, (0, 0, 400, 200), "Anas", 0.25),
        coco.Box("b.jpg", 30, 40, (7.5, 8.25, 15, 33), "Ardea"),
    ]
    made = coco.add_boxes(boxes)
    assert [row["id"] for row in made["annotations"]] == [1, 2, 3]
    found = coco.read(made, PATH)
    sizes = {"a/1.jpg": (400, 200), "b.jpg": (30, 40)}
    for one, box in zip(found.detections, boxes, strict=True):
        assert one.box_in(*sizes[one.file]) == pytest.approx(box.box)
        assert (one.category, one.confidence) == (box.category, box.score)
    assert [one.index for one in found.detections] == [1, 2, 1]
    again = coco.add_boxes([], copy.deepcopy(made))
    assert again == made
