"""COCO Camera Traps as a data set: labels, groups, boxes, credits."""

import json

import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources
from hiercam_keras.errors import UserError

TAXA = "scientific_name,family,species\ngrey heron,Ardeidae,cinerea\nAnas,Anatidae,x\n"


def data_set(folder):
    """Herons of a sequence, a duck, a blank, two species in one, an unknown name."""
    categories = ["empty", "grey_heron", "Anas", "moth"]
    shown = {
        "a/1.png": ["grey_heron"],
        "a/2.png": ["grey_heron", "grey_heron"],
        "a/3.png": ["Anas"],
        "b/4.png": ["empty"],
        "b/5.png": ["grey_heron", "Anas"],
        "b/6.png": ["moth"],
        "b/7.png": [],
    }
    images, annotations = [], []
    for number, (name, seen) in enumerate(shown.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 20), (9 * number, 90, 200)).save(folder / name)
        images.append(
            {
                **{"id": f"i{number}", "file_name": name, "width": 40, "height": 20},
                **{"seq_id": f"s{number // 2}", "location": name[0], "license": 4},
            }
        )
        for kind in seen:
            one = {"id": len(annotations), "image_id": f"i{number}"}
            one |= {"category_id": categories.index(kind)}
            if kind != "empty" and len(annotations) % 2 == 0:
                one |= {"bbox": [4, 5, 20, 10]}
            annotations.append(one)
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories)],
        "licenses": [{"id": 4, "name": "CC0", "url": "https://cc0"}],
    }
    (folder / "cct.json").write_text(json.dumps(document))
    (folder / "taxa.csv").write_text(TAXA)
    return folder


def load(folder, **fields):
    config = ConfigDict(
        {
            **{"source": "auto", "lineages": str(folder / "taxa.csv"), "workers": 1},
            **{"cache_dir": str(folder / "cache"), "root": "", **fields},
        }
    )
    return sources.load(config, str(folder / "cct.json"))


def test_labels_groups_boxes_and_credits(tmp_path):
    found = load(data_set(tmp_path))
    assert [one.example_id for one in found.records] == [
        "a/1.png",
        "a/2.png",
        "a/3.png",
    ]
    first, second, third = found.records
    assert first.lineage.taxa == ("Ardeidae", "cinerea") == second.lineage.taxa
    assert third.lineage.taxa == ("Anatidae", "x")
    assert [one.group for one in found.records] == ["s0", "s0", "s1"]
    assert first.boxes == ((4, 5, 24, 15),) and third.boxes == ()
    assert found.credits()["a/1.png"] == "CC0 https://cc0"
    listed = (found.report.index_dir / "left_out.csv").read_text()
    for why in (
        "no animal: blank",
        "several taxa in one picture",
        "not in the lineage table",
        "without an annotation",
    ):
        assert why in listed


def test_groups_of_another_field(tmp_path):
    found = load(data_set(tmp_path), groups="location")
    assert [one.group for one in found.records] == ["a", "a", "a"]
    with pytest.raises(UserError, match="no column of this name"):
        load(tmp_path, groups="deployment")


def test_the_file_may_be_elsewhere(tmp_path):
    folder = data_set(tmp_path)
    table = tmp_path / "lists"
    table.mkdir()
    (folder / "cct.json").rename(table / "x.json")
    config = ConfigDict(
        {
            **{"source": "auto", "lineages": str(folder / "taxa.csv"), "workers": 1},
            **{"cache_dir": str(folder / "cache"), "table": str(table / "x.json")},
            "root": "",
        }
    )
    assert len(sources.load(config, str(folder)).records) == 3


def test_a_detector_s_file_is_no_data_set(tmp_path):
    document = {"images": [], "detection_categories": {}}
    (tmp_path / "cct.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="for --detections"):
        load(tmp_path)
