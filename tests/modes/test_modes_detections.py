"""--detections in every mode: crops, their boxes in all outputs, and the way back."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from ml_collections import FrozenConfigDict
from PIL import Image

from hiercam_keras.cam import store
from hiercam_keras.data import crops, geometry, sources
from hiercam_keras.errors import UserError
from hiercam_keras.modes import load, whole_pictures
from hiercam_keras.modes.settings import Settings
from hiercam_keras.report import whole

SURE = 0.9


@pytest.fixture(scope="module")
def records(trained):
    found = sources.load(trained.config.data, name="mini")
    return {record.example_id: record for record in found.records}


@pytest.fixture(scope="module")
def detections(records, tmp_path_factory) -> Path:
    """A person, the bird and a faint animal in each picture; none in the first."""
    images = []
    for number, record in enumerate(records.values()):
        (box,) = record.boxes
        sides = (record.width, record.height) * 2
        x0, y0, x1, y1 = (a / b for a, b in zip(box, sides, strict=True))
        rows = [
            {"category": "2", "conf": SURE, "bbox": [0.0, 0.0, 0.2, 0.2]},
            {"category": "1", "conf": SURE, "bbox": [x0, y0, x1 - x0, y1 - y0]},
            {"category": "1", "conf": 0.1, "bbox": [0.5, 0.5, 0.5, 0.5]},
        ]
        images.append(
            {"file": record.example_id, "detections": rows[: 1 if not number else 3]}
        )
    path = tmp_path_factory.mktemp("detections") / "md.json"
    document = {
        "info": {"format_version": "1.3", "detector": "test"},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": images,
        "camera": "A7",
    }
    path.write_text(json.dumps(document))
    return path


def fields(path, **more):
    return {"detections.file": str(path), **more}


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected_box(record):
    (box,) = record.boxes
    return np.array(box)


def test_predict_names_the_box_and_the_crop(trained, records, detections, tmp_path):
    out = tmp_path / "p.csv"
    said = tiny_birds.run(
        "predict",
        trained.config,
        fields=fields(detections, **{"detections.margin": 0.25}),
        out=str(out),
    )
    rows = rows_of(out)
    assert rows[0]["example_id"].endswith(".jpg#2") or "#2" in rows[0]["example_id"]
    assert {row["example_id"].rpartition("#")[2] for row in rows} == {"2"}
    for row in rows:
        record = records[row["example_id"].rpartition("#")[0]]
        box = np.array([float(row[name]) for name in ("x0", "y0", "x1", "y1")])
        np.testing.assert_allclose(box, expected_box(record), atol=0.01)
        assert float(row["detection_confidence"]) == SURE
        part = tuple(float(row[f"crop_{name}"]) for name in ("x0", "y0", "x1", "y1"))
        size = (record.width, record.height)
        assert part == crops.crop_of(tuple(expected_box(record)), *size, 0.25)
        assert 0.5 < float(row["box_seen"]) <= 1
        assert row["group"] == record.example_id
    assert "#2" in said


def test_predict_without_detections_has_no_columns_of_boxes(trained, tmp_path):
    tiny_birds.run("predict", trained.config, out=str(tmp_path / "p.csv"))
    header = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert header == "example_id,rank,place,taxon,lineage,probability,on_path"


def test_classifications_are_written_back(trained, detections, tmp_path):
    """What was in the file stays, and the box of #2 is where it was."""
    out = tmp_path / "out.json"
    config, more = trained.config, {"predict.format": "megadetector"}
    said = tiny_birds.run(
        "predict", config, fields=fields(detections, **more), out=str(out), top_k=2
    )
    assert said.endswith(str(out))
    tiny_birds.run("predict", config, fields=fields(detections), out=str(out) + ".csv")
    best = {
        row["example_id"]: row
        for row in rows_of(str(out) + ".csv")
        if row["rank"] == "family" and row["place"] == "1"
    }
    before, after = json.loads(detections.read_text()), json.loads(out.read_text())
    assert after["camera"] == "A7" and after["info"]["detector"] == "test"
    assert "margin" in after["info"]["classifier_metadata"]
    classified = set()
    for old, new in zip(before["images"], after["images"], strict=True):
        assert new["file"] == old["file"]
        for index, (one, other) in enumerate(
            zip(old["detections"], new["detections"], strict=True), 1
        ):
            found = other.pop("classifications", None)
            assert other == one
            if found is None:
                continue
            name = f"{new['file']}#{index}"
            classified.add(name)
            assert len(found) == 2 and found[0][1] >= found[1][1]
            taxon = after["classification_categories"][found[0][0]]
            assert taxon == best[name]["taxon"]
            assert found[0][1] == pytest.approx(
                float(best[name]["probability"]), abs=1e-5
            )
            parts = after["classification_category_descriptions"][found[0][0]]
            assert len(parts.split(";")) == 7
            lineage = best[name]["lineage"].lower().split("/")
            assert parts.split(";")[1:4] == lineage[2:5]
    assert classified == set(best)


def test_the_format_needs_detections(trained):
    with pytest.raises(UserError, match="name it with --detections"):
        tiny_birds.run(
            "predict", trained.config, fields={"predict.format": "megadetector"}
        )


def test_cam_stores_boxes_and_shows_the_whole_picture(
    trained, records, detections, tmp_path
):
    """The maximum of a map is at one pixel, in the crop and in the picture."""
    out = tmp_path / "overlays"
    said = tiny_birds.run(
        "cam",
        trained.config,
        fields=fields(detections, **{"cam.num_overlays": 2}),
        out=str(out),
    )
    folder = Path(said.rsplit(": ", 1)[1])
    with np.load(folder / "shard-00000.npz") as file:
        shard = dict(file)
    meta = json.loads((folder / "store.json").read_text())
    assert meta["info"]["margin"] == 0.1 and "square" in meta["info"]["crop"]
    maps = store.open(folder)
    found = load.load_source(config_with(trained.config, detections), None)
    animals = {record.example_id: record for record in found.records}
    for name, box, part in zip(
        shard["example_id"], shard["box"], shard["crop"], strict=True
    ):
        record = records[name.rpartition("#")[0]]
        np.testing.assert_allclose(box, expected_box(record), atol=0.01)
        assert tuple(part) == animals[name].crop
        window = geometry.Geometry.from_row(maps.get(name).geometry)
        assert (window.width, window.height) == (record.width, record.height)
        # The animal is in what the network saw.
        seen = window.to_input(box)
        assert seen.min() > -1 and seen.max() < window.size + 1
    written = sorted(path.name for path in out.rglob("*.jpg"))
    assert len(written) == 2
    for path in out.rglob("*.jpg"):
        with Image.open(path) as image:
            assert image.size in {(r.width, r.height) for r in records.values()}


def config_with(config, path, **more):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(fields(path, **more))
    return config


def test_a_map_has_its_maximum_at_the_same_pixel_in_the_whole_picture(
    trained, records, detections
):
    found = load.load_source(config_with(trained.config, detections), None)
    rng = np.random.default_rng(0)
    from hiercam_keras.data import resize_windows

    size = 48
    where = resize_windows.plan(found.records, size, "classification")
    count = len(found.records)
    zeros = np.zeros((count, 2), int)
    rows = resize_windows.geometry_rows(where, np.arange(count), zeros, zeros > 0)
    for number in range(0, count, 7):
        record, row = found.records[number], rows[number]
        window = geometry.Geometry.from_row(row)
        picture = whole_pictures.of(record, row)
        # A picture of the same size as the original, with one warm place in the map.
        assert picture.image.shape == (record.height, record.width, 3)
        y, x = rng.integers(4, size - 4, 2)
        grid = np.mgrid[:size, :size]
        heat = np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / 30.0)
        shown = whole.project(heat, picture.window, picture.image.shape[:2])
        top = np.unravel_index(shown.argmax(), shown.shape)
        at = window.to_original(np.array([x + 0.5, y + 0.5]))
        assert abs(top[1] + 0.5 - at[0]) <= 0.5 + 1e-6
        assert abs(top[0] + 0.5 - at[1]) <= 0.5 + 1e-6
        drawn = whole.draw(picture, heat)
        assert drawn.shape == picture.image.shape


def test_a_photo_with_detections_has_a_figure_for_each_animal(
    trained, records, tmp_path
):
    """Of a photograph that EXIF turns: the box is in the picture as displayed."""
    record = list(records.values())[3]
    with Image.open(record.path) as image:
        upright = image.convert("RGB")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right for display
    turned.save(tmp_path / "x.jpg", exif=exif, quality=95)
    rows = [
        {"category": "1", "conf": 0.8, "bbox": [0.0, 0.0, 0.5, 0.5]},
        {"category": "1", "conf": 0.7, "bbox": [0.25, 0.5, 0.5, 0.4]},
    ]
    document = {
        "info": {},
        "detection_categories": {"1": "animal"},
        "images": [{"file": "cards/7/x.jpg", "detections": rows}],
    }
    (tmp_path / "md.json").write_text(json.dumps(document))
    common = {"fields": fields(tmp_path / "md.json"), "image": str(tmp_path / "x.jpg")}
    said = tiny_birds.run("cam", trained.config, out=str(tmp_path / "out"), **common)
    assert said.count("figure: ") == 2
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    out = tmp_path / "p.csv"
    tiny_birds.run("predict", trained.config, out=str(out), **common)
    found = {row["example_id"]: row for row in rows_of(out)}
    assert set(found) == {"x.jpg#1", "x.jpg#2"}
    second = found["x.jpg#2"]
    box = [float(second[name]) for name in ("x0", "y0", "x1", "y1")]
    sides = np.array([record.width, record.height] * 2)
    np.testing.assert_allclose(box, np.array([0.25, 0.5, 0.75, 0.9]) * sides, atol=0.01)


def test_a_network_trained_on_crops_is_asked_about_crops(
    config, detections, tmp_path, caplog
):
    """Training, evaluation, compare and guide see the animals, without a flag."""
    animals = config_with(config, detections)
    tiny_birds.run("train", animals, rank=("family",))
    tiny_birds.run("train", animals, rank=("species",))
    run = next(Path(config.runs_dir).glob("mini/family/seed0"))
    ids = [
        line
        for part in ("train", "val", "test")
        for line in (run / "split" / f"{part}.txt").read_text().splitlines()
    ]
    assert len(ids) == 79 and all(one.endswith("#2") for one in ids)
    tiny_birds.run("eval", config, rank=("family",))
    rows = rows_of(next((run / "eval" / "test").glob("predictions*.csv")))
    assert all(row["example_id"].endswith("#2") and row["x1"] for row in rows)
    tiny_birds.run("compare", config, out=str(tmp_path / "compare"))
    page = (tmp_path / "compare" / "index.html").read_text()
    assert page.count('"whole":"data:image/jpeg') == page.count('"agreement":')
    tiny_birds.run("guide", config, rank=("species",), out=str(tmp_path / "guide"))
    assert (tmp_path / "guide" / "index.html").is_file()
    wholes = list((tmp_path / "guide" / "images").rglob("*_whole.jpg"))
    taxa = (tmp_path / "guide" / "taxa").glob("*.html")
    assert wholes and any('data-whole="../images/' in one.read_text() for one in taxa)
    assert "has other photographs or boxes" not in caplog.text
    moved = json.loads(detections.read_text())
    moved["images"][5]["detections"][1]["bbox"][0] += 0.01
    before = detections.read_text()
    detections.write_text(json.dumps(moved))
    tiny_birds.run("predict", config, rank=("family",), out=str(tmp_path / "p.csv"))
    detections.write_text(before)
    assert "has other photographs or boxes than at the training" in caplog.text
    with pytest.raises(UserError, match="trained on crops of the animals of"):
        tiny_birds.run("localize", config, rank=("family",))


def test_the_split_of_pictures_is_that_of_their_animals(trained, detections):
    """A network of whole pictures is never asked about an animal of its training."""
    run = trained.runs / "mini" / "family" / "seed0"
    test = (run / "split" / "test.txt").read_text().splitlines()
    out = run / "predict" / "test.csv"
    tiny_birds.run("predict", trained.config, fields=fields(detections))
    ids = {row["example_id"].rpartition("#")[0] for row in rows_of(out)}
    assert ids <= set(test) and len(ids) >= len(test) - 1


def test_prepare_counts_what_is_left_out(config, detections):
    said = tiny_birds.run("prepare", config_with(config, detections))
    assert "79 crops of animals in 79 pictures" in said
    assert "; left out: 80 boxes of kind human" in said
    assert "79 boxes of animals below the threshold 0.2" in said
    assert "1 picture without a box of an animal" in said


def test_a_run_of_an_earlier_version_has_whole_pictures(config):
    """Unless the command line names a file."""
    before = config.to_dict()
    del before["detections"]
    for overrides in ({}, {"detections.file": "/x.json"}):
        now = config.copy_and_resolve_references()
        now.update_from_flattened_dict(overrides)
        settings = Settings(
            mode="predict", config=FrozenConfigDict(now), overrides=overrides
        )
        found = settings.config_of(before)
        assert found.detections.file == overrides.get("detections.file", "")
        assert found.detections.margin == 0.1
