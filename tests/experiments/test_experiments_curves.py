"""Curves and the granularity sweep of the tiny network, on the runs of its study."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_study import make_settings

from hiercam_keras.errors import UserError
from hiercam_keras.experiments import (
    curves,
    granularity,
    localization_counts,
    measurements,
    runs,
)
from hiercam_keras.metrics.localization import box_accuracy


def read(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def curved(studied):
    """The page of curves, for which only the multi-rank models are trained."""
    from tiny_study import train_here

    config, out = studied
    trained = []

    def train(settings):
        trained.append("+".join(settings.rank))
        train_here(settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "in_own_process", train)
        curves.run(make_settings(config, "curves", out=str(out)))
    assert trained == ["family+species"]  # the config has one seed of it
    return out


def test_curves_compare_single_rolled_and_multi(curved):
    page = (curved / "CURVES.md").read_text()
    assert "![Learning curves](curves/curves.png)" in page
    assert "Seeds of the models with a head for each rank: 1." in page
    assert "2 seeds do not show how much trainings vary" in page
    for name in ("curves", "accuracy", "routes"):
        with Image.open(curved / "curves" / f"{name}.png") as image:
            assert min(image.size) > 200
    accuracy = {
        (row["model"], row["asked for"]): row
        for row in read(curved / "curves/accuracy.csv")
    }
    routes = {row["answers by"]: row for row in read(curved / "curves/routes.csv")}
    assert len(routes) == 4
    single = routes["a model of each rank"]
    rolled = routes["species model, rolled up"]
    multi = routes["one model, a head of each rank"]
    assert single["family"] == accuracy["family", "family"]["accuracy"]
    assert rolled["family"] == accuracy["species", "family (rolled up)"]["accuracy"]
    assert multi["family"] == accuracy["family+species", "family"]["accuracy"]
    assert float(rolled["all ranks right"]) <= float(rolled["species"])
    for row in routes.values():
        # Fewer species than an interval needs; their number is given.
        assert row["on one path low"] == "" and int(row["on one path groups"]) < 10
        assert 0 <= float(row["on one path"]) <= 1
        assert 1 <= float(row["height of mistakes"]) <= 4
    (gap,) = read(curved / "curves/gaps.csv")
    assert gap["first, second"] == "family at family, species at species"
    for name, key in (("accuracy", "accuracy"), ("kappa", "kappa"), ("bits", "bits")):
        own = [float(accuracy[rank, rank][name]) for rank in ("family", "species")]
        assert float(gap[key]) == pytest.approx(own[0] - own[1], abs=1e-6)
        assert gap[f"{key} low"] == gap[f"{key} high"] == ""
    shares = [
        float(accuracy[rank, rank]["bits"]) / float(accuracy[rank, rank]["most bits"])
        for rank in ("family", "species")
    ]
    assert float(gap["share of bits"]) == pytest.approx(shares[0] - shares[1], abs=1e-6)


@pytest.mark.slow
def test_variants_of_the_multi_rank_model_are_rows(studied, tmp_path):
    """With rows for models from other weights, too; a config of several heads also
    makes the single-rank models."""
    from tiny_study import train_here

    config, _ = studied
    config = config.copy_and_resolve_references()
    config.runs_dir = str(tmp_path / "runs")
    config.study.habitats = (0.0,)
    config.model.head_features = 4
    config.model.head_chain = "on"
    config.train.consistency = 1.0
    config.train.loss_weights = (0.5, 1.0)
    config.curves.seeds = config.curves.multi_seeds = (0,)
    config.curves.weights = ("none",)
    config.curves.multi_overrides = (
        ("train.hierarchical", "hxe"),
        (("train.consistency", 0.0), ("model.head_chain", "none")),
    )
    trained = []

    def train(settings):
        trained.append((settings.rank, settings.config.name))
        train_here(settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "in_own_process", train)
        said = curves.run(make_settings(config, "curves"))
    both = ("family", "species")
    assert trained == [
        (("family",), "mini-h0"),
        (("species",), "mini-h0"),
        (both, "mini-h0"),
        (both, "mini-h0-hierarchicalhxe"),
        (both, "mini-h0-consistency0.0-head_chainnone"),
    ]
    folder = tmp_path / "runs" / "mini"
    rows = [row["answers by"] for row in read(folder / "curves/routes.csv")]
    assert rows[4:] == [
        "heads, hierarchical=hxe",
        "finest head rolled up, hierarchical=hxe",
        "heads, consistency=0.0, head_chain=none",
        "finest head rolled up, consistency=0.0, head_chain=none",
    ]
    assert "Heads, hierarchical=hxe, against one model, a head of each rank:" in said
    models = {row["data"] for row in read(folder / "curves/accuracy.csv")}
    assert "habitat 0, from scratch, hierarchical=hxe" in models


def test_a_second_sweep_computes_nothing(studied, monkeypatch, tmp_path):
    config, out = studied
    settings = make_settings(config, "granularity", out=str(out))
    granularity.run(settings)
    rows = read(out / "granularity/granularity.csv")
    assert [row["trained at"] for row in rows] == ["family", "species"]
    assert all(0 < float(row["MaxBoxAccV2"]) <= 1 and row["PxAP"] for row in rows)

    def refuse(*_, **__):
        raise AssertionError("work is repeated")

    monkeypatch.setattr(localization_counts, "count", refuse)
    granularity.run(settings)


def test_the_sweep_needs_nothing_but_boxes(studied, tmp_path, in_this_process):
    """The user's class folders, without masks, parts or evidence."""
    config, _ = studied
    birds = Path(config.data.root + "-h0")
    own = tmp_path / "own"
    own.mkdir()
    (own / "images").symlink_to(birds / "images")
    (own / "boxes.csv").write_bytes((birds / "boxes.csv").read_bytes())
    config = config.copy_and_resolve_references()
    config.runs_dir = str(tmp_path / "runs")
    config.study.habitats = ()
    config.sweep.ranks = ("family",)
    config.sweep.seeds = (0,)
    settings = make_settings(config, "granularity", data_dir=str(own))
    said = granularity.run(settings)
    (row,) = read(tmp_path / "runs/mini/granularity/granularity.csv")
    assert 0 < float(row["MaxBoxAccV2"]) <= 1 and row["PxAP"] == ""
    assert "GRANULARITY.md" in said
    page = (tmp_path / "runs/mini/GRANULARITY.md").read_text()
    assert "--data_dir" in page
    (model,) = (tmp_path / "runs").glob("own-*/family/seed0/model.keras")
    assert model.is_file()


def test_a_run_from_before_a_field_is_viewed_at_another_stride(studied, monkeypatch):
    """Its record lacks the field; the network is rebuilt with the present default."""
    from dataclasses import replace

    from hiercam_keras.experiments import map_settings, training_grid

    config, _ = studied
    settings = make_settings(config)
    condition = next(iter(training_grid.conditions(settings)))
    spec = training_grid.make_spec(settings, ("species",), 0, condition)
    (run,) = runs.train_missing([spec], settings)
    record = json.loads(json.dumps(run.record))
    del record["config"]["model"]["dropout"]
    old = replace(run, record=record)
    monkeypatch.setattr(map_settings.stride, "copy_weights", lambda *_: None)
    met = []
    monkeypatch.setattr(map_settings, "build", lambda c, _: met.append(c.model) or 1)
    monkeypatch.setattr(map_settings.xla_layers, "accelerate", lambda model, _: model)
    map_settings.network_at(map_settings.opened(old, settings, spec), 16)
    assert met[0].dropout == config.model.dropout and met[0].output_stride == 16


def test_images_without_parts_are_refused(studied, monkeypatch):
    from dataclasses import replace

    from hiercam_keras.experiments import map_settings, training_grid

    config, _ = studied
    settings = make_settings(config)
    condition = next(iter(training_grid.conditions(settings)))
    spec = training_grid.make_spec(settings, ("species",), 0, condition)
    (run,) = runs.train_missing([spec], settings)
    data = map_settings.opened(run, settings, spec)
    bare = tuple(replace(record, parts_path=None) for record in data.source.records)
    data = replace(data, source=replace(data.source, records=bare))
    with pytest.raises(UserError, match="has no parts next to it"):
        measurements.measure(None, data, "test", {"asked-species": None}, ["gradcam"])


def test_figures_of_sums_by_hand():
    """Two species of two images; three thresholds, of which the second is best."""
    best = np.zeros((2, 3, 3), int)
    best[0, :, 1] = 2
    best[1, 0] = [2, 1, 0]
    found = localization_counts.Found(
        best, np.array([2, 2]), *[np.zeros((2, 1))] * 2, np.zeros(2), np.arange(2)
    )
    sums = localization_counts.columns(found, "boxes").sum(0, keepdims=True)
    # IoU 0.3: 2, 3, 0 of 4 images; IoU 0.5 and 0.7: 0, 2, 0.
    assert box_accuracy(sums)[0] == pytest.approx((3 / 4 + 2 / 4 + 2 / 4) / 3)
    chosen = box_accuracy(sums, [0, 1, 2])
    assert chosen[0] == pytest.approx((2 / 4 + 2 / 4 + 0) / 3)
