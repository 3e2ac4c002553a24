"""Folders with plain names through the modes, and trees that are checked before."""

import logging
import shutil

import numpy as np
import pytest
import tiny_birds
from PIL import Image

from hiercam_keras.errors import UserError

COLORS = {"ALBATROSS": (200, 30, 30), "CROW": (30, 30, 200)}


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """train, valid and test with two classes; 8, 2 and 2 images of each."""
    root = tmp_path_factory.mktemp("plain") / "birds"
    rng = np.random.default_rng(0)
    for part, number in (("train", 8), ("valid", 2), ("test", 2)):
        for name, color in COLORS.items():
            (root / part / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(90, 110, (56, 64, 3)).astype(np.uint8)
                pixels[20:40, 16:48] = color
                Image.fromarray(pixels).save(root / part / name / f"{i}.jpg")
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory, birds):
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_birds.make_config(folder, folder / "not there")
    config.data.source = "image_folder"
    config.data.root = ""
    config.train.epochs = 1
    return config


def test_the_single_rank_is_the_default_of_all_modes(config, birds, caplog):
    with caplog.at_level(logging.INFO, logger="absl"):
        said = tiny_birds.run("train", config, data_dir=str(birds))
    assert "/label/seed0/model.keras" in said
    assert "the data have one rank, which is used: --rank=label" in caplog.text
    text = tiny_birds.run("prepare", config, data_dir=str(birds))
    assert "2 at label" in text and "16 train, 4 val, 4 test" in text
    assert "label" in tiny_birds.run("eval", config)
    assert tiny_birds.run("cam", config).startswith("4 maps of the test split")
    for mode, flags in (
        ("eval", {"rank": ("family",), "chosen_rank": True}),
        ("compare", {}),
    ):
        with pytest.raises(
            UserError, match="one rank, label, and none called"
        ) as error:
            tiny_birds.run(mode, config, **flags)
        assert ("Use --rank=label" in str(error.value)) is (mode == "eval")
        # compare takes no --rank, and two ranks at least
        assert ("with --runs=" in str(error.value)) is (mode == "compare")


def test_another_rank_is_an_error_that_names_the_one_there_is(config, birds):
    with pytest.raises(UserError, match="have one rank, label. Use --rank=label, or"):
        tiny_birds.run(
            "train", config, data_dir=str(birds), rank=("family",), chosen_rank=True
        )


def test_one_class_in_two_spellings_is_an_error_of_prepare_and_train(
    config, birds, tmp_path
):
    root = tmp_path / "birds"
    shutil.copytree(birds, root)
    (root / "test" / "CROW").rename(root / "test" / "Crow")
    for mode in ("prepare", "train"):
        with pytest.raises(UserError, match="label is spelled 'CROW' and 'Crow'"):
            tiny_birds.run(mode, config, data_dir=str(root))
    keep = {"data.homonyms": "keep"}
    text = tiny_birds.run("prepare", config, data_dir=str(root), fields=keep)
    assert "3 at label" in text


def test_one_species_in_two_classes_of_a_table(config, birds, tmp_path, caplog):
    table = birds / "t.csv"
    lines = ["path,class,genus,species,place"]
    for i in range(8):
        kind = ("Aves", "Reptilia")[i % 2]
        lines.append(f"train/CROW/{i}.jpg,{kind},Corvus,Corvus cornix,p{i // 4}")
    table.write_text("\n".join(lines))
    fields = {"data.source": "csv_table"}
    try:
        for mode in ("prepare", "train"):
            with pytest.raises(UserError, match="species 'Corvus cornix' is in Aves/"):
                tiny_birds.run(mode, config, data_dir=str(table), fields=fields)
        fields["data.homonyms"] = "keep"
        with caplog.at_level(logging.INFO, logger="absl"):
            text = tiny_birds.run("prepare", config, data_dir=str(table), fields=fields)
    finally:
        table.unlink()
    assert "2 at class, 2 at genus, 2 at species" in text
    assert "ranks, coarse to fine: class, genus, species" in caplog.text
    assert (
        "not taken as ranks: place (its values cross those of species)" in caplog.text
    )
    assert "--config.data.ranks=\"('class','genus','species','place')\"" in caplog.text
