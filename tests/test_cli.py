"""The default experiment without --config."""

import pytest

from hiercam_keras import cli, config_files
from hiercam_keras.data import sources


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "synthetic_birds"),
        (["--mode=train", "--rank=family"], "synthetic_birds"),
        (["--config.data.root=elsewhere"], "synthetic_birds"),
        (["--config.data.source=synthetic_birds"], "synthetic_birds"),
        (["--mode=train", "--data_dir=photos"], "photos"),
        (["--data_dir", "photos"], "photos"),
        (["-data_dir=photos"], "photos"),
        (["--config.data.table=a.csv"], "photos"),
        (["--config.data.source=csv_table", "--config.data.root=a"], "photos"),
        (["--data_dir=photos", "--config=synthetic_birds"], None),
        (["--data_dir=photos", "--config", "gpu"], None),
    ],
)
def test_photographs_have_a_recipe_of_their_own(argv, name):
    assert cli.default_config(["hiercam", *argv]) == name


def test_the_recipe_for_photographs():
    config = config_files.load("photos")
    assert (config.model.backbone, config.model.weights) == ("efficientnet_b0", "auto")
    assert (config.data.image_size, config.model.output_stride) == (224, 32)
    assert config.augment == config_files.load("default").augment  # of photographs


@pytest.mark.parametrize("kind", ["folders", "table", "field"])
def test_a_table_is_told_from_class_folders(tmp_path, kind):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), "red").save(tmp_path / name / "x.png")
    table = tmp_path / "list.csv"
    table.write_text("path,colour\na/x.png,red\nb/x.png,blue\n")
    config = config_files.load("photos")
    place = str(tmp_path / "list.csv" if kind == "table" else tmp_path)
    if kind == "field":
        config.data.table = str(table)
    found = sources.load(config.data, place, cache_dir=tmp_path / "cache")
    rank = "label" if kind == "folders" else "colour"
    assert {record.lineage.ranks for record in found.records} == {(rank,)}
