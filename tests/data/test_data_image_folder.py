import dataclasses
import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import geometry, sources
from hiercam_keras.data.sources import image_folder
from hiercam_keras.errors import UserError


def load(config, root):
    return sources.load(config, str(root))


def all_files(root):
    return {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}


def test_reads_a_folder_and_does_not_write_to_it(data_config, bird_folder, class_names):
    before = all_files(bird_folder)
    source = load(data_config, bird_folder)
    assert all_files(bird_folder) == before
    ids = [record.example_id for record in source.records]
    assert ids == sorted(f"{name}/{i}.jpg" for name in class_names for i in range(4))
    first = source.records[0]
    assert first.lineage.display_name("species") == "Cygnus olor"
    assert first.lineage.class_id == "00001"
    with Image.open(first.path) as image:
        assert image.size == (first.width, first.height)
    assert source.name.startswith("birds-") and len(source.name) == len("birds-") + 6
    assert source.evidence is None
    assert source.report.counts == {"ok": 12, "converted": 0, "unreadable": 0}
    assert source.report.summary().startswith("12 image files: 12 fine as they are")


def test_same_basename_elsewhere_has_another_name(tmp_path):
    assert sources.data_name(tmp_path / "a" / "x") != sources.data_name(tmp_path / "x")
    assert sources.data_name(tmp_path / "a" / ".." / "x") == sources.data_name(
        tmp_path / "x"
    )


def test_a_bucket_is_the_same_from_any_folder(tmp_path, monkeypatch):
    name = sources.data_name("gs://birds/tfds/")
    monkeypatch.chdir(tmp_path)
    assert sources.data_name("gs://birds/tfds") == name and name.startswith("tfds-")
    assert sources.data_name("gs://other/tfds") != name
    assert sources.absolute("gs://birds/tfds") == "gs://birds/tfds"
    assert sources.absolute("x") == str(tmp_path / "x")


def test_subset_of_folders_keeps_their_ids(data_config, bird_folder, class_names):
    whole = {r.example_id for r in load(data_config, bird_folder).records}
    for path in (bird_folder / class_names[1]).iterdir():
        path.unlink()
    (bird_folder / class_names[1]).rmdir()
    rest = {r.example_id for r in load(data_config, bird_folder).records}
    assert rest == {name for name in whole if not name.startswith(class_names[1])}


def test_what_is_passed_by_is_counted(data_config, bird_folder, class_names):
    first = bird_folder / class_names[0]
    (first / "notes.txt").write_text("no image")
    (first / ".hidden.jpg").write_bytes(b"")
    (first / "deeper").mkdir()
    Image.new("RGB", (20, 20)).save(first / "deeper" / "x.jpg")
    (bird_folder / "README.md").write_text("mine")
    (bird_folder / ".git").mkdir()
    (bird_folder / "scripts").mkdir()
    (bird_folder / "scripts" / "a.py").write_text("")
    source = load(data_config, bird_folder)
    assert len(source.records) == 12
    assert source.report.ignored == {
        "files without an image suffix": 2,
        "hidden files": 2,
        "folders inside class folders": 1,
        "files outside class folders": 1,
        "folders without images": 1,
    }
    assert "2 hidden files" in source.report.summary()


def test_circular_and_broken_links_do_not_hang(data_config, bird_folder, class_names):
    first = bird_folder / class_names[0]
    (first / "loop").symlink_to(bird_folder, target_is_directory=True)
    (first / "self.jpg").symlink_to(first / "self.jpg")
    (first / "gone.jpg").symlink_to(first / "nothing.jpg")
    (bird_folder / "again").symlink_to(bird_folder / "again")
    os.mkfifo(first / "pipe.jpg")
    source = load(data_config, bird_folder)
    assert len(source.records) == 12
    assert source.report.ignored["broken links and special files"] == 3


def test_linked_class_folders_are_read(data_config, bird_folder, class_names, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / class_names[2]).symlink_to(bird_folder / class_names[2])
    assert len(load(data_config, linked).records) == 4


def test_names_that_no_list_can_hold(data_config, bird_folder, class_names):
    content = (bird_folder / class_names[0] / "0.jpg").read_bytes()
    folder = os.fsencode(bird_folder / class_names[0])
    for name in (b"caf\xe9.jpg", b"two\nlines.jpg"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    source = load(data_config, bird_folder)
    assert len(source.records) == 12
    reasons = dict(source.report.unreadable)
    assert all("UTF-8" in reason for reason in reasons.values()) and len(reasons) == 2
    assert any("caf\\udce9.jpg" in name for name in reasons)
    json.dumps(source.report.to_json()).encode("utf-8")
    source.report.summary().encode("utf-8")


def test_suffix_case_and_unicode(data_config, bird_folder, class_names):
    first = bird_folder / class_names[0]
    (first / "0.jpg").rename(first / "Å pé.JPEG")
    ids = [r.example_id for r in load(data_config, bird_folder).records]
    assert f"{class_names[0]}/Å pé.JPEG" in ids


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "does not exist"),
        (lambda root: None, "no images in .*found 0 folders"),
        (lambda root: (root / "00001_a_b").mkdir(), "found 1 folders without images"),
        (lambda root: (root.rmdir(), root.write_text("x")), "is a file"),
        (lambda root: Image.new("RGB", (9, 9)).save(root / "a.jpg"), "folder above"),
    ],
)
def test_folders_that_cannot_be_used(data_config, tmp_path, make, message):
    root = tmp_path / "somewhere"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=message) as raised:
        load(data_config, root)
    assert "\n" not in str(raised.value)


def test_an_archive_of_class_folders_is_to_be_unpacked(data_config, bird_folder):
    archive = shutil.make_archive(str(bird_folder), "zip", bird_folder)
    with pytest.raises(UserError, match=r"birds.zip is an archive .*: unpack it"):
        load(data_config, archive)


def test_folder_too_high_names_the_right_one(data_config, bird_folder):
    with pytest.raises(UserError, match=r"--data_dir=.*/birds\."):
        load(data_config, bird_folder.parent)


def test_folder_of_the_wrong_form_is_named(data_config, bird_folder):
    (bird_folder / "00042_Aves").mkdir()
    Image.new("RGB", (9, 9)).save(bird_folder / "00042_Aves" / "a.jpg")
    with pytest.raises(UserError, match="'00042_Aves' has 2 fields, expected 8"):
        load(data_config, bird_folder)


def test_no_readable_image_left(data_config, tmp_path, class_names):
    folder = tmp_path / "bad" / class_names[0]
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"none of 1 image file .*a\.jpg: not an image"):
        load(data_config, tmp_path / "bad")


def test_sources_and_missing_data_dir(data_config):
    with pytest.raises(UserError, match="--data_dir"):
        sources.load(data_config)
    data_config.source = "imagenet"
    with pytest.raises(UserError, match="image_folder, synthetic_birds"):
        sources.load(data_config)


def make_annotated(tmp_path, class_name, orientation):
    """One photo of 40 x 20 stored pixels, with the object in its left half."""
    root = tmp_path / f"annotated{orientation}"
    for kind in ("images", "masks", "parts"):
        (root / kind / class_name).mkdir(parents=True)
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(root / "images" / class_name / "a.jpg", exif=exif)
    mask = Image.fromarray(pixels[:, :, 0])
    mask.save(root / "masks" / class_name / "a.png")
    Image.fromarray(pixels[:, :, 0] // 255 * 3).save(
        root / "parts" / class_name / "a.png"
    )
    (root / "boxes.csv").write_text(
        f"example_id,x0,y0,x1,y1\n{class_name}/a.jpg,0,0,20,20\n"
    )
    (root / "evidence.csv").write_text("rank,part,label\norder,body,3\n")
    return root


@pytest.mark.parametrize(
    ("orientation", "box"),
    [
        (1, (0, 0, 20, 20)),
        (6, (0, 0, 20, 20)),
        (8, (0, 20, 20, 40)),
        (3, (20, 0, 40, 20)),
    ],
)
def test_annotations_follow_the_photo(
    data_config, tmp_path, class_names, orientation, box
):
    root = make_annotated(tmp_path, class_names[0], orientation)
    before = all_files(root)
    source = load(data_config, root)
    assert all_files(root) == before
    (record,) = source.records
    assert source.evidence == {"order": ("body", 3)}
    assert record.boxes == (box,)
    image = np.asarray(Image.open(record.path).convert("L"))
    mask = sources.annotations.read_labels(record.mask_path)
    parts = sources.annotations.read_labels(record.parts_path)
    assert mask.shape == image.shape == (record.height, record.width)
    np.testing.assert_array_equal(mask > 0, image > 127)
    np.testing.assert_array_equal(parts == 3, image > 127)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    assert (mask[y0:y1, x0:x1] > 0).all() and (mask > 0).sum() == 400


def test_tables_of_a_neighbor_are_not_read(data_config, bird_folder):
    (bird_folder.parent / "boxes.csv").write_text("somebody,elses\n1,2\n")
    source = load(data_config, bird_folder)
    assert all(record.boxes == () for record in source.records)
    name = source.records[0].example_id
    (bird_folder / "boxes.csv").write_text(f"example_id,x0,y0,x1,y1\n{name},1,2,3,4\n")
    assert load(data_config, bird_folder).records[0].boxes == ((1, 2, 3, 4),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("boxes.csv", "example_id,x0,y0\na,1,2\n", r"boxes\.csv, line 1: a box needs"),
        ("boxes.csv", "example_id,x0,y0,x1,y1\nNAME,9,0,1,5\n", "line 2: .*x1 <= x0"),
        ("boxes.csv", "bird,x0,y0,x1,y1\na,1,2,3,4\n", "columns example_id,x0"),
        (
            "evidence.csv",
            "rank,part,label\norder,body,three\n",
            "line 2: .*and 'three'",
        ),
    ],
)
def test_damaged_tables_are_named(
    data_config, tmp_path, class_names, name, text, message
):
    root = make_annotated(tmp_path, class_names[0], 1)
    (root / name).write_text(text.replace("NAME", f"{class_names[0]}/a.jpg"))
    with pytest.raises(UserError, match=message):
        load(data_config, root)


def test_color_masks_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="RGB pixels"):
        sources.annotations.read_labels(tmp_path / "m.png")


def test_label_cells_are_those_under_the_middles_of_the_cells(tmp_path):
    """Left half 1, right half 2 of a picture that is seen whole, and mirrored."""
    labels = np.repeat([[1, 2]], 4, axis=1).repeat(8, axis=0).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "p.png")
    window = geometry.of(8, 8, 16, "localization")
    cells = sources.annotations.label_cells(tmp_path / "p.png", window, 4)
    np.testing.assert_array_equal(cells, [[1, 1, 2, 2]] * 4)
    mirrored = dataclasses.replace(window, scale_x=-window.scale_x, offset_x=16.0)
    cells = sources.annotations.label_cells(tmp_path / "p.png", mirrored, 4)
    np.testing.assert_array_equal(cells, [[2, 2, 1, 1]] * 4)


def test_labels_of_another_picture_are_named(tmp_path):
    """Wherever they come from: only the first of a table's are looked at before."""
    Image.new("L", (10, 20)).save(tmp_path / "p.png")
    window = geometry.of(20, 10, 16, "localization")
    with pytest.raises(UserError, match=r"p\.png has 10 x 20 pixels, its"):
        sources.annotations.label_cells(tmp_path / "p.png", window, 4)


def test_listing_opens_no_file(bird_folder, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    started = time.monotonic()
    assert len(image_folder.list_files(bird_folder).files) == 12
    assert time.monotonic() - started < 5


def test_cache_below_a_file_is_a_user_error(data_config, bird_folder, tmp_path):
    (tmp_path / "file").write_text("")
    data_config.cache_dir = str(tmp_path / "file" / "cache")
    with pytest.raises(UserError, match="data.cache_dir is .* cannot be made"):
        load(data_config, bird_folder)
