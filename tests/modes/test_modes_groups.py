"""prepare, train and eval on photographs that belong together."""

import logging
import shutil

import numpy as np
import pytest
import tiny_birds
from PIL import ExifTags, Image

from hiercam_keras import tables
from hiercam_keras.data import sources, splits
from hiercam_keras.errors import UserError
from hiercam_keras.modes import group_report
from hiercam_keras.modes.splitting import make_split

CLASSES = [
    f"{k:05d}_Animalia_Chordata_Aves_O{k % 2}_F{k % 2}_G{k}_s{k}" for k in range(4)
]


@pytest.fixture
def own(tmp_path):
    """4 species of 12 photographs in 4 bursts of 3; species 3 has a single burst."""
    rng = np.random.default_rng(0)
    data = tmp_path / "photos"
    for k, name in enumerate(CLASSES):
        (data / name).mkdir(parents=True)
        for number in range(12):
            exif = Image.Exif()
            day = 1 if k == 3 else 1 + number // 3
            details = exif.get_ifd(ExifTags.IFD.Exif)
            time = f"2021:0{1 + k}:{day:02d} 10:00:{number:02d}"
            details[ExifTags.Base.DateTimeOriginal] = time
            shapes = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
            image = shapes.resize((64, 64), Image.Resampling.BICUBIC)
            image.save(data / name / f"{number:02d}.jpg", exif=exif)
    config = tiny_birds.make_config(tmp_path, data)
    config.data.source = "image_folder"
    config.data.root = str(data)
    config.data.groups = "exif:60s"
    config.train.epochs = 1
    return config, data


def test_prepare_reports_groups(own, caplog):
    config, _ = own
    said = tiny_birds.run("prepare", config)
    assert "groups: 13, the largest has 12 images (2021-04-01T10:00:00)" in said
    assert (
        "3 of 4 species in several groups; G3 s3 is in a single one, so all images of "
        "it are for training and none for a test, or it is not trained at all"
    ) in said
    shares = "train, val and test have 0.750, 0.125, 0.125 of 48 images in 13 groups"
    assert shares in said
    config.data.groups = ""
    said = tiny_birds.run("prepare", config)
    assert "groups:" not in said and "in several groups" not in said
    hint = (
        "48 images were taken at most 60 s before or after another one by the same "
        "camera: --config.data.groups=exif:60s keeps such bursts in one split"
    )
    assert hint in said
    records = sources.load(config.data).records
    assert group_report.report(records, make_split(records, config), config) is None
    assert hint in caplog.text


def test_a_training_keeps_bursts_together_and_says_how_far(own, caplog):
    config, _ = own
    with caplog.at_level(logging.INFO, logger="absl"):
        said = tiny_birds.run("train", config, rank=("species",))
    folder = said.split("wrote ", 1)[1].split("/model.keras")[0]
    records = sources.load(config.data).records
    bursts = {record.example_id: record.group for record in records}
    split = splits.load(f"{folder}/split")
    assert split.divided(bursts) == {} and split.val and split.test
    assert "of 48 images in 13 groups (wanted: 0.780, 0.110, 0.110)" in caplog.text
    assert "G3 s3 is in a single one" in caplog.text
    rows = tables.read_csv(f"{folder}/split/balance.csv")
    assert rows["images"] == ["48", "12", "12", "12", "12"]
    assert rows["groups"] == ["13", "4", "4", "4", "1"]
    assert rows["train"][4] == "12"
    # Tables carry the group, of this command or of the training.
    tiny_birds.run("eval", config, rank=("species",), workdir=folder)
    rows = tables.read_csv(f"{folder}/eval/test/predictions.csv")
    assert list(rows)[:3] == ["example_id", "group", "true_order"]
    assert rows["group"] == [bursts[example_id] for example_id in rows["example_id"]]
    config.data.groups = "none"
    plain = make_split(sources.load(config.data).records, config)
    assert plain.divided(bursts)


def test_without_groups_there_is_no_table_of_them(trained, tmp_path):
    path = trained.path("species")
    files = {path.name for path in (path / "split").iterdir()}
    assert files == {"train.txt", "val.txt", "test.txt"}
    tiny_birds.run(
        "eval",
        trained.config,
        rank=("species",),
        workdir=str(path),
        out=str(tmp_path),
    )
    assert "group" not in tables.read_csv(tmp_path / "predictions.csv")


def test_data_of_one_group_are_refused_with_all_reasons(own):
    config, data = own
    for name in CLASSES[:3]:
        shutil.rmtree(data / name)
    with pytest.raises(UserError) as error:
        tiny_birds.run("train", config, rank=("species",))
    assert "all 12 images are in one group (2021-04-01T10:00:00)" in str(error.value)
    assert "Rank 'species' has a single taxon in these data" in str(error.value)
    assert "--config.data.groups=none" in str(error.value)
    said = tiny_birds.run("prepare", config)
    assert "all 12 images are in one group" in said


def test_an_official_split_stays_and_what_it_divides_is_listed(own, tmp_path, caplog):
    config, data = own
    rows = ["path,family,species,split,visit"]
    for k, name in enumerate(CLASSES):
        for n, path in enumerate(sorted((data / name).iterdir())):
            part = "test" if n % 4 == 0 and k < 2 else "train"
            rows.append(f"{path.relative_to(data)},F{k % 2},s{k},{part},v{k}-{n // 4}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows))
    config.data.source, config.data.table = "csv_table", str(table)
    config.data.groups = "visit"
    said = tiny_birds.run("prepare", config)
    assert "groups: 12, the largest has 4 images (v0-0)" in said
    told = (
        "of 12 groups 6 are divided by the splits, so tests see what was trained on: "
        "v0-0 (3 train, 1 test); v0-1 (3 train, 1 test)"
    )
    # val is carved out of train, in whole groups as far as the official split allows
    assert told in said.replace("3 val, 1 test", "3 train, 1 test")
    assert "; and 1 more" in said
    assert "wanted:" not in said
    records = sources.load(config.data).records
    split = make_split(records, config)
    assert set(split.test) == {r.example_id for r in records if r.split == "test"}
    with caplog.at_level(logging.WARNING, logger="absl"):
        group_report.report(records, split, config)
    assert "6 are divided by the splits" in caplog.text


def test_near_copies_stay_together_on_request(own):
    config, data = own
    for name in CLASSES[:3]:
        with Image.open(data / name / "00.jpg") as image:
            image.convert("RGB").save(data / name / "00 small.jpg", quality=60)
    config.data.groups = ""
    records = sources.load(config.data).records
    pairs = {r.example_id: r.example_id[:5] for r in records if "/00" in r.example_id}
    pairs = {one: group for one, group in pairs.items() if group != CLASSES[3][:5]}
    config.data.near_copies = "together"
    for seed in range(4):
        config.seed = seed
        assert make_split(records, config).divided(pairs) == {}
    config.data.near_copies = "apart"
    divided = set()
    for seed in range(8):
        config.seed = seed
        split = make_split(records, config)
        divided |= split.divided(pairs).keys()
        # Without groups the split is that of before there were any.
        assert split == splits.split_records(records, seed, config.data.fractions)
    assert divided
    config.data.near_copies = "yes"
    with pytest.raises(UserError, match="use one of apart, together"):
        make_split(records, config)
