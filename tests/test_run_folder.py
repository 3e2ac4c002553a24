"""Run folders: what they hold, and which one a later mode finds."""

import os

import pytest

from hiercam_keras import workdir
from hiercam_keras.errors import UserError
from hiercam_keras.runs import run_folder
from hiercam_keras.taxonomy.lineage import Lineage, parse_class_name
from hiercam_keras.taxonomy.tree import Taxonomy

NAMES = (
    "00001_Animalia_Chordata_Aves_Anseriformes_Anatidae_Cygnus_olor",
    "00042_Animalia_Chordata_Aves_Piciformes_Picidae_Picus_viridis",
)


@pytest.fixture
def taxonomy():
    return Taxonomy(parse_class_name(name) for name in NAMES)


@pytest.fixture
def make(tmp_path, taxonomy):
    """Makes a run; the time of its record is `at`."""

    def make(*ranks, data="birds", seed=0, finished=True, at=100):
        path = run_folder.path_for(str(tmp_path), data, ranks, seed)
        record = {
            "ranks": list(ranks),
            "data_name": data,
            "data_dir": None,
            "config": {"seed": seed},
        }
        run = run_folder.create(path, record, taxonomy)
        if finished:
            run.model_path.write_bytes(b"model")
            run = run.finish()
        os.utime(path / "config.json", (at, at))
        return path

    return make


def test_paths_follow_the_contract():
    path = run_folder.path_for("runs", "birds", ("order", "species"), 3)
    assert path.parts == ("runs", "birds", "order+species", "seed3")


def test_a_run_comes_back(make, taxonomy):
    run = run_folder.read(make("family", seed=2))
    assert run.ranks == ("family",)
    assert run.data_name == "birds" and run.data_dir is None
    assert run.config.seed == 2
    assert run.finished
    assert run.taxonomy() == taxonomy


def test_a_run_is_finished_only_with_its_model(make):
    path = make("family", finished=False)
    assert not run_folder.read(path).finished
    path = make("species")
    (path / "model.keras").unlink()
    assert not run_folder.read(path).finished


def test_find_prefers_the_exact_run(tmp_path, make):
    # By name the wider run comes first.
    exact, wide = make("species"), make("order", "species")
    (found,) = run_folder.find(str(tmp_path), [("species",)], 0)
    assert found.path == exact
    (found,) = run_folder.find(str(tmp_path), [("order",)], 0)
    assert found.path == wide


def test_find_takes_the_seed(tmp_path, make):
    make("family")
    path = make("family", seed=1)
    assert run_folder.find(str(tmp_path), [("family",)], 1)[0].path == path
    with pytest.raises(UserError, match="seed 2"):
        run_folder.find(str(tmp_path), [("family",)], 2)


def test_find_takes_the_data_set_of_last(tmp_path, make):
    make("family", data="early", at=100)
    make("family", data="late", at=200)
    make("family", data="middle", at=150)
    (found,) = run_folder.find(str(tmp_path), [("family",)], 0)
    assert found.data_name == "late"
    (found,) = run_folder.find(str(tmp_path), [("family",)], 0, "early")
    assert found.data_name == "early"


def test_find_keeps_to_one_data_set(tmp_path, make):
    make("family", data="whole", at=100)
    make("species", data="whole", at=100)
    make("family", data="half", at=200)
    runs = run_folder.find(str(tmp_path), [("species",), ("family",)], 0)
    assert [run.data_name for run in runs] == ["whole", "whole"]
    assert [run.ranks for run in runs] == [("species",), ("family",)]


def test_an_unfinished_run_is_told(tmp_path, make):
    path = make("family", finished=False)
    with pytest.raises(UserError, match=rf"{path} holds a run without .*--resume"):
        run_folder.find(str(tmp_path), [("family",)], 0)


def test_an_unfinished_multi_rank_run_is_passed_by(tmp_path, make):
    make("family", "species", finished=False)
    with pytest.raises(UserError, match="found no model trained at species"):
        run_folder.find(str(tmp_path), [("species",)], 0)


def test_the_error_lists_the_runs_and_a_remedy(tmp_path, make):
    there = make("family")
    with pytest.raises(UserError) as error:
        run_folder.find(str(tmp_path), [("genus",)], 0)
    text = str(error.value)
    assert str(there) in text and "--mode=train --rank=genus" in text
    assert "\n" not in text
    with pytest.raises(UserError, match="Runs there: none"):
        run_folder.find(str(tmp_path / "empty"), [("genus",)], 0)


def test_the_remedy_is_the_run_that_is_missing(tmp_path, make):
    """Of two that compare wants, not the one that is there."""
    make("species")
    with pytest.raises(UserError, match="`--mode=train --rank=family`, or name"):
        run_folder.find(str(tmp_path), [("species",), ("family",)], 0)
    with pytest.raises(UserError, match="`--mode=train --rank=all`, or name"):
        run_folder.find(str(tmp_path), [("all",)], 0)
    with pytest.raises(UserError, match="`--mode=train --rank=species`, or name"):
        run_folder.find(str(tmp_path), [("species",)], 1)


def test_the_remedy_names_the_images_of_the_other_runs(tmp_path, make):
    """Without --data_dir the command would train on the embedded birds."""
    path = make("species")
    record = workdir.read_json(path / "config.json")
    workdir.write_json(path / "config.json", {**record, "data_dir": "/my photos"})
    words = f"--rank=family --data_dir='/my photos'` and the other flags of {path}"
    with pytest.raises(UserError, match=words):
        run_folder.find(str(tmp_path), [("species",), ("family",)], 0)


def test_no_training_at_a_rank_that_the_data_lack_is_advised(tmp_path):
    """compare asks for species and family where nothing else is said."""
    path = run_folder.path_for(str(tmp_path), "skin", ("diagnosis",), 0)
    ranks = ("organ", "diagnosis")
    taxonomy = Taxonomy(Lineage(taxa, ranks) for taxa in (("a", "b"), ("a", "c")))
    record = {"ranks": ["diagnosis"], "data_name": "skin", "data_dir": None}
    run_folder.create(path, record, taxonomy)
    words = r"The ranks of skin are organ, diagnosis: name those with .*--ranks"
    with pytest.raises(UserError, match=words) as error:
        run_folder.find(str(tmp_path), [("species",), ("family",)], 0)
    assert "--mode=train" not in str(error.value)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no run \(config.json is missing\)"):
        run_folder.read_finished(tmp_path)


def test_another_schema_is_refused_and_not_listed(tmp_path, make):
    path = make("family")
    record = workdir.read_json(path / "config.json")
    workdir.write_json(path / "config.json", {**record, "schema_version": 99})
    with pytest.raises(UserError, match="schema_version 99, expected 1"):
        run_folder.read(path)
    assert run_folder.list_runs(tmp_path) == []


def test_a_damaged_record_hides_no_other_run(tmp_path, make):
    good, bad = make("family"), make("species")
    (bad / "config.json").write_text("{")
    assert [run.path for run in run_folder.list_runs(tmp_path)] == [good]
    with pytest.raises(UserError, match="cannot read"):
        run_folder.read(bad)


def test_a_new_run_has_no_results_of_the_former_one(make):
    """An export would pass for one of the new network; files of the user are kept."""
    path = make("family")
    for place in (path, path / "allowed-Aves", path / "taxonomy-list2030"):
        for name in ("eval", "export", "guide"):
            (place / name / "onnx").mkdir(parents=True)
    (path / "mine.txt").write_text("x")
    run_folder.clear(path)
    assert [one.name for one in path.iterdir()] == ["mine.txt"]
