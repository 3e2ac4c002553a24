"""--mode=localize on drawn birds."""

import json

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import tables
from hiercam_keras.cam import heatmaps, profiles, store
from hiercam_keras.data import geometry, splits
from hiercam_keras.errors import UserError
from hiercam_keras.exchange import coco
from hiercam_keras.metrics.boxes import resize_boxes
from hiercam_keras.metrics.localization import BoxCounts, PixelCounts
from hiercam_keras.report import localization as figures
from hiercam_keras.runs import run_folder

FAST = {"localize.resamples": 50, "localize.size": 64, "localize.num_pictures": 4}


@pytest.fixture(scope="module")
def localized(trained, birds):
    """What localize of the species model said, and its folder."""
    said = tiny_birds.run("localize", trained.config, fields=FAST, rank=("species",))
    return said, trained.path("species") / "localize" / "test" / "gradcam"


def read(folder):
    rows = tables.read_csv(folder / "localization.csv")
    return {
        name: {key: cells[i] for key, cells in rows.items()}
        for i, name in enumerate(rows["measure"])
    }


def test_it_writes_and_tells_every_figure(localized):
    said, folder = localized
    rows = read(folder)
    assert set(rows) >= {
        "MaxBoxAcc (oracle threshold)",
        "MaxBoxAcc (val threshold)",
        "MaxBoxAccV2 (oracle threshold)",
        "MaxBoxAccV2 (val threshold)",
        "PxAP",
        "BoxPxAP",
        "pointing game",
        "energy in the box",
        "energy in the mask",
    }
    for name, row in rows.items():
        assert 0 <= float(row["value"]) <= 1 and 0 <= float(row["center_gaussian"]) <= 1
        assert row["images"] == "9"
        if row["low"]:
            assert float(row["low"]) <= float(row["value"]) + 1e-6, name
            assert float(row["value"]) <= float(row["high"]) + 1e-6, name
    oracle = float(rows["MaxBoxAcc (oracle threshold)"]["value"])
    assert float(rows["MaxBoxAcc (val threshold)"]["value"]) <= oracle
    assert "PxAP" in said and str(folder) in said and "(val)" in said
    for name in ("curve.png", "pictures.png"):
        with Image.open(folder / name) as image:
            assert image.width > 200
    about = json.loads((folder / "localization.json").read_text())
    assert about["threshold_from"] == "val" and about["images"] == 9
    assert [row["measure"] for row in about["figures"]] == list(rows)
    taxa = tables.read_csv(folder / "taxa_order.csv")
    assert sum(map(int, taxa["images"])) == 9


def test_boxes_are_written_as_coco(localized, trained):
    """The boxes of boxes.csv, each with the taxon that its map explains."""
    _, folder = localized
    found = coco.read(json.loads((folder / "boxes.json").read_text()), folder)
    assert not found.unread
    rows = tables.read_csv(folder / "boxes.csv")
    sides = zip(*(rows[name] for name in ("x0", "y0", "x1", "y1")), strict=True)
    boxes = dict(zip(rows["example_id"], sides, strict=True))
    about = json.loads((folder / "localization.json").read_text())
    maps = store.open(about["maps"])
    document = json.loads((folder / "boxes.json").read_text())
    sizes = {
        one["file_name"]: (one["width"], one["height"]) for one in document["images"]
    }
    kept = [one for one in maps.example_ids if not maps.get(one).degenerate[0]]
    assert sorted(one.file for one in found.detections) == sorted(kept)
    for one, row in zip(found.detections, document["annotations"], strict=True):
        expected = [float(edge) for edge in boxes[one.file]]
        np.testing.assert_allclose(one.box_in(*sizes[one.file]), expected, atol=0.01)
        entry = maps.get(one.file)
        assert row["lineage"] == maps.lineage("species", int(entry.label[0]))
        assert one.confidence == pytest.approx(float(entry.probability[0]))
        assert one.category.split(" ")[1] == row["lineage"].rpartition("/")[2]
    assert document["info"]["threshold"] == about["threshold"]


def test_the_figures_are_those_of_the_maps(localized, trained, birds):
    """Worked out again, image by image, from the store and the files of the birds."""
    _, folder = localized
    about = json.loads((folder / "localization.json").read_text())
    maps = store.open(about["maps"])
    ids = splits.load(trained.path("species") / "split").test
    assert sorted(maps.example_ids) == sorted(ids)
    own = tables.read_csv(birds / "boxes.csv")
    boxes = {
        name: [float(own[side][i]) for side in ("x0", "y0", "x1", "y1")]
        for i, name in enumerate(own["example_id"])
    }
    counts, pixels, shares = BoxCounts(), PixelCounts(), []
    for name in ids:
        cam = maps.get(name).cam[:1]
        score = profiles.wsol(cam, 64)[0]
        with Image.open(birds / "images" / name) as image:
            size = image.size
        true = resize_boxes([boxes[name]], size, (64, 64))
        counts.add(score, true)
        with Image.open(birds / "masks" / name.replace(".jpg", ".png")) as image:
            mask = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST)) > 0
        pixels.add(score, mask)
        x0, y0, x1, y1 = true[0]
        energy = heatmaps.energy(cam, 64)[0]
        shares.append(energy[y0 : y1 + 1, x0 : x1 + 1].sum())
    rows = read(folder)
    found = float(rows["MaxBoxAcc (oracle threshold)"]["value"])
    assert found == pytest.approx(counts.max_box_acc()[0], abs=1e-6)
    found = float(rows["MaxBoxAccV2 (oracle threshold)"]["value"])
    assert found == pytest.approx(counts.max_box_acc_v2()[0], abs=1e-5)
    assert float(rows["PxAP"]["value"]) == pytest.approx(pixels.pxap(), abs=1e-5)
    found = float(rows["energy in the box"]["value"])
    assert found == pytest.approx(np.mean(shares), abs=1e-5)


def test_the_sheet_names_the_taxon_of_each_map_and_the_true_one(
    trained, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        figures, "save_box_sheet", lambda path, pictures: drawn.extend(pictures)
    )
    fields = {**FAST, "localize.num_pictures": 12}
    flags = {"rank": ("species",), "out": str(tmp_path)}
    said = tiny_birds.run("localize", trained.config, fields=fields, **flags)
    assert "9 maps of the test split" in said
    about = json.loads((tmp_path / "localization.json").read_text())
    maps = store.open(about["maps"])
    names = run_folder.read(trained.path("species")).taxonomy().names("species")
    answers = sorted(names[entry.label[0]] for entry in maps)
    assert sorted(picture.shown for picture in drawn) == answers
    taxa = tables.read_csv(tmp_path / "images.csv")["taxon"]
    assert sorted(picture.name for picture in drawn) == sorted(taxa) != answers


def test_maps_are_of_whole_images_and_have_a_store_of_their_own(localized, trained):
    _, folder = localized
    about = json.loads((folder / "localization.json").read_text())
    maps = store.open(about["maps"])
    assert maps.meta["identity"]["preprocessing"]["crop"] == "none"
    for row in maps.column("geometry"):
        g = geometry.Geometry.from_row(row)
        assert (g.offset_x, g.offset_y) == (0, 0)
        assert g.scale_x * g.width == pytest.approx(tiny_birds.SIZE)
    # The maps of cam are of the same images and question, but of their middle.
    tiny_birds.run("cam", trained.config, rank=("species",))
    own = maps.meta["identity"]
    cropped = [
        store.open(path)
        for path in (trained.path("species") / "maps").iterdir()
        if store.open(path).meta["identity"]
        == {**own, "preprocessing": {**own["preprocessing"], "crop": "center"}}
    ]
    assert len(cropped) == 1 and cropped[0].folder != maps.folder
    assert cropped[0].example_ids == maps.example_ids


def test_each_question_has_figures_of_its_own(localized, trained):
    """The family of a species model, and its true species, beside what was asked."""
    _, folder = localized
    before = (folder / "localization.json").read_bytes()
    maps = {json.loads(before)["maps"]}
    for flags, name in (
        ({"target_rank": "family"}, "gradcam-family"),
        ({"target": "true"}, "gradcam-true"),
    ):
        said = tiny_birds.run(
            "localize", trained.config, fields=FAST, rank=("species",), **flags
        )
        asked = {"rank": "species", "target": "predicted"} | {
            key.replace("target_rank", "rank"): value for key, value in flags.items()
        }
        about = json.loads((folder.parent / name / "localization.json").read_text())
        assert {key: about[key] for key in asked} == asked
        assert f"gradcam of the {asked['target']} {asked['rank']}" in said
        maps.add(about["maps"])
    assert len(maps) == 3
    assert (folder / "localization.json").read_bytes() == before


def test_all_devices_that_are_asked_for(trained):
    fields = {**FAST, "distribution.devices": 64}
    with pytest.raises(UserError, match="distribution.devices is 64, but"):
        tiny_birds.run("localize", trained.config, fields=fields, rank=("species",))


def test_predicted_boxes_are_in_pixels_of_the_originals(localized, birds):
    _, folder = localized
    rows = tables.read_csv(folder / "boxes.csv")
    for i, name in enumerate(rows["example_id"]):
        with Image.open(birds / "images" / name) as image:
            width, height = image.size
        x0, y0, x1, y1 = (float(rows[side][i]) for side in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 <= x1 <= width and 0 <= y0 <= y1 <= height
        assert 0 <= float(rows["iou"][i]) <= 1


def test_a_run_whose_images_have_neither(trained, image_folder, tmp_path):
    bare = tmp_path / "bare"
    bare.symlink_to(image_folder)
    with pytest.raises(UserError, match="none of the 9 test images of .* has a box"):
        tiny_birds.run(
            "localize", trained.config, rank=("species",), data_dir=str(bare)
        )
