"""prepare and train on photographs that are there more than once."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras import tables
from hiercam_keras.data import duplicates, sources, splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import splitting

CLASSES = [
    f"{k:05d}_Animalia_Chordata_Aves_O{k % 2}_F{k % 2}_G{k}_s{k}" for k in range(4)
]


@pytest.fixture
def own(tmp_path):
    """4 species of 10 photographs, of which 3 are there twice, and their config.

    The copies are 0/copy.jpg of 0/0.jpg; 1/copy.png of 1/0.png, with other bytes;
    3/copy.jpg of 2/0.jpg, which is another species.
    """
    rng = np.random.default_rng(0)
    data = tmp_path / "photos"
    for k, name in enumerate(CLASSES):
        (data / name).mkdir(parents=True)
        for number in range(10):
            shapes = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
            image = shapes.resize((64, 64), Image.Resampling.BICUBIC)
            image.save(data / name / f"{number}.{'png' if k == 1 else 'jpg'}")
    one, two, three, four = (data / name for name in CLASSES)
    shutil.copy(one / "0.jpg", one / "copy.jpg")
    with Image.open(two / "0.png") as image:
        image.save(two / "copy.png", compress_level=1)
    shutil.copy(three / "0.jpg", four / "copy.jpg")
    config = tiny_birds.make_config(tmp_path, data)
    config.data.source = "image_folder"
    config.data.root = str(data)
    config.train.epochs = 1
    return config, data


def test_prepare_lists_them(own):
    config, data = own
    said = tiny_birds.run("prepare", config)
    assert "3 images are there more than once, in 6 files" in said
    assert "1 image has copies under different taxa, so that labels are wrong" in said
    assert f"{CLASSES[2]}/0.jpg (Animalia/Chordata/Aves/O0/F0/G2/s2)" in said
    path = Path(said.rsplit("all copies: ", 1)[1].split("\n")[0])
    rows = tables.read_csv(path)
    assert rows["kind"] == ["exact"] * 3
    assert rows["labels_differ"] == ["0", "0", "1"]
    assert rows["example_id"][:2] == [
        f"{CLASSES[0]}/copy.jpg",
        f"{CLASSES[1]}/copy.png",
    ]
    assert rows["copy_of"][2] == f"{CLASSES[2]}/0.jpg"
    path.unlink()
    path.mkdir()  # in the way
    said = tiny_birds.run("prepare", config)
    assert f"cannot be written to {path}: choose another folder with --config.d" in said
    path.rmdir()
    for copy in data.rglob("copy.*"):
        copy.unlink()
    said = tiny_birds.run("prepare", config)
    assert "no image is there twice" in said and not path.exists()


def test_a_split_that_is_made_here_keeps_them_together(own, caplog):
    config, _ = own
    records = sources.load(config.data).records
    divided = set()
    for seed in range(12):
        config.seed = seed
        split = splitting.make_split(records, config)
        pairs = duplicates.groups(duplicates.exact_copies(records))
        assert len(pairs) == 6 and not split.divided(pairs)
        alone = splits.split_records(records, seed, config.data.fractions)
        divided |= alone.divided(pairs).keys()
    assert len(divided) == 3  # each would be, without groups
    config.seed = 0
    with caplog.at_level(logging.INFO, logger="absl"):
        tiny_birds.run("train", config, rank=("family",))
    assert "1 image has copies under different taxa" in caplog.text
    assert "3 images are there more than once, in 6 files" in caplog.text
    assert "the splits divide" not in caplog.text


def test_a_run_that_began_before_keeps_its_split(own, caplog, monkeypatch):
    config, data = own
    records = sources.load(config.data).records
    pairs = duplicates.groups(duplicates.exact_copies(records))
    config.seed = next(
        seed
        for seed in range(12)
        if splits.split_records(records, seed, config.data.fractions).divided(pairs)
    )
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "groups", lambda copies: {})
        said = tiny_birds.run("train", config, rank=("family",))
    folder = Path(said.split("wrote ", 1)[1].split("/model.keras")[0])
    before = splits.load(folder / "split")
    with caplog.at_level(logging.INFO, logger="absl"):
        tiny_birds.run("train", config, rank=("family",), resume=True)
    assert splits.load(folder / "split") == before
    assert "the splits divide" in caplog.text
    next(data.rglob("9.jpg")).unlink()
    with pytest.raises(UserError, match="files were added or removed"):
        tiny_birds.run("train", config, rank=("family",), resume=True)


def test_official_splits_stay_and_what_they_divide_is_listed(own, tmp_path, caplog):
    """A table, every one of whose test images is a training image as well."""
    config, data = own
    table = tmp_path / "table.csv"
    rows = ["path,family,species,split"]
    for name in CLASSES:
        for path in sorted((data / name).iterdir()):
            kind = "test" if path.stem == "copy" else "train"
            taxa = f"F{name[4]},s{name[4]}"
            rows.append(f"{path.relative_to(data)},{taxa},{kind}")
    table.write_text("\n".join(rows) + "\n")
    config.data.source, config.data.table = "csv_table", str(table)
    said = tiny_birds.run("prepare", config)
    assert "the splits divide 3 images that are there more than once" in said
    assert f"{CLASSES[0]}/0.jpg (train), {CLASSES[0]}/copy.jpg (test)" in said
    with caplog.at_level(logging.WARNING, logger="absl"):
        tiny_birds.run("train", config, rank=("species",), workdir=str(tmp_path / "r"))
    assert "the splits divide 3 images" in caplog.text
    assert "--mode=prepare lists all copies" in caplog.text
    test = splits.load(tmp_path / "r" / "split").test
    assert {name.split("/")[1].split(".")[0] for name in test} == {"copy"}
