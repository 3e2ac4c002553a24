"""--mode=cam --search: a network with a right layer and a wrong one, and real runs."""

import json
import logging
import shutil

import keras
import numpy as np
import pytest
import tiny_birds
from absl import flags
from absl.testing import flagsaver
from PIL import Image
from tiny_networks import imported, lineages

from hiercam_keras import cli, tables
from hiercam_keras.errors import UserError
from hiercam_keras.modes import search as modes_search
from hiercam_keras.modes import search_measure, search_tables
from hiercam_keras.modes.settings import Settings

SIDE, SPECIES, EACH = 48, 12, 2
HALVES = {"data.fractions": (0, 0.5, 0.5)}
WHOLE = {"data.fractions": (0, 1, 0)}
PLANTED = {
    "search.layers": ("wrong", "right"),
    "search.methods": ("gradcam", "hirescam", "layercam", "center_gaussian"),
    "search.faithfulness_images": 4,
    "faithfulness.steps": 2,
    "faithfulness.insertion_fill": "mean",  # a blurred square is red as well
}


def network():
    """Red is marked in its place by the layer "right", and in the mirrored place by the
    layer "wrong". A picture of its mean color has none. The average of the marks is the
    only evidence, so Grad-CAM and HiResCAM agree."""
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.AveragePooling2D(8)(x)
    right = keras.layers.Conv2D(1, 1, activation="relu", name="right")(x)
    turned = keras.ops.flip(right, axis=2)
    wrong = keras.layers.Activation("relu", name="wrong")(turned)
    x = keras.layers.GlobalAveragePooling2D()(wrong)
    model = keras.Model(image, keras.layers.Dense(SPECIES, name="head")(x))
    kernel = np.array([1.0, -0.9, -0.3]).reshape(1, 1, 3, 1)
    model.get_layer("right").set_weights([kernel, np.full(1, -0.1)])
    slope = np.linspace(20, 200, SPECIES)[None]
    model.get_layer("head").set_weights([slope, -0.03 * slope[0]])
    return model


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Photographs of a red square in the left half, with its box: two a species."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    lines = ["example_id,x0,y0,x1,y1"]
    for species in range(SPECIES):
        taxa = f"Animalia_Chordata_Aves_O_F{species % 3}_G{species}_e{species}"
        name = f"{species:05d}_{taxa}"
        (folder / "images" / name).mkdir(parents=True)
        for number in range(EACH):
            pixels = rng.integers(60, 80, (SIDE, SIDE, 3)).astype(np.uint8)
            x, y = 8 * rng.integers(0, 2), 8 * rng.integers(0, 5)
            pixels[y : y + 16, x : x + 16, 0] = 250
            example_id = f"{name}/{number}.png"
            Image.fromarray(pixels).save(folder / "images" / example_id)
            lines.append(f"{example_id},{x},{y},{x + 16},{y + 16}")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder / "images"


@pytest.fixture(scope="module")
def planted(tmp_path_factory, squares, tiny_backbone):
    """The config and the run folder of the imported network."""
    folder = tmp_path_factory.mktemp("planted")
    config = tiny_birds.make_config(folder, folder / "none")
    config.data.source = "image_folder"
    config.data.root = ""
    return config, imported(config, folder / "net", network(), lineages(squares))


def search(planted, squares, out=None, split="val", **fields):
    config, run = planted
    flags = {"workdir": str(run), "data_dir": str(squares), "split": split}
    flags |= {"search": True} | ({"out": str(out)} if out else {})
    fields = {**PLANTED, **fields}
    return tiny_birds.run("cam", config, fields=fields, **flags)


def test_the_right_layer_is_chosen_and_ties_are_named(planted, squares):
    said = search(planted, squares, **WHOLE)
    folder = planted[1] / "search" / "val" / "species"
    rows = tables.read_csv(folder / "search.csv")
    layers = dict(zip(rows["place"], rows["layer"], strict=True))
    assert [layers[place] for place in "123456"] == ["right"] * 3 + ["wrong"] * 3
    assert rows["method"][:2] == ["gradcam", "hirescam"]  # in the order asked for
    assert rows["best"] == ["1"] * 3 + ["0"] * 4
    lifts = np.array(rows["lift"], float)
    assert (lifts[:3] > 3).all() and (lifts[3:6] < 0.4).all()
    assert rows["lift_groups"] == ["12"] * 7 and rows["lift_images"] == ["24"] * 7
    assert all(float(p) < 0.05 for p in rows["p_holm"][3:6])
    assert rows["method"][6] == "center_gaussian" and rows["p_holm"][6] == ""
    assert rows["excluded"][6] == "does not depend on the weights"
    assert "the best is gradcam at right, with no significant difference to" in said
    assert "hirescam at right, layercam at right." in said
    command = said.split("use it: ")[1].split("\n")[0]
    assert command == (
        f"--mode=cam --workdir={planted[1]} --data_dir={squares} --method=gradcam "
        "--config.cam.layer=right"
    )
    about = json.loads((folder / "search.json").read_text())
    assert about["measure"] == "lift" and about["pictures"] == 24
    name = {"name": "gradcam at right"}
    assert about["chosen"] == name | {"method": "gradcam", "layer": "right"}
    assert [one["method"] for one in about["best"]] == ["gradcam", "hirescam",
                                                        "layercam"]  # fmt: skip
    assert (folder / "search.png").stat().st_size > 1000


def test_without_boxes_insertion_and_deletion_decide(planted, squares, tmp_path):
    """The network answers by red alone: maps of the right layer find it first."""
    bare = tmp_path / "images"
    shutil.copytree(squares, bare)
    more = {"search.faithfulness_images": -1, "faithfulness.steps": 4}
    said = search(planted, bare, tmp_path / "out", **WHOLE, **more)
    rows = tables.read_csv(tmp_path / "out" / "search.csv")
    assert "ranked by insertion minus deletion, as too few birds have boxes" in said
    assert rows["layer"][:3] == ["right"] * 3 and rows["best"][:4] == [*"1110"]
    assert rows["lift"] == [""] * 7
    assert float(rows["insertion_minus_deletion"][0]) > 0.3
    assert rows["insertion_minus_deletion_images"][:6] == ["24"] * 6


def test_the_choice_is_measured_on_test_afterwards(planted, squares, tmp_path):
    said = search(planted, squares, tmp_path, **HALVES, **{"search.report": "test"})
    about = json.loads((tmp_path / "search.json").read_text())["test"]
    assert about["images"] == 12 and about["regret"]["value"] >= 0
    assert about["regret"]["low"] >= 0 and about["regret"]["groups"] == 12
    assert about["best"]["layer"] == "right"
    assert about["own"]["name"] == "gradcam at wrong"
    assert about["gain"]["low"] > 1 and about["gain"]["p"] < 0.01
    rows = tables.read_csv(tmp_path / "report_test.csv")
    assert len(rows["method"]) == 6 and "center_gaussian" not in rows["method"]
    assert "on 12 test images: gradcam at right has" in said


def test_a_second_call_goes_on_where_the_first_was_stopped(
    planted, squares, tmp_path, monkeypatch
):
    fields = WHOLE | {"search.methods": (*PLANTED["search.methods"], "saliency")}
    whole = tmp_path / "whole"
    search(planted, squares, whole, **fields)
    inner, seen = search_measure.measure_batch, []

    def stopped_at(count):
        def measure(score, images, cams, ids, choices):
            if len(seen) == count:
                raise KeyboardInterrupt
            seen.append(cams)
            return inner(score, images, cams, ids, choices)

        return measure

    part = tmp_path / "part"
    monkeypatch.setattr(search_measure, "measure_batch", stopped_at(3))
    with pytest.raises(KeyboardInterrupt):
        search(planted, squares, part, **fields)
    assert len(list((part / "pieces").iterdir())) == 3
    assert not (part / "search.csv").exists() and not (part / "run.lock").exists()
    seen.clear()
    monkeypatch.setattr(search_measure, "measure_batch", stopped_at(9))
    search(planted, squares, part, **fields)
    assert len(seen) == 5  # of eight
    assert (part / "search.csv").read_text() == (whole / "search.csv").read_text()
    assert "saliency,input," in (part / "search.csv").read_text()
    seen.clear()
    search(planted, squares, part, **fields)
    assert not seen


def test_other_boxes_are_measured_again(planted, squares, tmp_path):
    """What is kept depends on the boxes too."""
    copy = tmp_path / "images"
    shutil.copytree(squares, copy)
    shutil.copy(squares.parent / "boxes.csv", tmp_path)
    few = {"search.faithfulness_images": 0}
    few["search.methods"] = ("center_gaussian", "gradcam")
    search(planted, copy, tmp_path / "out", **WHOLE, **few)
    before = tables.read_csv(tmp_path / "out" / "search.csv")
    assert before["layer"] == ["right", "wrong", "wrong"]
    assert before["method"] == ["gradcam", "gradcam", "center_gaussian"]
    assert before["excluded"][2] and set(before["random_similarity"]) == {""}
    lines = (tmp_path / "boxes.csv").read_text().split("\n")
    turned = [lines[0]]
    for line in lines[1:-1]:
        name, x0, y0, x1, y1 = line.split(",")
        turned.append(f"{name},{SIDE - int(x1)},{y0},{SIDE - int(x0)},{y1}")
    (tmp_path / "boxes.csv").write_text("\n".join(turned) + "\n")
    search(planted, copy, tmp_path / "out", **WHOLE, **few)
    after = tables.read_csv(tmp_path / "out" / "search.csv")
    assert after["layer"] == ["wrong", "right", "wrong"]


def test_no_test_image_is_read(trained, image_folder, tmp_path, caplog):
    """They can be gone; and too few species give no claim."""
    run = trained.path("species")
    copy = tmp_path / "birds"
    shutil.copytree(image_folder.parent, copy)
    test = (run / "split" / "test.txt").read_text().split()
    for example_id in test:
        (copy / "images" / example_id).unlink()
    flags = {"workdir": str(run), "data_dir": str(copy / "images"), "search": True}
    few = {"search.methods": ("gradcam",), "search.faithfulness_images": 2}
    out = {"split": "val", "out": str(tmp_path / "out")}
    with caplog.at_level(logging.WARNING):
        said = tiny_birds.run("cam", trained.config, fields=few, **flags, **out)
    assert "cannot be found" not in caplog.text
    assert "too few species to say (n = 8) which is best" in said
    rows = tables.read_csv(tmp_path / "out" / "search.csv")
    assert sorted(rows["layer"]) == ["activation1", "activation2", "last_activation"]
    assert set(rows["lift_low"]) == {""} and rows["best"] == ["1"] * 3
    with pytest.raises(UserError, match="report=test: .* has no test images"):
        tiny_birds.run(
            "cam", trained.config, fields={**few, "search.report": "test"},
            **flags, **out,
        )  # fmt: skip


def test_paths_are_shown_by_their_last_name_where_it_is_unique():
    layers = ("net/a/top", "net/b/top", "net/b/mid:input", "low")
    found = search_measure.candidates_of(("gradcam", "saliency"), layers)
    short = search_tables._short({one.name: one for one in found})
    assert list(short.values()) == [
        "gradcam at net/a/top", "gradcam at net/b/top", "gradcam at mid:input",
        "gradcam at low", "saliency",
    ]  # fmt: skip


def test_what_is_refused(planted, squares, trained):
    with pytest.raises(UserError, match="never takes these.*fractions=.*for the choi"):
        search(planted, squares)
    with pytest.raises(UserError, match="may not be those of the test split"):
        search(planted, squares, split="test", **HALVES)
    with pytest.raises(UserError, match="which images it was trained on is not known"):
        search(planted, squares, split="train", **HALVES)
    with pytest.raises(UserError, match="search.report='val', expected test"):
        search(planted, squares, **HALVES, **{"search.report": "val"})
    with pytest.raises(UserError, match="search.images=0, expected 1 or more"):
        search(planted, squares, **HALVES, **{"search.images": 0})
    with pytest.raises(UserError, match="unknown method 'gradcan'"):
        search(planted, squares, **HALVES, **{"search.methods": ("gradcan",)})
    with pytest.raises(UserError, match="the model has no layer 'lost'"):
        search(planted, squares, **HALVES, **{"search.layers": ("lost",)})


def test_the_split_of_a_search_is_val_unless_it_is_given():
    assert cli.FLAGS is flags.FLAGS  # which it defines

    @flagsaver.flagsaver()
    def settings(*words):
        flags.FLAGS(["main.py", "--config=synthetic_birds", "--mode=cam", *words])
        return Settings.from_flags(flags.FLAGS, False)

    assert settings("--search").split == "val"
    assert settings("--search", "--split=test").split == "test"
    assert settings().split == "test"
    with pytest.raises(UserError, match="--num_overlays has no effect with --search"):
        settings("--search", "--num_overlays=3")


def test_the_command_to_use_the_choice_asks_the_same(config):
    """The layer was chosen on crops, and among the allowed taxa."""
    fields = {"detections.file": "/md.json", "detections.margin": 0.2}
    asked = {"allowed_taxa": "Ardea, Pica", "target_rank": "genus", "search": True}
    settings = Settings(mode="cam", config=config, overrides=fields, **asked)
    assert modes_search._flags(settings) == (
        "--target_rank=genus",
        "--allowed_taxa=Ardea, Pica",
        "--detections=/md.json",
        "--config.detections.margin=0.2",
    )
