"""Presets of keras-hub through the modes: imported, and trained with heads of ours."""

import json
import shutil

import hub_presets
import numpy as np
import pytest
import tiny_birds
from hub_presets import SIDE
from PIL import Image

import hiercam_keras as hc
from hiercam_keras.errors import UserError
from hiercam_keras.models import files
from hiercam_keras.models.layers import named_variables

pytest.importorskip(
    "keras_hub", reason="install requirements-keras-hub.txt to read its presets"
)
pytestmark = pytest.mark.filterwarnings("ignore:.*destroy the mask information")
COLORS = {"ALBATROSS": (230, 20, 20), "CROW": (20, 20, 230)}
CELL = 8  # px of a patch


def planted(rng, color):
    """A picture of gray noise with one patch of a color; its row and column."""
    pixels = rng.integers(110, 140, (SIDE, SIDE, 3)).astype(np.uint8)
    row, column = rng.integers(0, SIDE // CELL, 2)
    top, left = row * CELL, column * CELL
    pixels[top : top + CELL, left : left + CELL] = color
    return pixels, (row, column)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train, valid and test of two classes that differ in the color of a patch."""
    root = tmp_path_factory.mktemp("planted") / "patches"
    rng = np.random.default_rng(0)
    for part, number in (("train", 16), ("valid", 2), ("test", 4)):
        for name, color in COLORS.items():
            (root / part / name).mkdir(parents=True)
            for i in range(number):
                pixels, _ = planted(rng, color)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    root = tmp_path_factory.mktemp("presets")
    return {
        name: hub_presets.save_backbone(name, root / name) for name in ("vit", "dinov2")
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory, folder):
    config = tiny_birds.make_config(tmp_path_factory.mktemp("runs"), folder)
    config.data.source = "image_folder"
    config.data.root = str(folder)
    config.model.weights = "imagenet"  # the default of the program
    config.augment = {
        name: 0.0 if isinstance(value, float) else value
        for name, value in config.augment.items()
    }
    config.train.update(epochs=1, keep_best=False, schedule="constant")
    config.train.warmup_epochs = 0.0
    return config


def trained(config, workdir, preset, **fields):
    fields = {"model.backbone": preset} | fields
    tiny_birds.run(
        "train", config, rank=("label",), workdir=str(workdir), fields=fields
    )
    return files.load_model(workdir / "model.keras", "none")[0]


def backbone_weights(model):
    found = named_variables(model)
    return {k: np.asarray(v) for k, v in found.items() if k.startswith("backbone/")}


def unequal(one, other):
    return [name for name in one if not np.array_equal(one[name], other[name])]


@pytest.fixture(scope="module")
def frozen(config, presets, tmp_path_factory):
    """A linear head on frozen features, after two steps."""
    workdir = tmp_path_factory.mktemp("frozen") / "run"
    fields = {"train.freeze_through": "backbone"}
    trained(config, workdir, presets["vit"], **fields)
    return workdir


def test_a_classifier_is_imported_and_asked(config, folder, tmp_path):
    name, net = hub_presets.save_classifier("vit", tmp_path / "net", num_classes=2)
    labels = tmp_path / "labels.csv"
    labels.write_text("label\nALBATROSS\nCROW\n")
    run = tmp_path / "run"
    said = tiny_birds.run(
        "import", config, model=name, labels=str(labels), workdir=str(run)
    )
    assert "2 of 2 outputs have a lineage" in said and f"images of {SIDE} px" in said
    assert "transformer_block_2:input" in said
    shutil.rmtree(tmp_path / "net")  # the run needs the preset no more
    record = json.loads((run / "config.json").read_text())["imported"]
    assert record["model"] == record["source"]["name"] == name
    images = hub_presets.pictures()
    logits = hc.load_run(run).network.explainer()(images).logits
    np.testing.assert_allclose(logits, net.predict(images, verbose=0), atol=1e-5)
    for mode in ("predict", "eval", "cam"):
        tiny_birds.run(mode, config, workdir=str(run), data_dir=str(folder / "test"))
    assert (run / "predict" / "test.csv").exists()


def test_without_labels_and_without_a_head(config, presets, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("species\na\nb\n")
    with pytest.raises(UserError, match="backbone without a head.*--mode=train"):
        tiny_birds.run("import", config, model=presets["dinov2"], labels=str(labels))
    name, _ = hub_presets.save_classifier("vit", tmp_path / "net")
    with pytest.raises(UserError, match="needs --labels"):
        tiny_birds.run("import", config, model=name)


def test_a_frozen_backbone_keeps_its_bits(frozen, presets):
    model, _ = files.load_model(frozen / "model.keras", "none")
    before = {
        f"backbone/{name}": np.asarray(value)
        for name, value in named_variables(hub_presets.backbone("vit")).items()
    }
    after = backbone_weights(model)
    assert before.keys() == after.keys() and not unequal(before, after)
    record = json.loads((frozen / "config.json").read_text())
    assert record["config"]["model"]["backbone"] == presets["vit"]
    assert record["weights"] == "preset" and "keras-hub" in record["versions"]


@pytest.mark.slow
def test_fine_tuning_that_is_resumed_gives_the_same_bits(config, presets, tmp_path):
    name = presets["dinov2"]
    start = backbone_weights(_untrained(config, name))
    one = trained(config, tmp_path / "parts", name)
    changed = unequal(start, backbone_weights(one))
    assert any("embed" in path for path in changed) and len(changed) > len(start) // 2
    fields = {"model.backbone": name, "train.epochs": 2}
    tiny_birds.run(
        "train",
        config,
        rank=("label",),
        workdir=str(tmp_path / "parts"),
        fields=fields,
        resume=True,
    )
    parts, _ = files.load_model(tmp_path / "parts" / "model.keras", "none")
    whole = trained(config, tmp_path / "whole", name, **{"train.epochs": 2})
    assert not unequal(named_variables(whole), named_variables(parts))
    assert unequal(backbone_weights(one), backbone_weights(whole))


def _untrained(config, name):
    from hiercam_keras.modes import train

    config = config.copy_and_resolve_references()
    config.model.backbone = name
    return train.build(config, {"label": 2}, weights="preset")


@pytest.mark.slow
def test_every_mode_asks_a_run_and_needs_the_preset_no_more(frozen, config, tmp_path):
    said = tiny_birds.run("cam", config, workdir=str(frozen))
    assert said.startswith("8 maps of the test split")
    tiny_birds.run("eval", config, workdir=str(frozen))
    name = hub_presets.save_backbone("swin", tmp_path / "preset")
    other = tmp_path / "swin"
    trained(config, other, name, **{"train.freeze_through": "backbone"})
    shutil.rmtree(tmp_path / "preset")
    tiny_birds.run(
        "compare", config, runs=(str(frozen), str(other)), out=str(tmp_path / "out")
    )
    assert (tmp_path / "out" / "index.html").exists()


@pytest.mark.slow
def test_maps_of_a_trained_run_find_the_planted_patch(config, presets, tmp_path):
    fields = {"train.epochs": 12, "train.learning_rate": 3e-3}
    trained(config, tmp_path / "run", presets["vit"], **fields)
    run = hc.load_run(tmp_path / "run")
    rng = np.random.default_rng(5)
    drawn = [planted(rng, color) for color in list(COLORS.values()) * 12]
    images = np.stack([pixels for pixels, _ in drawn])
    labels = np.tile([0, 1], 12)
    found = run.explainer()(images, labels)
    assert run.layer.endswith(":input") and found.cams.shape == (24, 1, 6, 6)
    assert (found.logits.argmax(1) == labels).mean() > 0.9
    hits = []
    for cam, (_, place) in zip(found.cams[:, 0], drawn, strict=True):
        # The sign is that of the mean gradient, which is of the other 35 patches.
        apart = np.abs(cam - np.median(cam))
        hits.append(np.unravel_index(apart.argmax(), cam.shape) == place)
    assert np.mean(hits) > 0.8  # 1/36 by chance
