"""The granularity sweep on drawn birds and on data in the real formats."""

import csv
import hashlib
import importlib.util
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tiny_birds
from PIL import Image
from tiny_study import make_settings

from hiercam_keras import tables
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.question import Question
from hiercam_keras.experiments import (
    granularity,
    localization_counts,
    map_settings,
    runs,
    training_grid,
)
from hiercam_keras.metrics.localization import PixelCounts, pxap_of
from hiercam_keras.runs import network

QUESTION = Question("species", method="gradcam")
RANDOM = np.random.default_rng(0).normal(size=(64, 1, 6, 6)).astype(np.float32)


def read(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def explain(images, *_, **__):
    """An Explainer with constant maps."""
    return SimpleNamespace(cams=RANDOM[: len(images)])


@pytest.fixture
def opened(studied):
    """Settings and the images of the species model."""
    config, _ = studied
    settings = make_settings(config, "granularity")
    condition = next(iter(training_grid.conditions(settings)))
    spec = training_grid.make_spec(settings, ("species",), 0, condition)
    (run,) = runs.train_missing([spec], settings)
    return settings, map_settings.opened(run, settings, spec)


def test_without_ranks_models_are_trained_at_all_that_have_two_taxa(studied):
    """Also of procedural birds, of which no rank but theirs may be asked."""
    settings = make_settings(studied[0], "granularity")
    condition = next(iter(training_grid.conditions(settings)))
    found = granularity._trainable(settings, condition)
    assert found == ("order", "family", "genus", "species")


@pytest.mark.parametrize("target", ["true", "predicted"])
def test_the_sweep_is_that_of_localize(studied, opened, tmp_path, target):
    """Two modes that share neither counting code nor maps on disk agree."""
    config, _ = studied
    config = config.copy_and_resolve_references()
    config.sweep.target = target
    config.localize.size = 64
    settings = make_settings(config, "granularity", out=str(tmp_path))
    granularity.run(settings)
    rows = read(tmp_path / "granularity/granularity.csv")
    assert [row["trained at"] for row in rows] == ["family", "species"]
    assert f"for the {target} taxon" in (tmp_path / "GRANULARITY.md").read_text()
    tiny_birds.run(
        "localize",
        config,
        fields={"localize.resamples": 50, "localize.size": 64},
        workdir=str(opened[1].run.path),
        rank=("species",),
        chosen_rank=True,
        target=target,
        out=str(tmp_path / "localize"),
    )
    found = tables.read_csv(tmp_path / "localize/localization.csv")
    by_name = dict(zip(found["measure"], found["value"], strict=True))
    own = float(rows[1]["each seed"].split(",")[0])
    expected = float(by_name["MaxBoxAccV2 (oracle threshold)"])
    assert own == pytest.approx(expected, abs=6e-4)  # three digits
    (counted,) = {
        path
        for path in (opened[1].run.path / "looks").glob("boxes-test-*.npz")
        if pxap_of(
            localization_counts.columns(
                localization_counts.load(path, np.arange(1)), "pixels"
            ).sum(0, keepdims=True)
        )
        == pytest.approx(float(by_name["PxAP"]), abs=1e-5)
    }
    assert counted.is_file()


def test_one_missing_mask_costs_one_image_and_boxes_may_be_missing(opened):
    _, data = opened
    test = data.split.test
    changed = [
        replace(
            record, boxes=(), mask_path=None if record.example_id == test[0] else path
        )
        for record in data.source.records
        for path in [record.mask_path]
    ]
    data = replace(data, source=replace(data.source, records=tuple(changed)))
    found = localization_counts.count(explain, QUESTION, data, "test")
    assert found.images.sum() == 0 and found.masked.sum() == len(test) - 1
    assert (
        0
        < pxap_of(localization_counts.columns(found, "pixels").sum(0, keepdims=True))[0]
        < 1
    )
    assert np.isnan(localization_counts.whole_image_box(data, "test"))
    bare = tuple(replace(one, mask_path=None) for one in changed)
    data = replace(data, source=replace(data.source, records=bare))
    with pytest.raises(UserError, match="has a box or a mask"):
        localization_counts.count(explain, QUESTION, data, "test")


def write(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (folder / name).write_text(text)


def write_metadata(folder, data, form):
    """Lists in the form of iNatLoc500 (train without boxes, height first, x_min, x_max,
    y_min, y_max), or, with form "masks", as OpenImages30k: masks, no boxes."""
    records = {record.example_id: record for record in data.source.records}
    for role in ("train", "val", "test"):
        ids = getattr(data.split, role)
        place = folder / role
        write(place, "image_ids.txt", [[name] for name in ids])
        for rank in ("order", "family", "genus", "species"):
            labels = data.taxonomy.labels([records[n].lineage for n in ids], rank)
            rows = zip(ids, labels, strict=True)
            write(place, f"class_labels_{rank}.txt", rows)
        if role == "train":
            continue
        if form == "masks":
            rows = [(n, n.replace(".jpg", ".png"), "") for n in ids]
        else:
            rows = []
            for name in ids:
                x0, y0, x1, y1 = records[name].boxes[0]
                rows.append((name, x0, x1, y0, y1))
        write(place, "localization.txt", rows)
        sizes = [(n, records[n].height, records[n].width) for n in ids]
        write(place, "image_sizes.txt", sizes)
    return folder


def test_choe_lists_score_as_the_birds_own_boxes_and_masks(opened, tmp_path):
    _, data = opened
    own = localization_counts.count(explain, QUESTION, data, "test")
    config = data.config.copy_and_resolve_references()
    config.localize.metadata = str(write_metadata(tmp_path / "boxes", data, "boxes"))
    listed = replace(data, config=config)
    found = localization_counts.count(explain, QUESTION, listed, "test")
    np.testing.assert_array_equal(found.best, own.best)
    np.testing.assert_array_equal(found.images, own.images)
    assert found.masked.sum() == 0 and own.masked.sum() == len(data.split.test)
    config = config.copy_and_resolve_references()
    config.localize.metadata = str(write_metadata(tmp_path / "masks", data, "masks"))
    config.localize.images = str(Path(data.source.root).parent / "masks")
    if not Path(config.localize.images).is_dir():
        config.localize.images = str(Path(data.source.root) / "masks")
    listed = replace(data, config=config)
    found = localization_counts.count(explain, QUESTION, listed, "test")
    np.testing.assert_array_equal(found.inside, own.inside)
    np.testing.assert_array_equal(found.outside, own.outside)
    assert found.images.sum() == 0


def test_the_sweep_runs_on_a_data_set_in_the_format_of_choe(
    opened, tmp_path, in_this_process
):
    """The config of iNatLoc500 with a tiny network and few pictures."""
    from configs import inatloc500

    _, data = opened
    images = tmp_path / "images"
    for record in data.source.records:
        (images / record.example_id).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.path, images / record.example_id)
    config = inatloc500.get_config()
    tiny = tiny_birds.make_config(tmp_path, tmp_path)
    config.runs_dir = tiny.runs_dir
    config.data.choe.metadata = str(write_metadata(tmp_path / "lists", data, "boxes"))
    for name in ("image_size", "batch_size", "pipeline", "workers", "cache_dir"):
        config.data[name] = tiny.data[name]
    config.model.update({"backbone": "tiny", "weights": "none", "output_stride": 32})
    config.train.epochs = 1
    config.cam.batch_size = 8
    config.sweep.update({"ranks": ("family",), "seeds": (0,), "train_strides": (32,)})
    settings = make_settings(config, "granularity", data_dir=str(images))
    granularity.run(settings)
    (row,) = read(tmp_path / "runs/inatloc500/granularity/granularity.csv")
    assert 0 < float(row["MaxBoxAccV2"]) <= 1 and row["PxAP"] == ""
    assert (row["training stride"], row["map stride"]) == ("32", "32")
    assert row["thresholds from val"]


def test_the_sweep_runs_on_cub(tmp_path, in_this_process, monkeypatch):
    """TFDS' own builder on archives of CUB's form: boxes and masks, official splits."""
    from configs import cub200_2011
    from hiercam_keras.data.sources import tfds_cub200, tfds_prepared

    tfds = tfds_prepared.import_tfds()
    path = Path(__file__).parents[1] / "data" / "test_data_tfds_cub200.py"
    spec = importlib.util.spec_from_file_location("cub_archives", path)
    cub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cub)
    manual = tmp_path / "tfds" / "downloads" / "manual"
    cub.write_archives(manual)
    infos = {
        url: tfds.core.download.checksums.UrlInfo(
            size=tfds.core.utils.Size(len(data)),
            checksum=hashlib.sha256(data).hexdigest(),
            filename=name,
        )
        for name, url in cub.URLS.items()
        for data in [(manual / name).read_bytes()]
    }
    monkeypatch.setattr(tfds.builder_cls(tfds_cub200.NAME), "url_infos", infos)
    config = cub200_2011.get_config()
    tiny = tiny_birds.make_config(tmp_path, tmp_path / "tfds")
    config.runs_dir = tiny.runs_dir
    for name in ("root", "image_size", "pipeline", "workers", "cache_dir"):
        config.data[name] = tiny.data[name]
    config.data.batch_size = 2
    config.model.update({"backbone": "tiny", "weights": "none", "output_stride": 32})
    config.train.update({"epochs": 1, "warmup_epochs": 0.0})
    config.sweep.update({"ranks": ("order",), "seeds": (0,), "train_strides": (32,)})
    granularity.run(make_settings(config, "granularity"))
    (row,) = read(tmp_path / "runs/cub200_2011/granularity/granularity.csv")
    assert row["taxa"] == "3" and 0 <= float(row["MaxBoxAccV2"]) <= 1
    # The drawn square is 20 x 20 of about 68 x 44 pixels: a constant map has a seventh.
    assert 0.05 < float(row["PxAP"]) <= 1


def maps(image_size):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    return keras.Model(image, keras.layers.Conv2D(4, 3, 8, "same", name="mine")(x))


def strided(image_size, output_stride):
    image = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(4, 3, output_stride, "same", name="mine")(x)
    model = keras.Model(image, x)
    model.cam_layer = "mine"
    return model


@pytest.fixture
def own_network(monkeypatch, tiny, tmp_path):
    """The config, its network a function of the user's; and the module."""
    module = types.ModuleType("my_sweep_networks")
    module.maps, module.strided = maps, strided
    monkeypatch.setitem(sys.modules, "my_sweep_networks", module)
    config = tiny.copy_and_resolve_references()
    config.runs_dir = str(tmp_path / "runs")
    config.sweep.update({"ranks": ("family",), "seeds": (0,), "strides": ()})
    return config


def test_a_network_of_the_users_is_swept_at_the_strides_it_is_trained_at(
    own_network, in_this_process
):
    own_network.model.backbone = "my_sweep_networks:strided"
    own_network.sweep.train_strides = (32, 16)
    said = granularity.run(make_settings(own_network, "granularity"))
    folder = Path(own_network.runs_dir) / "mini"
    rows = read(folder / "granularity/granularity.csv")
    strides = [(row["training stride"], row["map stride"]) for row in rows]
    assert strides == [("32", "32"), ("16", "16")]
    assert "Family, trained at stride 16 against 32:" in said
    assert "models trained with larger maps" in (folder / "GRANULARITY.md").read_text()
    with Image.open(folder / "granularity" / "granularity.png") as image:
        assert min(image.size) > 100
    assert (folder.parent / "mini-h0-output_stride16/family/seed0/model.keras").exists()
    # Every other experiment uses the layer that the model file names, too.
    settings = make_settings(own_network)
    condition = next(iter(training_grid.conditions(settings)))
    spec = training_grid.make_spec(settings, ("family",), 0, condition)
    (run,) = runs.train_missing([spec], settings)
    assert network.default_layer(run) == "mine"
    (found,) = map_settings.measurements_at(
        spec, run, settings, kinds=("asked",), rank="family"
    )
    assert found.values["energy_on_object"].shape == (9, 1)


def test_unsupported_strides_are_refused_before_training(own_network, monkeypatch):
    monkeypatch.setattr(runs, "in_own_process", None)  # nothing may be trained
    own_network.model.backbone = "my_sweep_networks:maps"
    for fields in ({"train_strides": (32, 16)}, {"strides": (8,)}):
        config = own_network.copy_and_resolve_references()
        config.sweep.update(fields)
        with pytest.raises(UserError, match="has no parameter output_stride"):
            granularity.run(make_settings(config, "granularity"))
    assert granularity._plan(make_settings(own_network, "granularity")) == {32: (32,)}
    own_network.model.backbone = "efficientnet_b0"
    assert granularity._plan(make_settings(own_network, "granularity")) == {
        32: (32, 16)
    }
    own_network.sweep.strides = (12,)
    with pytest.raises(UserError, match="output_stride=12, expected one of"):
        granularity.run(make_settings(own_network, "granularity"))
    own_network.sweep.update({"strides": (), "target": "best"})
    with pytest.raises(UserError, match="sweep.target is 'best'"):
        granularity.run(make_settings(own_network, "granularity"))


def test_pixels_by_hand():
    """Two species of one image; PxAP is of the pooled histograms."""
    counts = PixelCounts([0.0, 0.5], num_groups=2)
    counts.add(np.array([[1.0, 0.6]]), np.array([[1, 0]]), 0)
    counts.add(np.array([[0.7, 0.2]]), np.array([[1, 0]]), 1)
    nothing = np.zeros((2, 3, 2), int), np.zeros(2, int)
    found = localization_counts.Found(
        *nothing, counts.inside, counts.outside, np.ones(2, int), np.arange(2)
    )
    assert pxap_of(localization_counts.columns(found, "pixels").sum(0, keepdims=True))[
        0
    ] == (pytest.approx(counts.pxap()))
