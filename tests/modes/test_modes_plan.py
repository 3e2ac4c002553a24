"""Taxa of a plan without images, and the mode from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_birds
from ml_collections import FrozenConfigDict

from hiercam_keras import config_files, workdir
from hiercam_keras.errors import UserError
from hiercam_keras.modes import plan, plan_data
from hiercam_keras.modes.settings import Settings
from hiercam_keras.plan.devices import device

ROOT = Path(__file__).parents[2]


def settings(name="default", rank=("species",), fields=None, **flags):
    config = config_files.load(name)
    config.update_from_flattened_dict(fields or {})
    return Settings(mode="plan", config=FrozenConfigDict(config), rank=rank, **flags)


def test_a_tree_of_numbers_has_so_many_taxa():
    tree = plan_data.made_up("order:3,family:7,species:11", ("species",))
    assert [tree.num_labels(rank) for rank in tree.ranks] == [3, 7, 11]
    assert plan_data.made_up("5", ("family",)).num_labels("family") == 5


@pytest.mark.parametrize(
    "classes", ["", "many", "family:9,species:4", "5,6", "a:2,a:3", "species:0"]
)
def test_other_numbers_are_refused(classes):
    with pytest.raises(UserError, match="--classes"):
        plan_data.made_up(classes, ("species",))


@pytest.mark.parametrize("ranks", [("all",), ("family", "species")])
def test_one_number_is_of_one_rank(ranks):
    with pytest.raises(UserError, match="of the rank that --rank names, or of each"):
        plan_data.made_up("5", ranks)


def test_all_ranks_of_numbers_are_those_with_more_than_one_taxon():
    fields = {"classes": "order:1,family:3,species:7", "num_images": 9}
    found = plan_data.data_of(settings(rank=("all",), **fields))
    assert found.num_labels == {"family": 3, "species": 7}
    with pytest.raises(UserError, match="names all and other ranks"):
        plan_data.data_of(settings(rank=("all", "species"), **fields))


def test_the_birds_of_inat_are_known_without_their_images():
    found = plan_data.data_of(settings("inat2021_birds"))
    assert found.num_labels == {"species": 1486}
    assert found.images == round(74_300 * 0.78)
    found = plan_data.data_of(settings("inat2021_birds", num_images=400_000))
    assert found.images == 400_000 and "--num_images" in found.source
    asked = settings("inat2021_birds", rank=("all",))
    assert list(plan_data.data_of(asked).num_labels)[-3:] == [
        *("family", "genus", "species")
    ]


def test_procedural_birds_need_not_be_drawn(tmp_path):
    fields = {"data.root": str(tmp_path / "none")}
    found = plan_data.data_of(settings("synthetic_birds", ("family",), fields))
    assert found.num_labels == {"family": 8} and not (tmp_path / "none").exists()
    assert found.images == round(48 * 60 * 0.78)


def test_images_that_are_there_are_split_as_for_a_training(tmp_path):
    config = tiny_birds.make_config(tmp_path, tmp_path / "birds")
    asked = Settings(mode="plan", config=FrozenConfigDict(config), rank=("species",))
    drawn = plan_data.data_of(asked)
    from hiercam_keras.data.sources import synthetic_source

    synthetic_source.ensure(tmp_path / "birds", config.data.synthetic)
    found = plan_data.data_of(asked)
    assert found.num_labels == drawn.num_labels == {"species": 8}
    assert found.images == drawn.images and "images in" in found.source


def test_images_that_are_not_there_need_numbers():
    with pytest.raises(UserError, match="--data_dir, or numbers with --classes"):
        plan_data.data_of(settings())
    with pytest.raises(UserError, match="--num_images"):
        plan_data.data_of(settings(classes="12"))
    found = plan_data.data_of(settings(classes="12", num_images=100))
    assert (found.num_labels, found.images) == ({"species": 12}, 100)


def test_weights_of_losses_are_part_of_the_program():
    data = plan_data.data_of(settings(classes="12", num_images=100))
    for kind, weighted in (("none", False), ("sqrt", True)):
        asked = settings(fields={"train.class_weights": kind})
        assert plan.recipe_of(asked, data, 3).has_weights is weighted
    asked = settings(fields={"train.class_weights": "heavy"})
    with pytest.raises(UserError, match="class_weights is 'heavy': use one of none"):
        plan.recipe_of(asked, data, 3)


def test_the_chips_share_a_batch_evenly():
    eight = device("tpu:v6e-8")
    assert plan._shared(30, eight) == 32
    assert plan._shared(100, eight, images=70) == 64
    with pytest.raises(UserError, match="cannot share 7 images"):
        plan._shared(32, eight, images=7)


def call(*flags, home, **more):
    return subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--mode=plan", *flags],
        cwd=home,
        env={**os.environ, "XDG_CACHE_HOME": str(home / "cache"), **more},
        capture_output=True,
        text=True,
    )


def test_the_device_is_named_and_no_search_is_understood(tmp_path):
    done = call("--no-search", "--device=gpu:h1000", home=tmp_path)
    assert done.returncode == 1
    assert "gpu:h100, gpu:h200" in done.stderr.splitlines()[-1]
    done = call("--nosearch", home=tmp_path)
    assert "needs --device" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_plan_for_the_cpu_is_printed_and_written(tmp_path):
    flags = [
        *("--device=cpu", "--rank=family", "--classes=family:3,species:7"),
        *("--num_images=64", "--out=here", "--no-search"),
        *("--config.model.backbone=small_mbconv:build", "--config.model.weights=none"),
        *("--config.model.output_stride=32", "--config.data.image_size=32"),
    ]
    paths = os.pathsep.join(filter(None, sys.path))
    done = call(*flags, home=tmp_path, PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr
    assert "train with 32 images fits." in done.stdout
    assert "Nothing was run" in done.stdout
    said = workdir.read_json(tmp_path / "here" / "plan.json")
    assert said["ran"] is False and said["images"] == 64
    assert said["programs"].keys() == {"train", "eval", "cam"}
    assert json.dumps(said)
