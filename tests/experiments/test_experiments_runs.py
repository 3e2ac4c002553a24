"""Trainings of an experiment: their folders, keeping, resuming, refusals."""

import dataclasses
import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict
from tiny_study import make_settings, train_here

from hiercam_keras.cam import methods, recommended
from hiercam_keras.errors import UserError
from hiercam_keras.experiments import (
    causes,
    curves,
    granularity,
    map_settings,
    runs,
    study,
    training_grid,
)
from hiercam_keras.experiments.training_grid import Condition
from hiercam_keras.modes import load


def test_run_folders_are_those_of_train(tiny):
    settings = make_settings(tiny)
    plain = training_grid.make_spec(settings, ("family",), 3)
    assert plain.path == Path(tiny.runs_dir) / "mini/family/seed3"
    assert plain.config.seed == 3 and plain.config.data.split_seed == 0
    assert "study" not in plain.config
    other = training_grid.make_spec(
        settings, ("species",), 0, Condition(0.5, "synthetic")
    )
    assert other.path == Path(tiny.runs_dir) / "mini-h0.5-synthetic/species/seed0"
    assert other.config.data.synthetic.habitat_correlation == 0.5
    assert other.config.data.root == tiny.data.root + "-h0.5"
    both = training_grid.make_spec(settings, ("species",), 0, Condition(1.0, "none"))
    assert both.config.name == "mini-h1"  # the config's own weights need no name


def test_an_override_is_a_condition_of_its_own(tiny):
    config = tiny.copy_and_resolve_references()
    config.study.overrides = (("train.label_smoothing", 0.2),)
    settings = make_settings(config)
    found = training_grid.conditions(settings)
    assert list(found.values()) == [
        "habitat 0",
        "habitat 1",
        "habitat 0, train.label_smoothing=0.2",
    ]
    spec = training_grid.make_spec(settings, ("family",), 0, list(found)[2])
    assert spec.path.parts[-3] == "mini-h0-label_smoothing0.2"
    assert spec.config.train.label_smoothing == 0.2
    for wrong in (("train.no_such", 1), ("train.epochs", "many")):
        with pytest.raises(UserError, match=f"overrides have '{wrong[0]}'"):
            training_grid.make_spec(
                settings, ("family",), 0, Condition(overrides=(wrong,))
            )


def test_fields_of_several_heads_are_reset_for_one(tiny):
    """So that one config makes both models that are compared."""
    config = tiny.copy_and_resolve_references()
    config.train.update({"consistency": 1.0, "loss_weights": (0.5, 2.0)})
    config.model.update({"head_chain": "on", "head_features": 4})
    settings = make_settings(config)
    several = training_grid.make_spec(settings, ("family", "species"), 0).config
    assert several.train.consistency == 1.0 and several.model.head_chain == "on"
    one = training_grid.make_spec(settings, ("species",), 0).config
    assert one.train.consistency == 0 and one.train.loss_weights == ()
    assert one.model.head_chain == "none" and one.model.head_features == 4
    asked = Condition(overrides=(("train.consistency", 2.0),))
    with pytest.raises(UserError, match=r"consistency=2.0 needs several heads"):
        training_grid.make_spec(settings, ("species",), 0, asked)
    both = asked.overrides + (("train.hierarchical", "hxe"),)
    made = training_grid.make_spec(
        settings, ("family", "species"), 0, Condition(None, None, both)
    )
    assert made.path.parts[-3] == "mini-consistency2.0-hierarchicalhxe"
    assert made.config.train.consistency == 2.0


def test_every_combination_first_seed_first(tiny):
    settings, heads = make_settings(tiny), [("order",), ("family",)]
    found = training_grid.every(settings, heads, (1, 2), [Condition(0)])
    assert [(one.seed, one.name) for one in found] == [
        (1, "order"),
        (1, "family"),
        (2, "order"),
        (2, "family"),
    ]
    with pytest.raises(UserError, match="seeds are .* each once"):
        training_grid.every(settings, heads, (1, 1))
    with pytest.raises(UserError, match="'famly'.*Did you mean 'family'"):
        training_grid.every(settings, [("famly",)], (1,))
    with pytest.raises(UserError, match="ranks are empty"):
        training_grid.every(settings, [], (1,))


@pytest.fixture
def alone(tiny, tmp_path):
    """A training of its own, on the birds of all tests."""
    config = tiny.copy_and_resolve_references()
    config.runs_dir = str(tmp_path / "runs")
    return config


def test_a_stopped_training_resumes_and_a_finished_one_is_kept(alone, monkeypatch):
    from hiercam_keras.modes import train

    settings = make_settings(alone)
    spec = training_grid.make_spec(settings, ("family",), 0)
    log = spec.path / "log.csv"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "_save", stop)  # all epochs done, no model yet
        with pytest.raises(KeyboardInterrupt):
            runs.train_missing([spec], settings, train_here)
    assert json.loads((spec.path / "config.json").read_text())["state"] == "training"
    before, calls = log.read_bytes(), []

    def goes_on(given):
        calls.append(given.workdir)
        train_here(given)

    (run,) = runs.train_missing([spec], settings, goes_on)
    assert run.finished and run.ranks == ("family",)
    assert log.read_bytes() == before  # no epoch is repeated
    runs.train_missing([spec], settings, goes_on)
    assert calls == [str(spec.path)]


def test_a_run_with_other_settings_is_refused(studied):
    config, _ = studied
    settings = make_settings(config)
    spec = training_grid.make_spec(settings, ("species",), 0, Condition(0.0))
    assert runs.train_missing([spec], settings, None)
    other = spec.config.to_dict()
    other["data"]["workers"] = 7  # changes the speed only
    other["train"]["new_field"] = 1  # newer than the run
    kept = dataclasses.replace(spec, config=ConfigDict(other))
    assert runs.train_missing([kept], settings, None)
    # A split by the run's own seed is the same one, as --mode=train has it.
    seeds = other["seed"], other["data"]["split_seed"]
    assert seeds == (0, 0)
    other["data"]["split_seed"] = -1
    kept = dataclasses.replace(spec, config=ConfigDict(other))
    assert runs.train_missing([kept], settings, None)
    other["seed"] = 1
    changed = dataclasses.replace(spec, config=ConfigDict(other))
    with pytest.raises(UserError, match=r"config.data.split_seed, config.seed differ"):
        runs.train_missing([changed], settings, None)
    other["seed"] = 0
    other["train"]["epochs"] = 9
    changed = dataclasses.replace(spec, config=ConfigDict(other))
    with pytest.raises(UserError, match=r"settings: config.train.epochs differ"):
        runs.train_missing([changed], settings, None)


def test_the_error_of_a_training_process_is_raised(alone):
    """A spawned process does not know the tiny backbone."""
    settings = make_settings(alone)
    spec = training_grid.make_spec(settings, ("family",), 0)
    with pytest.raises(UserError, match="seed0: backbone 'tiny' is not known"):
        runs.train_missing([spec], settings)


def check_alone(settings, work=None):
    """In place of `runs.in_own_process`."""
    assert work is not None, "a training was started"
    work(settings)


@pytest.mark.parametrize(
    ("experiment", "field", "value", "words"),
    [
        (causes, "causes.layers", ("", "nowhere"), "has no layer 'nowhere'"),
        (study, "study.layers", ("activation1", "conv9"), "has no layer 'conv9'"),
        (study, "study.close", ("nowhere", "hirescam"), "has no layer 'nowhere'"),
        (study, "study.close", ("activation2", "hires"), "unknown method 'hires'"),
        (study, "study.methods", ("gradcam", "hires"), "unknown method 'hires'"),
        (study, "study.methods", (), "is empty, expected one or more"),
        (curves, "cam.layer", "nowhere", "has no layer 'nowhere'"),
        (granularity, "cam.layer", "nowhere", "has no layer 'nowhere'"),
    ],
)
def test_wrong_layers_and_methods_are_refused_before_any_training(
    alone, monkeypatch, experiment, field, value, words
):
    monkeypatch.setattr(runs, "in_own_process", check_alone)
    config = alone.copy_and_resolve_references()
    config.update_from_flattened_dict({field: value})
    name = experiment.__name__.rpartition(".")[2]
    with pytest.raises(UserError, match=rf"config\.{field}.*{words}"):
        experiment.run(make_settings(config, name))


def test_the_recommended_method_is_resolved_once_for_all(studied):
    """Its name is in no result: those have the method and the layer that made them."""
    config = studied[0].copy_and_resolve_references()
    config.cam.method = "recommended"
    settings = make_settings(
        config, "cam", overrides={"cam.method": "recommended"}, workdir="given"
    )
    spec = training_grid.make_spec(settings, ("species",), 0, Condition(0.0))
    (run,) = runs.train_missing([spec], settings, None)
    found = load.config_of(settings, run).cam
    assert (found.method, found.layer) == ("eigengradcam", "")  # of no known backbone
    assert map_settings.usual(spec)[1:] == ("", "eigengradcam")
    named = dict(backbone="efficientnet_b0")
    assert recommended.resolved("recommended", "", **named)[1] == "block4c_add"
    assert recommended.resolved("recommended", "mine", **named)[1] == "mine"
    assert recommended.resolved("gradcam", "", **named) == ("gradcam", "")
    (method,) = methods.get_methods(recommended.METHOD)
    assert method.source == "layer"  # of any network
