"""Runs on somebody's own folder: found again, moved, grown; real photographs."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.errors import UserError


@pytest.fixture(scope="module")
def own(tmp_path_factory, trained, image_folder):
    """A family run on a copy of the class folders, given as --data_dir."""
    folder = tmp_path_factory.mktemp("own")
    data = folder / "bird_train"
    shutil.copytree(image_folder, data)
    config = tiny_birds.make_config(folder, folder / "not there")
    config.data.source = "image_folder"
    config.data.root = ""
    config.train.epochs = 1
    tiny_birds.run("train", config, rank=("family",), data_dir=str(data))
    return config, data


def accuracy(config):
    (folder,) = Path(config.runs_dir).glob("bird_train-*/family/seed0")
    rows = tables.read_csv(folder / "eval" / "test" / "accuracy.csv")
    return dict(zip(rows["rank"], rows["accuracy"], strict=True)), rows["images"]


def test_the_run_is_named_after_its_folder_which_stays_untouched(own, image_folder):
    config, data = own
    (folder,) = Path(config.runs_dir).iterdir()
    name, digits = folder.name.rsplit("-", 1)
    assert name == "bird_train" and len(digits) == 6 and int(digits, 16) >= 0
    record = json.loads((folder / "family" / "seed0" / "config.json").read_text())
    assert record["data_dir"] == str(data.resolve())
    before = sorted(one.relative_to(image_folder) for one in image_folder.rglob("*"))
    assert sorted(one.relative_to(data) for one in data.rglob("*")) == before


def test_later_modes_find_run_and_images_without_data_dir(own):
    config, _ = own
    tiny_birds.run("eval", config, rank=("family",))
    _, images = accuracy(config)
    assert images == ["9", "9"]
    said = tiny_birds.run("cam", config, rank=("family",))
    assert said.startswith("9 maps of the test split")


def test_new_files_are_told_and_left_out(own, caplog):
    config, data = own
    species = sorted(data.iterdir())[0]
    photo = sorted(species.iterdir())[0]
    new = species / "new.jpg"
    shutil.copyfile(photo, new)
    try:
        with caplog.at_level(logging.INFO, logger="absl"):
            tiny_birds.run("eval", config, rank=("family",))
            why = f"files were added or removed: 1 image added .*{species.name}/new.jpg"
            with pytest.raises(UserError, match=why):
                tiny_birds.run(
                    "train", config, rank=("family",), data_dir=str(data), resume=True
                )
    finally:
        new.unlink()
    assert "left out: 1 image added since the training of" in caplog.text
    assert f"{species.name}/new.jpg" in caplog.text
    assert accuracy(config)[1] == ["9", "9"]


def test_moved_images_are_found_by_data_dir(own):
    config, data = own
    tiny_birds.run("eval", config, rank=("family",))
    before = accuracy(config)
    moved = data.parent / "elsewhere"
    data.rename(moved)
    try:
        words = r"family/seed0 was trained on the images of .*bird_train, .*--data_dir="
        with pytest.raises(UserError, match=words):
            tiny_birds.run("eval", config, rank=("family",))
        with pytest.raises(UserError, match=r"nowhere \(in /.*\) does not exist"):
            tiny_birds.run("eval", config, rank=("family",), data_dir="nowhere")
        tiny_birds.run("eval", config, rank=("family",), data_dir=str(moved))
    finally:
        moved.rename(data)
    assert accuracy(config) == before


def test_a_file_that_turned_bad_is_left_out_of_the_maps(own):
    """Of the size and time that the index knows, so that it shows only at reading."""
    config, data = own
    (folder,) = Path(config.runs_dir).glob("*/family/seed0")
    ids = (folder / "split" / "test.txt").read_text().splitlines()
    bad = data / ids[2]
    content, times = bad.read_bytes(), bad.stat()
    bad.write_bytes(bytes(len(content)))
    os.utime(bad, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        fields = {"cam.method": "hirescam"}
        said = tiny_birds.run("cam", config, rank=("family",), fields=fields)
        tiny_birds.run("eval", config, rank=("family",))
    finally:
        bad.write_bytes(content)
        os.utime(bad, ns=(times.st_atime_ns, times.st_mtime_ns))
    maps = store.open(said.rsplit(" ", 1)[1])
    assert list(maps.example_ids) == ids[:2] + ids[3:]
    assert list(maps.skipped) == [ids[2]] and maps.complete
    assert set(accuracy(config)[1]) == {"8"}


def test_a_split_that_was_left_empty(own, tmp_path):
    config, data = own
    fields = {"data.fractions": (0.9, 0.1, 0.0)}
    run = {"rank": ("family",), "workdir": str(tmp_path / "run")}
    tiny_birds.run("train", config, data_dir=str(data), fields=fields, **run)
    with pytest.raises(UserError, match="test split of .* is empty.*fractions"):
        tiny_birds.run("eval", config, **run)


def test_other_images_are_not_taken_for_those_of_the_run(own, tmp_path, image_folder):
    config, data = own
    other = tmp_path / "other"
    other.mkdir()
    photo = next(image_folder.rglob("*.jpg"))
    name = "00009_Animalia_Chordata_Aves_Anseriformes_Anatidae_Mergus_merganser"
    (other / name).mkdir()
    shutil.copyfile(photo, other / name / "other.jpg")
    with pytest.raises(UserError, match="none of the 9 test images.*--data_dir"):
        tiny_birds.run("eval", config, rank=("family",), data_dir=str(other))


@pytest.fixture(scope="module")
def real_runs(tmp_path_factory, real_data):
    """Runs at order and family on the real photographs."""
    folder = tmp_path_factory.mktemp("real")
    config = tiny_birds.make_config(folder, folder / "not there")
    config.train.epochs = 1
    config.data.batch_size = 8
    photos = real_data / "bird_photos"
    for rank in ("order", "family"):
        tiny_birds.run("train", config, rank=(rank,), data_dir=str(photos))
    return config, photos


def test_real_photographs_go_all_the_way(real_runs, tmp_path):
    config, photos = real_runs
    count = sum(1 for _ in photos.glob("*/*.jpg"))
    tiny_birds.run("eval", config, rank=("order",))
    (path,) = Path(config.runs_dir).glob("bird_photos-*/order/seed0")
    ids = (path / "split" / "test.txt").read_text().splitlines()
    assert len(ids) == round(0.11 * count)
    assert tables.read_csv(path / "eval" / "test" / "predictions.csv")[
        "example_id"
    ] == sorted(ids)
    said = tiny_birds.run("cam", config, rank=("order",))
    assert said.startswith(f"{len(ids)} maps of the test split, {len(ids)} of them")
    out = tmp_path / "compare"
    tiny_birds.run("compare", config, ranks=("order", "family"), out=str(out))
    rows = tables.read_csv(out / "numbers.csv")
    assert len(rows["model"]) == 3 * len(ids)
    assert set(rows["energy_on_object"]) == {""}  # no masks, no number
    assert (out / "index.html").is_file() and (out / "least_01.png").is_file()
    # A run on few photos of many species can be resumed like any other.
    tiny_birds.run("train", config, rank=("order",), data_dir=str(photos), resume=True)


@pytest.mark.parametrize("source", ["image_folder", "inat2021", "csv_table"])
def test_a_root_that_does_not_exist_names_its_field(config, source):
    """Nobody gave --data_dir."""
    config.data.source, config.data.root = source, "nowhere"
    with pytest.raises(
        UserError, match=r"data\.root is nowhere \(in /.*\), which does"
    ):
        tiny_birds.run("prepare", config)
