"""Networks from elsewhere: imported, and asked by every mode without training."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_birds
from ml_collections import FrozenConfigDict
from tiny_networks import (
    SIDE,
    asked,
    columns_of,
    families,
    imported,
    lineages,
    network,
    write_labels,
)

from hiercam_keras import tables
from hiercam_keras.cam import store
from hiercam_keras.errors import UserError
from hiercam_keras.models import named
from hiercam_keras.modes.comparison.questions import short_paths
from hiercam_keras.modes.settings import Settings
from hiercam_keras.runs import run_folder
from hiercam_keras.runs.network import Network
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy


def test_the_record_says_what_is_known_and_what_is_not(config, tmp_path, species):
    model = network(len(species))
    run = imported(config, tmp_path / "a", model, species)
    record = json.loads((run / "config.json").read_text())
    for name in ("seed", "split", "training_data", "data_dir"):
        assert record[name] is None
    assert record["config"]["seed"] is None and record["config"]["train"] is None
    about = record["imported"]
    assert about["layer"] == "conv2" and about["image_size"] == SIDE
    kept, file = (run / "model.keras").read_bytes(), tmp_path / "a" / "mine.keras"
    assert kept == file.read_bytes()
    assert not (run / "split").exists()


def test_a_permutation_of_the_outputs_changes_nothing(config, tmp_path, species, drawn):
    """The same weights with the outputs, and the rows of the table, in another order:
    all tables and maps are the same."""
    model = network(len(species))
    order = np.random.default_rng(0).permutation(len(species))
    other = keras.models.clone_model(model)
    *body, kernel, bias = model.get_weights()
    other.set_weights([*body, kernel[:, order], bias[order]])
    runs = [
        imported(config, tmp_path / "a", model, species),
        imported(config, tmp_path / "a", other, [species[i] for i in order], "other"),
    ]
    maps = []
    for run in runs:
        asked("eval", config, run, drawn)
        asked("predict", config, run, drawn)
        said = asked("cam", config, run, drawn)
        maps.append(store.open(said.rsplit(" ", 1)[1]))
    for name in ("cam", "label", "probability"):
        one, two = (found.column(name) for found in maps)
        np.testing.assert_allclose(one, two, atol=1e-6)
    for name in ("eval/test/predictions.csv", "eval/test/accuracy.csv",
                 "eval/test/calibration.csv", "predict/test.csv"):  # fmt: skip
        one, two = ((run / name).read_text() for run in runs)
        assert one == two and len(one.splitlines()) > 2, name


def test_every_mode_runs_on_an_imported_network(config, tmp_path, species, drawn):
    """cam, localize, guide and compare; of the second network one family of four is
    not known."""
    kinds = families(species)
    run = imported(config, tmp_path / "a", network(len(species)), species)
    two = imported(
        config, tmp_path / "a", network(3, "softmax", 1), kinds[:3], "two"
    )  # fmt: skip
    said = asked("cam", config, run, drawn)
    assert "80 maps of all images, 80 of them made now" in said
    photo = sorted(drawn.rglob("*.jpg"))[0]
    said = tiny_birds.run("cam", config, workdir=str(run), image=str(photo))
    assert (run / "cam" / f"{photo.stem}.png").exists() and "order" in said
    said = asked("localize", config, two, drawn, target="true")
    assert "60 maps of all images" in said
    assert "oracle: the threshold is the best one for the reported images" in said
    assert "center_gaussian: the same for a Gaussian in the middle" in said
    asked("guide", config, two, drawn)
    guide = (two / "guide" / "index.html").read_text()
    assert "the order of 80 and the family of 60" in guide and "unknown" in guide
    taxa = tables.read_csv(two / "guide" / "taxa.csv")
    of_family = [int(n) for n, r in zip(taxa["pictures"], taxa["rank"], strict=True)
                 if r == "family"]  # fmt: skip
    assert of_family == [20, 20, 20]
    out = tmp_path / "compared"
    tiny_birds.run(
        "compare", config, runs=(str(run), str(two)), data_dir=str(drawn),
        out=str(out),
    )  # fmt: skip
    numbers = tables.read_csv(out / "numbers.csv")
    lost = [i for i, cell in enumerate(numbers["correct"]) if cell == ""]
    assert {numbers["model"][i] for i in lost} == {"family"} and len(lost) == 20
    assert {numbers["true_label"][i] for i in lost} == {""}
    summary = tables.read_csv(out / "summary.csv")
    assert dict(zip(summary["model"], summary["pictures"], strict=True)) == {
        "species": "80", "family": "60", "species asked for family": "80",
    }  # fmt: skip
    assert summary["maps"] == ["80", "80", "80"]  # a map needs no known taxon
    page = (out / "index.html").read_text()
    assert "60 pictures of a family that it knows" in page and ">unknown<" in page
    assert "of 80 pictures of all images, in the order" in page
    assert "test split" not in page + guide and "accuracy over" in page


def test_compared_with_a_network_that_was_trained_here(
    config, trained, tmp_path, image_folder
):
    """The imported network is asked about the test images of the trained one."""
    species = lineages(image_folder)
    run = imported(config, tmp_path / "a", network(len(species)), species)
    out = tmp_path / "out"
    said = tiny_birds.run(
        "compare",
        trained.config,
        runs=(str(trained.path("species")), str(run)),
        out=str(out),
    )
    short = short_paths([trained.path("species"), run])
    assert all(f"species ({name})" in said for name in short.values())
    rows = tables.read_csv(out / "statistics.csv")
    assert "network" in rows["comparison"] and "seed" not in rows["comparison"]
    summary = tables.read_csv(out / "summary.csv")
    assert summary["pictures"] == ["9", "9"]
    by_run = dict(zip(summary["run"], summary["chance"], strict=True))
    assert by_run[str(run)] == "" and float(by_run[str(trained.path("species"))]) > 0
    page = (out / "index.html").read_text()
    assert f"unknown of {run}" in page and ">unknown<" in page


def test_a_layer_of_the_users_needs_its_module_each_time(
    config, tmp_path, species, drawn, new_process
):
    import user_networks

    inner = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.Conv2D(8, 3, 4, activation="relu")(inner)
    x = keras.layers.GlobalAveragePooling2D()(user_networks.Block(8)(maps))
    model = keras.Model(inner, keras.layers.Dense(len(species))(x))
    words = "is of the class user_networks.Block.*--config.model.modules=user_networks"
    with pytest.raises(UserError, match=words):
        imported(config, tmp_path / "a", model, species)
    given = config.copy_and_resolve_references()
    given.model.modules = ("user_networks",)
    Settings(mode="import", config=FrozenConfigDict(given)).use_modules()
    run = imported(config, tmp_path / "a", model, species)
    about = run_folder.read(run).record["imported"]
    assert about["modules"] == ["user_networks"]
    assert "tables:" in asked("eval", config, run, drawn)
    new_process.clear()
    with pytest.raises(UserError, match=words):  # the record imports nothing
        asked("eval", config, run, drawn)


def test_what_is_refused(config, tmp_path, species, drawn, monkeypatch):
    folder = tmp_path / "a"
    run = imported(config, folder, network(len(species)), species)

    def again(model="mine.keras", labels="mine.csv", mode="import", **more):
        flags = {"model": str(folder / model), "labels": str(folder / labels)}
        return tiny_birds.run(mode, config, **flags | {"workdir": str(run), **more})

    with pytest.raises(UserError, match="holds a run. Replace it with --overwrite"):
        again()
    monkeypatch.setattr(named, "load", lambda name: pytest.fail("the network is built"))
    with pytest.raises(UserError, match="holds a run. Replace it with --overwrite"):
        tiny_birds.run("import", config, model="efficientnet_lite0", workdir=str(run))
    default = Path(config.runs_dir) / "efficientnet_lite0" / "species" / "imported"
    shutil.copytree(run, default)
    with pytest.raises(UserError, match=f"{default} holds a run"):
        tiny_birds.run("import", config, model="efficientnet_lite0")
    (folder / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(
        UserError, match="net.h5: an HDF5 file .*which is not read.*Conv"
    ):
        again("net.h5", workdir=str(tmp_path / "b"))
    with pytest.raises(UserError, match="needs --model"):
        tiny_birds.run("import", config, workdir=str(run))
    with pytest.raises(UserError, match="needs --labels: a CSV table with one row"):
        tiny_birds.run("import", config, model=str(folder / "mine.keras"))
    write_labels(folder / "short.csv", species[1:])
    with pytest.raises(UserError, match="7"):
        again(labels="short.csv", workdir=str(tmp_path / "b"))
    assert not (tmp_path / "b").exists()  # nothing half made is left
    with pytest.raises(UserError, match="comes without images: name them with --data_"):
        tiny_birds.run("eval", config, workdir=str(run))
    with pytest.raises(UserError, match="which images it was trained on is not known"):
        asked("eval", config, run, drawn, split="train")
    with pytest.raises(UserError, match="the val split is empty: .*all images are tes"):
        asked("eval", config, run, drawn, split="val")
    with pytest.raises(UserError, match="imported network, which is not trained"):
        tiny_birds.run("train", config, workdir=str(run), resume=True)
    fields = {"model.activation": "sigmoid"}
    with pytest.raises(UserError, match="was imported with 'auto'.*import it again"):
        asked("eval", config, run, drawn, fields=fields)
    whole = (run / "model.keras").read_bytes()
    network(len(species), seed=9).save(run / "model.keras")
    with pytest.raises(UserError, match="is not the file that was imported"):
        asked("eval", config, run, drawn)
    with pytest.raises(UserError, match="own copy, which --overwrite would delete"):
        again(model=str(run / "model.keras"), overwrite=True)
    assert (run / "model.keras").exists()
    (run / "model.keras").write_bytes(whole)
    assert "wrote" in again(overwrite=True)


def test_it_is_found_by_its_name_and_asked_about_a_part(
    config, tmp_path, species, drawn
):
    """Without --workdir; and --config.data.fractions leaves some images for val."""
    network(len(species)).save(tmp_path / "net.keras")
    labels = write_labels(tmp_path / "net.csv", species)
    flags = {"model": str(tmp_path / "net.keras"), "labels": str(labels)}
    tiny_birds.run("import", config, **flags)
    run = Path(config.runs_dir) / "net" / "species" / "imported"
    assert (run / "labels.json").exists()
    fields = {"name": "net", "data.fractions": (0.2, 0.3, 0.5)}
    said = tiny_birds.run(
        "eval", config, rank=("species",), data_dir=str(drawn), fields=fields
    )
    assert str(run) in said
    calibrated = columns_of(run, "calibration.csv")
    assert "" not in calibrated["temperature"]  # of the validation images
    assert 0 < int(calibrated["images"][0]) < 80


def test_the_images_of_a_table(config, tmp_path, species, drawn):
    """--config.data.source=csv_table, of photographs with ranks that the network has
    not."""
    run = imported(config, tmp_path / "a", network(len(species)), species)
    photos = sorted(drawn.rglob("*.jpg"))[::20]
    rows = ["path,family,species"]
    for number, photo in enumerate(photos):
        one = parse_class_name(photo.parent.name)
        shutil.copy(photo, tmp_path / f"{number}.jpg")
        rows.append(f"{number}.jpg,{one.taxa[4]},{one.taxa[5]} {one.taxa[6]}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    fields = {"data.source": "csv_table", "data.table": str(tmp_path / "table.csv")}
    fields["data.root"] = ""
    tiny_birds.run("eval", config, workdir=str(run), fields=fields)
    found = columns_of(run, "predictions.csv")
    expected = [parse_class_name(photo.parent.name) for photo in photos]
    assert found["true_species"].tolist() == [
        f"{one.taxa[5]} {one.taxa[6]}" for one in expected
    ]
    # The network's tree says the order of a species, which the table does not.
    assert found["true_order"].tolist() == [one.taxa[3] for one in expected]


def test_pixels_are_asked_for_where_no_layer_shows_them(
    config, tmp_path, species, caplog
):
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(2, 3, 2, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    bare = keras.Model(image, keras.layers.Dense(2)(x))
    kinds = species[:2]
    imported(config, tmp_path / "a", bare, kinds)
    assert "say what it takes with --config.model.preprocessing=model|" in caplog.text
    caplog.clear()
    chosen = {"model.preprocessing": "model"}
    imported(config, tmp_path / "b", bare, kinds, **chosen)
    imported(config, tmp_path / "c", network(2), kinds)
    assert "model.preprocessing" not in caplog.text


def test_logits_of_a_training_are_never_taken_for_something_else(caplog):
    """Those of a network that has learned little may all be within 0 and 1."""
    taxonomy = Taxonomy([Lineage((name,), ("label",)) for name in "ab"])
    model = network(2)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([0 * kernel, 0 * bias + 0.4])
    trained = Network(model, taxonomy, ("label",), "conv2", 2)
    result = trained.explainer()(np.zeros((2, SIDE, SIDE, 3), np.uint8))
    np.testing.assert_allclose(result.logits, 0.4, atol=1e-6)
    assert "look like" not in caplog.text
