"""Crops of detected animals: places, ids, counts, pixels and geometry."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import crops, duplicates, geometry, loader
from hiercam_keras.data.records import Record
from hiercam_keras.data.sources import photos
from hiercam_keras.errors import UserError
from hiercam_keras.exchange.detections import Detection, DetectionFile
from hiercam_keras.exchange.rows import RowLog
from hiercam_keras.taxonomy.lineage import Lineage

ROOT = Path("/photos/2026")


def record(name, **fields):
    return Record(name, ROOT / name, None, 400, 200, **fields)


def detection(file, index=1, box=(0.25, 0.25, 0.5, 0.75), kind="animal", sure=0.9):
    return Detection(file, box, kind, sure, index)


def listing(*found, photos=(), failures=None, groups=None):
    names = dict.fromkeys((*(one.file for one in found), *photos, *(failures or ())))
    log = RowLog()
    return DetectionFile(
        Path("md.json"), "JSON", tuple(names), found, failures or {}, log, groups or {}
    )


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        # 100 x 60 around (150, 100): side 100 and a tenth on each side.
        ((100, 70, 200, 130), 0.1, (90, 40, 210, 160)),
        ((100, 70, 200, 130), 0.0, (100, 50, 200, 150)),
        # Beyond the left and lower edge: moved inside, not made smaller.
        ((0, 150, 20, 200), 0.5, (0, 100, 100, 200)),
        # Larger than the picture is high: cut there.
        ((50, 10, 350, 190), 0.1, (20, 0, 380, 200)),
        # Part of a pixel counts as one.
        ((10.2, 10, 12.6, 10.5), 0.0, (10, 9, 13, 12)),
    ],
)
def test_the_convention(box, margin, expected):
    found = crops.crop_of(box, 400, 200, margin)
    assert found == expected
    assert all(isinstance(value, int) for value in found)


def test_the_default_margin_keeps_the_whole_box_in_sight():
    """A network sees 224 / 256 of a square crop."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, y0 = rng.uniform(300, 600, 2)
        w, h = rng.uniform(5, 200, 2)
        box = (x0, y0, x0 + w, y0 + h)
        part = crops.crop_of(box, 1200, 1000, crops.Options().margin)
        one = Record("x", Path("x"), None, 1200, 1000, crop=part)
        row = windows_of([one], 224)
        seen = geometry.Geometry.from_row(row[0]).to_input(np.array(box))
        assert seen.min() >= -1e-3 and seen.max() <= 224 + 1e-3


def test_the_share_of_a_box_that_is_seen():
    """As the window of the network says; at the edge and of long boxes it is less."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        x0, y0 = rng.uniform(0, 1000), rng.uniform(0, 700)
        box = (x0, y0, min(1200, x0 + rng.uniform(5, 900)), min(900, y0 + 200))
        sides = (1200, 900) * 2
        found = detection(
            "x", box=tuple(a / b for a, b in zip(box, sides, strict=True))
        )
        part = crops.crop_of(box, 1200, 900, 0.1)
        one = Record("x", Path("x"), None, 1200, 900, crop=part, detection=found)
        window = geometry.Geometry.from_row(windows_of([one], 224)[0])
        x0, y0, x1, y1 = window.to_input(np.array(box))
        inside = np.clip([x0, y0, x1, y1], 0, 224)
        area = (inside[2] - inside[0]) * (inside[3] - inside[1])
        expected = area / ((x1 - x0) * (y1 - y0))
        shares.append(crops.box_seen(one))
        assert shares[-1] == pytest.approx(expected, abs=0.01)
    assert min(shares) < 0.9 and shares.count(1.0) > 50


def test_cut_boxes_are_counted():
    inside, at_edge = detection("a.jpg"), detection("b.jpg", box=(0, 0.25, 0.25, 0.75))
    found = listing(inside, at_edge)
    records = [record("a.jpg"), record("b.jpg")]
    said = crops.crop(records, found, crops.Options(), ROOT).in_words(0.2)
    assert "2 crops of animals in 2 pictures, 1 of them cut by the edge" in said


def windows_of(records, size, layout="classification"):
    from hiercam_keras.data import resize_windows

    where = resize_windows.plan(records, size, layout)
    zeros = np.zeros((len(records), 2), int)
    return resize_windows.geometry_rows(
        where, np.arange(len(records)), zeros, zeros.astype(bool)
    )


def test_whole_pictures_have_the_windows_of_earlier_versions():
    """In whole numbers, which are part of the key of a cache on disk."""
    from hiercam_keras.data import resize_windows

    where = resize_windows.plan([record("a.jpg")], 64, "classification", 1.0)
    for part in (where.resized, where.start, where.extent):
        assert part.dtype == np.int32
    # 400 x 200 with the short side at 73, the crop in the middle and room around it.
    assert where.resized.tolist() == [[73, 146]]
    assert where.start.tolist() == [[0, 0]] and where.extent.tolist() == [[72, 146]]
    crop = (0, 0, 400, 200)
    both = [record("a.jpg"), record("b.jpg", crop=crop)]
    mixed = resize_windows.plan(both, 64, "classification", 1.0)
    for part, other in zip(mixed[1:4], where[1:4], strict=True):
        np.testing.assert_array_equal(part, np.repeat(other, 2, axis=0))


def test_animals_become_examples_and_all_else_is_counted():
    found = listing(
        detection("a.jpg", 1, kind="person"),
        detection("a.jpg", 2),
        detection("a.jpg", 3, sure=0.1),
        detection("a.jpg", 4, box=(0, 0, 0.1, 0.1), sure=None),
        detection("c.jpg", 1, kind="vehicle"),
        photos=("b.jpg",),
        failures={"d.jpg": "cannot be opened"},
    )
    records = [record(f"{name}.jpg") for name in "abcde"]
    made = crops.crop(records, found, crops.Options(), ROOT)
    assert [one.example_id for one in made.records] == ["a.jpg#2", "a.jpg#4"]
    first, second = made.records
    assert first.crop == (90, 40, 210, 160)
    assert first.detection == found.detections[1]
    assert (first.width, first.height, first.path) == (400, 200, ROOT / "a.jpg")
    assert first.boxes == () and second.boxes == ((0, 0, 40, 20),)
    assert {one.group for one in made.records} == {"a.jpg"}
    assert made.pictures == 1 and made.blank == ("b.jpg", "c.jpg")
    assert made.boxes_left_out == {"human": 1, "faint": 1, "vehicle": 1}
    assert made.failed == {"d.jpg": "cannot be opened"} and made.unlisted == ("e.jpg",)
    assert made.in_words(0.2) == (
        "2 crops of animals in 1 picture, 1 of them cut by the edge of the picture (a "
        "network sees less than the whole box); left out: 1 box of kind human, 1 box "
        "of kind vehicle, 1 box of animals below the threshold 0.2, 2 pictures without "
        "a box of an animal (b.jpg, c.jpg), 1 picture that the detector could not read "
        "(d.jpg), 1 picture that the file does not list (e.jpg)"
    )


def test_ids_do_not_depend_on_the_threshold():
    found = listing(
        *(detection("a.jpg", n, sure=sure) for n, sure in ((1, 0.3), (2, 0.9)))
    )
    for threshold, ids in ((0.0, ["a.jpg#1", "a.jpg#2"]), (0.5, ["a.jpg#2"])):
        options = crops.Options(threshold=threshold)
        made = crops.crop([record("a.jpg")], found, options, ROOT)
        assert [one.example_id for one in made.records] == ids


def test_truth_and_groups_of_animals():
    near, far = (100.0, 60.0, 190.0, 140.0), (300.0, 0.0, 390.0, 20.0)
    one = record("a.jpg", boxes=(near, far), group="burst")
    found = listing(detection("a.jpg", sure=None), groups={"a.jpg": "other"})
    (made,) = crops.crop([one], found, crops.Options(), ROOT).records
    assert made.boxes == (near,) and made.group == "burst"
    (made,) = crops.crop([record("a.jpg")], found, crops.Options(), ROOT).records
    assert made.group == "other"


@pytest.mark.parametrize(
    "name",
    [
        "a/x.jpg",
        "2026/a/x.jpg",
        "/photos/2026/a/x.jpg",
        "x.jpg",
        "D:/cards/7/a/x.jpg",
    ],
)
def test_a_picture_is_found_by_the_end_of_its_path(name):
    found = listing(detection(name), detection("b/y.jpg"))
    assert crops.match([record("a/x.jpg")], found, ROOT) == {"a/x.jpg": name}


def test_the_name_with_most_folders_is_taken():
    found = listing(detection("x.jpg"), detection("a/x.jpg"))
    records = [record("a/x.jpg"), record("x.jpg")]
    assert crops.match(records, found, ROOT) == {"a/x.jpg": "a/x.jpg", "x.jpg": "x.jpg"}


def test_names_that_may_be_several_pictures_are_errors():
    records = [record("a/x.jpg"), record("b/x.jpg")]
    with pytest.raises(UserError, match="may be a/x.jpg or b/x.jpg"):
        crops.match(records, listing(detection("x.jpg")), ROOT)
    found = listing(detection("1/a/x.jpg"), detection("2/a/x.jpg"))
    with pytest.raises(UserError, match="several pictures that may be a/x.jpg"):
        crops.match(records[:1], found, ROOT)


def test_files_of_other_pictures_or_without_animals_are_errors():
    with pytest.raises(UserError, match="lists none of 1 picture of .* it has y.jpg"):
        crops.crop(
            [record("x.jpg")], listing(detection("y.jpg")), crops.Options(), ROOT
        )
    with pytest.raises(UserError, match="no animal in any picture.*threshold 0.95"):
        options = crops.Options(threshold=0.95)
        crops.crop([record("x.jpg")], listing(detection("x.jpg")), options, ROOT)
    # A threshold is not what is wrong where there is no faint animal.
    human = dataclasses.replace(detection("x.jpg"), category="person")
    with pytest.raises(UserError, match="of kind human") as error:
        crops.crop([record("x.jpg")], listing(human), crops.Options(), ROOT)
    assert "threshold" not in str(error.value)
    assert "--detections names the file" in str(error.value)


@pytest.mark.parametrize("field", [{"threshold": 1.2}, {"margin": -0.1}])
def test_options_out_of_range_are_refused(field):
    section = {"threshold": 0.2, "margin": 0.1, **field}
    with pytest.raises(UserError, match=f"detections.{next(iter(field))} is"):
        crops.Options.of(section)


@pytest.mark.parametrize("layout", geometry.LAYOUTS)
@pytest.mark.parametrize("pipeline", ["arrays", "tfdata"])
def test_a_crop_has_the_pixels_of_a_file_with_nothing_else(tmp_path, layout, pipeline):
    """Within the kernel's reach of the crop's edge, which sees neighbors."""
    if pipeline == "tfdata":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    picture = small.resize((400, 300), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "all.png")
    part = (130, 40, 330, 240)
    picture.crop(part).save(tmp_path / "part.png")
    records = [
        Record("all.png#1", tmp_path / "all.png", None, 400, 300, crop=part),
        Record("part.png", tmp_path / "part.png", None, 200, 200),
        Record("all.png", tmp_path / "all.png", None, 400, 300),
    ]
    config = ConfigDict(
        {"image_size": 64, "batch_size": 3, "pipeline": pipeline, "cache_mb": 0}
    )
    with loader.make_loader(records, {}, config, layout=layout) as batches:
        (batch,) = batches.epoch(0)
    cropped, alone, whole = batch.images.astype(int)
    inner = slice(4, -4)
    assert np.abs(cropped - alone)[inner, inner].max() <= 1
    assert np.abs(cropped - whole).mean() > 10
    # A place in the picture, and the same one in the file of the crop.
    place = np.array([200.0, 100.0, 260.0, 180.0])
    rows = [geometry.Geometry.from_row(row) for row in batch.geometry]
    moved = place - np.array([130, 40, 130, 40])
    seen = rows[0].to_input(place)
    np.testing.assert_allclose(seen, rows[1].to_input(moved), atol=1e-3)
    np.testing.assert_allclose(rows[0].to_original(seen), place, atol=1e-3)


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_both_readers_see_the_same_crops(tmp_path, disk, training):
    """Of a JPEG that is decoded at a reduced scale, mirrored and moved."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8))
    picture = small.resize((1500, 1000), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "x.jpg", quality=92)
    parts = [(100, 200, 700, 800), (3, 5, 60, 62), (900, 0, 1500, 600), None]
    records = [
        Record(f"x.jpg#{n}", tmp_path / "x.jpg", None, 1500, 1000, crop=part)
        for n, part in enumerate(parts, 1)
    ]
    augment = ConfigDict({"horizontal_flip": True, "crop_jitter": 1.0})
    seen = {}
    for pipeline in ("arrays", "tfdata"):
        config = ConfigDict(
            {
                **{"image_size": 64, "batch_size": 4, "pipeline": pipeline},
                "disk_cache": str(tmp_path / "cache") if disk else "",
            }
        )
        with loader.make_loader(records, {}, config, augment, training=training) as one:
            seen[pipeline] = list(one.epoch(0))[0]
    first, second = seen["arrays"], seen["tfdata"]
    assert first.example_ids == second.example_ids
    np.testing.assert_array_equal(first.geometry, second.geometry)
    assert np.abs(first.images.astype(int) - second.images).max() <= 4


def test_crops_of_another_margin_are_not_found_in_the_disk_cache(tmp_path):
    Image.new("RGB", (200, 100), "red").save(tmp_path / "x.png")
    config = ConfigDict(
        {
            **{"image_size": 32, "batch_size": 1, "pipeline": "arrays"},
            "disk_cache": str(tmp_path / "cache"),
        }
    )
    base = Record("x.png#1", tmp_path / "x.png", None, 200, 100)
    for part in ((0, 0, 50, 50), (0, 0, 60, 60), (10, 0, 60, 50)):
        with loader.make_loader(
            [dataclasses.replace(base, crop=part)], {}, config
        ) as one:
            list(one.epoch(0))
    assert len(list((tmp_path / "cache").glob("*/pixels.npy"))) == 3


def test_masks_and_boxes_of_a_crop_are_those_of_a_file_with_nothing_else():
    rng = np.random.default_rng(3)
    mask = np.kron(rng.integers(0, 3, (10, 15)), np.ones((20, 20), int)).astype(
        np.uint8
    )
    part = (60, 20, 220, 180)
    row = windows_of([Record("x", Path("x"), None, 300, 200, crop=part)], 64)[0]
    alone = windows_of([Record("x", Path("x"), None, 160, 160)], 64)[0]
    whole, cut = (geometry.Geometry.from_row(one) for one in (row, alone))
    seen = geometry.resize_mask(mask, whole)
    expected = geometry.resize_mask(mask[20:180, 60:220], cut)
    np.testing.assert_array_equal(seen, expected)
    assert len(np.unique(seen)) == 3


@pytest.mark.parametrize("pipeline", ["arrays", "tfdata"])
def test_a_crop_of_a_very_large_picture_is_cut_from_its_smaller_copy(
    tmp_path, pipeline
):
    """Files of more than 4096 pixels are read from a copy."""
    if pipeline == "tfdata":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    rng = np.random.default_rng(4)
    small = Image.fromarray(rng.integers(0, 256, (6, 60, 3), np.uint8))
    picture = small.resize((6000, 600), Image.Resampling.BICUBIC)
    path = tmp_path / "photos" / "x.png"
    path.parent.mkdir()
    picture.save(path)
    (one,) = photos.load_photos(path, tmp_path / "cache")
    assert one.path != path and (one.width, one.height) == (6000, 600)
    part = (2000, 100, 2400, 500)
    picture.crop(part).save(tmp_path / "part.png")
    records = [
        dataclasses.replace(one, crop=part),
        Record("part", tmp_path / "part.png", None, 400, 400),
    ]
    config = ConfigDict({"image_size": 64, "batch_size": 2, "pipeline": pipeline})
    with loader.make_loader(records, {}, config) as batches:
        (batch,) = batches.epoch(0)
    cropped, alone = batch.images.astype(int)
    assert np.abs(cropped - alone)[4:-4, 4:-4].mean() < 2


def test_animals_of_a_picture_are_no_copies_but_those_of_its_copy_are():
    look = "00ff00ff00ff00ff"
    found = listing(
        *(detection(name, n) for name in ("a.jpg", "b.jpg") for n in (1, 2))
    )
    pair = [record(name, dhash=look) for name in ("a.jpg", "b.jpg")]
    made = crops.crop(pair[:1], found, crops.Options(), ROOT).records
    assert not duplicates.near_copies(made) and not duplicates.exact_copies(made)
    # Pictures that look alike: each animal has a near copy in the other picture only.
    made = crops.crop(pair, found, crops.Options(), ROOT).records
    near = {
        (one.record.path.name, one.of.path.name) for one in duplicates.near_copies(made)
    }
    assert near == {("b.jpg", "a.jpg")} and not duplicates.exact_copies(made)
    # The same picture twice: all crops of it stay together.
    same = [dataclasses.replace(one, pixels="12") for one in pair]
    made = crops.crop(same, found, crops.Options(), ROOT).records
    assert not duplicates.near_copies(made)
    (copies,) = duplicates.exact_copies(made)
    assert [one.example_id for one in copies] == [one.example_id for one in made]


def test_animals_of_several_taxa_have_no_label_of_their_picture():
    """They are kept where no label is asked for."""
    lineage = Lineage(("Ardeidae", "Ardea"), ("family", "genus"))
    heron, duck = (
        Detection("a.jpg", (0, 0, 0.5, 0.5), "animal", None, n, ((name, 1.0),))
        for n, name in enumerate(("Ardea", "Anas"), 1)
    )
    for found, ids in (
        (listing(heron, duck), []),
        (listing(heron, dataclasses.replace(heron, index=2)), ["a.jpg#1", "a.jpg#2"]),
        # A machine's names are no labels.
        (
            listing(*(dataclasses.replace(x, confidence=0.9) for x in (heron, duck))),
            ["a.jpg#1", "a.jpg#2"],
        ),
        # COCO has them as categories.
        (listing(detection("a.jpg", 1, kind="fox"), detection("a.jpg", 2)), []),
    ):
        # Another picture, as a file without any animal is an error.
        whole = dataclasses.replace(found.detections[0], file="z.jpg", index=1)
        found = listing(*found.detections, whole)
        records = [
            dataclasses.replace(record(name), lineage=lineage)
            for name in ("a.jpg", "z.jpg")
        ]
        made = crops.crop(records, found, crops.Options(), ROOT)
        assert [one.example_id for one in made.records] == [*ids, "z.jpg#1"]
        assert made.boxes_left_out == ({} if ids else {"mixed": 2})
        assert ("2 boxes in pictures of several taxa" in made.in_words(0.2)) != bool(
            ids
        )
        nameless = [record("a.jpg"), record("z.jpg")]
        assert len(crops.crop(nameless, found, crops.Options(), ROOT).records) == 3
