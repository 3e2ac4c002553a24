"""Which questions of a comparison stand beside which: seeds, and methods."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.modes.comparison.questions import short_paths


def test_two_seeds_are_the_noise_floor(trained, tmp_path):
    """Two runs of a rank that are the same differ in nothing; their maps agree fully,
    so those of two ranks, and of two ways to ask for one, agree less."""
    twin = tmp_path / "twin"
    shutil.copytree(trained.path("family"), twin)
    runs = (*(str(trained.path(rank)) for rank in ("species", "family")), str(twin))
    out = tmp_path / "out"
    fields = {"compare.faithfulness_images": 0}
    tiny_birds.run("compare", trained.config, runs=runs, out=str(out), fields=fields)
    plain = json.loads((out / "statistics.json").read_text())
    by_kind = {}
    for row in plain:
        by_kind.setdefault(row["comparison"], []).append(row)
    assert set(by_kind) == {"rank", "asked", "seed", "agreement"}
    for row in by_kind["seed"]:
        assert row["model_b"].endswith("twin)")
        assert abs(row["difference"]) < 1e-6 and row["p_holm"] == 1
    pearson = [row for row in by_kind["agreement"] if row["measure"] == "pearson"]
    assert len(pearson) == 4  # species against each of the two, at both ranks
    for row in pearson:
        assert row["mean_b"] == pytest.approx(1, abs=1e-5)
        assert row["difference"] < -0.01 and row["p_value"] < 0.05
    numbers = tables.read_csv(out / "numbers.csv")
    assert set(numbers["deletion"]) == {""}
    assert set(numbers["coherence_basis"]) <= {"place", "degenerate"}


@pytest.mark.slow
def test_another_seed_is_the_noise_floor_of_every_question(trained, tmp_path):
    """Species models of two seeds, also where both are asked for the family."""
    config = trained.config.copy_and_resolve_references()
    config.update({"seed": 1, "runs_dir": str(tmp_path / "runs")})
    config.data.split_seed = 0
    tiny_birds.run("train", config, rank=("species",))
    other = tmp_path / "runs" / "mini" / "species" / "seed1"
    runs = (str(trained.path("species")), str(other), str(trained.path("family")))
    out = tmp_path / "out"
    fields = {"compare.faithfulness_images": 0}
    tiny_birds.run("compare", trained.config, runs=runs, out=str(out), fields=fields)
    plain = json.loads((out / "statistics.json").read_text())
    short = short_paths([Path(run) for run in runs[:2]])
    one, two = (f"({name})" for name in short.values())
    asked = "species asked for family"
    seeds = [row for row in plain if row["comparison"] == "seed"]
    assert {(row["model_a"], row["model_b"]) for row in seeds} == {
        (f"species {one}", f"species {two}"),
        (f"{asked} {one}", f"{asked} {two}"),
    }
    assert any(row["difference"] and row["p_value"] > 0.05 for row in seeds)
    compared = {
        (row["model_a"], row["model_b"])
        for row in plain
        if row["comparison"] == "agreement"
    }
    # Each question's maps are measured by the floor of that question.
    floors = {
        "species": f"species {one} ~ species {two}",
        asked: f"{asked} {one} ~ {asked} {two}",
    }
    assert compared == {
        (f"species {run} ~ family", floors["species"]) for run in (one, two)
    } | {(f"family ~ {asked} {run}", floors[asked]) for run in (one, two)}
    rows = tables.read_csv(out / "agreement.csv")
    values = np.array(rows["pearson"], float)
    pairs = zip(rows["model_a"], rows["model_b"], strict=True)
    names = np.array([" ~ ".join(pair) for pair in pairs])
    (found,) = [
        row
        for row in plain
        if row["comparison"] == "agreement" and row["measure"] == "pearson"
        if row["model_a"] == f"family ~ {asked} {one}"
    ]
    a, b = (values[names == found[name]] for name in ("model_a", "model_b"))
    assert len(a) == len(b) == 9 and b.mean() < 0.999
    assert found["difference"] == pytest.approx((a - b).mean(), abs=1e-5)


def test_methods_stand_beside_each_other_on_one_model(trained, tmp_path):
    fields = {"compare.methods": ("eigencam",), "compare.faithfulness_images": 0}
    tiny_birds.run("compare", trained.config, out=str(tmp_path), fields=fields)
    plain = json.loads((tmp_path / "statistics.json").read_text())
    pairs = {(row["comparison"], row["model_a"], row["model_b"]) for row in plain}
    assert pairs == {
        ("rank", "species", "family"),
        ("rank", "species, eigencam", "family, eigencam"),
        ("asked", "family", "species asked for family"),
        ("method", "species", "species, eigencam"),
        ("method", "family", "family, eigencam"),
    }
    areas = tables.read_csv(tmp_path / "numbers.csv")
    rows = {
        model: np.array(
            [
                float(value)
                for value, name in zip(
                    areas["heatmap_area"], areas["model"], strict=True
                )
                if name == model
            ]
        )
        for model in ("family", "family, eigencam")
    }
    (found,) = [
        row["difference"]
        for row in plain
        if row["measure"] == "heatmap_area" and row["model_b"] == "family, eigencam"
        if row["comparison"] == "method"
    ]
    expected = (rows["family"] - rows["family, eigencam"]).mean()
    assert found == pytest.approx(expected, abs=1e-5) and found != 0


def test_regions_taken_one_by_one_are_asked_for(trained, tmp_path):
    fields = {
        "compare.faithfulness_images": 2,
        "faithfulness.regions": 2,
        "faithfulness.min_range": 1e-6,
    }
    tiny_birds.run("compare", trained.config, out=str(tmp_path), fields=fields)
    numbers = tables.read_csv(tmp_path / "numbers.csv")
    kept = [i for i, value in enumerate(numbers["drop"]) if value]
    assert len(kept) == 6  # two pictures, three questions
    known = {i for i, value in enumerate(numbers["aopc_morf"]) if value}
    assert known and known <= set(kept)
    statistics = tables.read_csv(tmp_path / "statistics.csv")
    pairs = zip(statistics["comparison"], statistics["measure"], strict=True)
    assert ("random", "aopc_morf") in set(pairs)
