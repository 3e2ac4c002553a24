"""iNat2021 as its archives unpack: which folders, which classes, which split."""

import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from PIL import Image

from hiercam_keras.data import sources, splits
from hiercam_keras.errors import UserError

MOTH = "00500_Animalia_Arthropoda_Insecta_Lepidoptera_Erebidae_Catocala_nupta"
AVES = "Animalia/Chordata/Aves"


def fill(part, classes, count, start=0):
    for k, name in enumerate(classes):
        (part / name).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + count):
            Image.new("RGB", (12, 10), (k, i, 0)).save(part / name / f"{i:04x}.jpg")


@pytest.fixture
def official(tmp_path, class_names):
    """train_mini and val of three birds and a moth."""
    root = tmp_path / "inat2021"
    fill(root / "train_mini", (*class_names, MOTH), 4)
    fill(root / "val", (*class_names, MOTH), 2, start=100)
    return root


@pytest.fixture
def read(data_config):
    def read(root, **fields):
        fields = {"source": "inat2021", "keep_lineage": AVES} | fields
        config = ConfigDict(data_config.to_dict() | fields)
        return sources.load(config, str(root))

    return read


def test_official_val_is_the_test_split(read, official, class_names):
    source = read(official)
    assert len(source.records) == 3 * 6
    assert source.report.ignored == {f"class folders outside {AVES}": 2}
    ids = {
        name: {r.example_id for r in source.records if r.split == name}
        for name in ("train", "test")
    }
    assert ids["test"] == {f"{n}/{i:04x}.jpg" for n in class_names for i in (100, 101)}
    assert len(ids["train"]) == 12
    split = splits.split_records(source.records, 3)
    assert set(split.test) == ids["test"]
    assert set(split.train) | set(split.val) == ids["train"] and split.val
    assert "val carved out of train" in split.note
    assert splits.split_records(source.records, 3) == split
    assert splits.split_records(source.records, 4).val != split.val


def test_all_taxa_and_one_order(read, official):
    assert len(read(official, keep_lineage="").records) == 4 * 6
    geese = read(official, keep_lineage=f"{AVES}/Anseriformes")
    assert {r.lineage.taxa[3] for r in geese.records} == {"Anseriformes"}
    with pytest.raises(UserError, match="no class folder of .*keep_lineage=Plantae"):
        read(official, keep_lineage="Plantae")


def test_one_part_alone_has_no_official_split(read, official):
    whole = {r.example_id: r.lineage for r in read(official).records}
    for root in (official / "train_mini", official / "val"):
        source = read(root)
        assert {r.split for r in source.records} == {None}
        assert all(whole[r.example_id] == r.lineage for r in source.records)


def test_the_kaggle_archive_or_the_folder_above(read, tmp_path, class_names):
    fill(tmp_path / "a" / "bird_train", class_names, 2)
    fill(tmp_path / "b" / "bird_train" / "bird_train", class_names, 2)
    above, nested = read(tmp_path / "a"), read(tmp_path / "b")
    inside = read(tmp_path / "a" / "bird_train")
    ids = [r.example_id for r in above.records]
    assert ids == [r.example_id for r in inside.records] and len(ids) == 6
    assert ids == [r.example_id for r in nested.records]


def test_train_mini_is_not_read_twice(read, official, class_names):
    fill(official / "train", class_names, 7)
    assert len(read(official).records) == 3 * (4 + 2)
    assert len(read(official, parts=("train", "val")).records) == 3 * (7 + 2)
    with pytest.raises(UserError, match="train_mini is a part of train"):
        read(official, parts=("train", "train_mini"))
    with pytest.raises(UserError, match="data.parts names 'bird_train'"):
        read(official, parts=("bird_train",))


def test_an_image_in_train_and_val_is_refused(read, official, class_names):
    fill(official / "val", class_names[1:2], 1)
    with pytest.raises(UserError, match=f"{class_names[1]}/0000.jpg is in two folders"):
        read(official)


def test_subsets_and_what_is_missing(
    read, official, class_names, data_config, tmp_path
):
    for path in (official / "val" / class_names[0]).iterdir():
        path.unlink()
    source = read(official)
    assert len(source.records) == 3 * 6 - 2
    data_config.source = "inat2021"
    with pytest.raises(UserError, match="no images were given"):
        sources.load(data_config)
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "nowhere")


def test_the_real_birds_are_kept_whole(read, real_data):
    source = read(real_data / "bird_photos")
    assert len(source.records) == 54


def test_what_the_sources_ask_of_the_config_is_there():
    """`.get` takes a default, so that a field could be missing from configs unseen."""
    from configs import default

    folder = Path(sources.__file__).parent
    asked = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'config\.get\(\s*"(\w+)"', path.read_text("utf-8"))
    }
    assert {"keep_lineage", "parts", "manual_dir", "table", "ranks"} <= asked
    assert asked <= set(default.get_config().data)
