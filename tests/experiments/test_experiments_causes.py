"""The page of causes of a tiny network, and networks with known causes."""

import csv
import dataclasses
import functools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from ml_collections import ConfigDict, FrozenConfigDict
from PIL import Image
from tiny_study import make_settings

from hiercam_keras.cam import methods
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation.cause_measures import CAUSE_MEASURES
from hiercam_keras.experiments import (
    cause_figures,
    cause_measurements,
    cause_pooling,
    causes,
    map_settings,
    runs,
    training_grid,
)
from hiercam_keras.runs import network as networks


@pytest.fixture(scope="module")
def caused(studied):
    """A page of causes of one of the study's trainings: its settings and its folder."""
    config = studied[0].copy_and_resolve_references()
    config.name += "-h0"
    config.data.root += "-h0"
    config.data.synthetic.habitat_correlation = 0.0
    config.causes.ranks = ("species",)
    config.causes.seeds = (0,)
    config.causes.methods = ("gradcam", "random")
    config.causes.layers = ("",)
    out = Path(config.runs_dir) / "out-causes"
    settings = make_settings(config, "causes", out=str(out))
    causes.run(settings)
    return settings, out


def opened(settings):
    """The images of the training, and its exchanged birds."""
    ranks, seeds = [("species",)], settings.config.causes.seeds
    (spec,) = training_grid.every(settings, ranks, seeds)
    (run,) = runs.train_missing([spec], settings)
    data = map_settings.opened(run, settings, spec)
    return data, causes._drawn(data, "test", settings.config.causes)


def test_the_page_has_every_table_and_figure(caused):
    _, out = caused
    page = (out / "CAUSES.md").read_text()
    names = ["effects", "planted", "turned", "carriers", "ranks", "chosen", "scores"]
    names += ["maps-label", "maps-step"]
    for name in names:
        with open(out / "causes" / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        about = json.loads((out / "causes" / f"{name}.json").read_text())
        assert len(rows) == len(about["rows"]) > 0
        assert about["answer"] in page
    shown = set(re.findall(r"!\[.*?\]\((.*?)\)", page))
    assert {"causes/exchanges.jpg", "causes/effects.png"} < shown
    for name in shown:
        with Image.open(out / name) as image:
            assert min(image.size) > 200


def test_a_second_call_draws_trains_and_measures_nothing(caused, monkeypatch):
    settings, out = caused
    before = (out / "CAUSES.md").read_text()

    def refuse(*_, **__):
        raise AssertionError("work is repeated")

    shown = (out / "causes" / "exchanges.jpg").read_bytes()
    monkeypatch.setattr(cause_figures, "draw", lambda *_: {})
    monkeypatch.setattr(cause_figures, "exchanges", lambda *_: shown)
    monkeypatch.setattr(runs, "in_own_process", refuse)
    for name in ("effects_of", "maps_of"):
        monkeypatch.setattr(cause_measurements, name, refuse)
    causes.run(settings)
    assert (out / "CAUSES.md").read_text() == before


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        *((name, (), f"{name} is .*each once") for name in ("ranks", "seeds", "kinds")),
        ("methods", (), "methods is .*each once"),
        (
            "methods",
            ("random", "legrad"),
            "at least one that makes maps of any network",
        ),
        ("ranks", ("species", "species"), "ranks is .*each once"),
        ("layers", ("", ""), "layers is .*each once"),
        ("methods", ("nothing",), "causes.methods: unknown method 'nothing'"),
        ("ranks", ("species", "color"), "causes.ranks: unknown rank 'color'"),
        ("kinds", ("label", "leap"), "has 'leap', expected .* label, step, contrast"),
        ("images_per_species", 0, "is 0, expected 1 or more, or -1"),
        ("val_images_per_species", 0, "is 0, expected 1 or more, or -1"),
        ("chosen", 0, "is 0, expected 1 or more"),
    ],
)
def test_a_section_without_sense_is_refused_before_any_training(
    tiny, monkeypatch, field, value, words
):
    monkeypatch.setattr(runs, "train_missing", lambda *_, **__: pytest.fail("t"))
    config = tiny.copy_and_resolve_references()
    config.causes[field] = value
    with pytest.raises(UserError, match=words):
        causes.run(make_settings(config, "causes"))


def test_birds_with_nothing_exchanged_have_no_effects(caused):
    """A trained network answers exactly alike, with any other pictures in the batch."""
    data, drawn = opened(caused[0])
    paths = {record.example_id: record.path for record in drawn.plain}
    same = tuple(
        dataclasses.replace(
            one, record=dataclasses.replace(one.record, path=paths[one.of])
        )
        for one in drawn.exchanged
    )
    network = networks.load(data.run, data.config)
    found = cause_measurements.effects_of(
        network, data, dataclasses.replace(drawn, exchanged=same)
    )
    for falls in found.falls.values():
        assert (falls[np.isfinite(falls)] == 0).all() and np.isfinite(falls).any()


def test_effects_and_maps_of_a_network_that_reads_one_part(caused, monkeypatch):
    """It reads the bill and the tail of one bird, pixel by pixel.

    Its effects are on this part alone. A map of what it reads agrees with them; one
    that is made to show everything else does not.
    """
    data, drawn = opened(caused[0])
    # A bird of which the network sees the middle without resizing.
    one = next(one for one in drawn.plain if one.width % 8 == 0)
    config = ConfigDict(data.config.to_dict())
    config.data.image_size = side = one.width * 7 // 8
    data = dataclasses.replace(data, config=FrozenConfigDict(config))
    mine = [each for each in drawn.exchanged if each.of == one.example_id]
    mine = [each for each in mine if each.part in drawn.labels]  # not the whole bird
    drawn = dataclasses.replace(drawn, plain=(one,), exchanged=tuple(mine))
    model = reader(one, mine, "bill_and_tail", data, side)
    network = dataclasses.replace(
        networks.load(data.run, data.config), model=model, layer="pixels"
    )
    inverted = functools.partial(invert, honest=methods.METHODS["hirescam"].compute)
    monkeypatch.setitem(
        methods.METHODS, "inverted", methods.Method("inverted", "layer", inverted)
    )
    options = ConfigDict(caused[0].config.causes.to_dict())
    options.update(
        {"methods": ("hirescam", "inverted"), "kinds": ("label", "contrast")}
    )
    effects = cause_measurements.effects_of(network, data, drawn)
    maps = cause_measurements.maps_of(network, data, drawn, options)
    found = cause_measurements.Caused(effects, maps)
    place = effects.parts.index("bill_and_tail")
    for falls in effects.falls.values():
        others = np.delete(falls, place, axis=2)
        assert (others[np.isfinite(others)] == 0).all()
    assert effects.of("step", "species", "sibling")[0, place] > 0.1
    assert effects.of("label", "order", "sibling")[0, place] > 0
    for target in maps.targets:
        honest, wrong = (
            {
                name: measure.compute(
                    cause_pooling.parts_of(found, (method, ""), target)
                )[0]
                for name, measure in CAUSE_MEASURES.items()
            }
            for method in ("hirescam", "inverted")
        )
        # At most 0.65: the parts without an effect have no order.
        assert honest["energy_correlation"] > 0.6 and honest["top_part"] == 1
        assert honest["lift_correlation"] > 0.6 and honest["single_deletion"] > 0.8
        # A part of few pixels has little energy in any map, and no large lift.
        assert wrong["energy_correlation"] < 0.3 and wrong["top_part"] == 0
        assert wrong["lift_correlation"] <= 0 and wrong["single_deletion"] < 0.65


def reader(one, exchanged, part, data, side) -> keras.Model:
    """A network with the logit of the bird's species from the pixels of one part that
    no other exchange changes; all other logits are 0."""
    whole = pixels(one.path, side)
    by_kind = {
        (each.part, each.how): pixels(each.record.path, side) for each in exchanged
    }
    changed = {key: (image != whole).any(-1) for key, image in by_kind.items()}
    elsewhere = np.any([c for (name, _), c in changed.items() if name != part], axis=0)
    other = by_kind[part, "sibling"]
    own = changed[part, "sibling"] & ~elsewhere
    assert own.sum() > 20
    weights = np.where(own[..., None], whole - other, 0.0)
    (label,) = data.labels([one], "species")
    kernel = np.zeros((weights.size, data.taxonomy.num_labels("species")))
    kernel[:, label] = weights.ravel() / np.abs(weights).sum() / 20
    image = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1.0, name="scaled")(image)
    x = keras.layers.Conv2D(3, 1, use_bias=False, name="pixels")(x)
    out = keras.layers.Dense(kernel.shape[1], use_bias=False, name="logits")(
        keras.layers.Flatten()(x)
    )
    model = keras.Model(image, out)
    model.get_layer("pixels").set_weights([np.eye(3)[None, None]])
    model.get_layer("logits").set_weights([kernel])
    return model


def pixels(path, side: int) -> np.ndarray:
    """The part of a picture that the network sees: float64 (side, side, 3)."""
    with Image.open(path) as image:
        array = np.asarray(image, np.float64)
    start = (len(array) - side) // 2
    return array[start : start + side, start : start + side]


def invert(activations, grads, honest):
    """The largest value minus the map, so that what matters has nothing."""
    found = abs(honest(activations, grads))
    return found.max((-2, -1), keepdims=True) - found


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_images_is_refused(tiny, split):
    data = SimpleNamespace(records=lambda name: [], config=tiny)
    with pytest.raises(UserError, match=f"the {split} split has no images"):
        causes._drawn(data, split, tiny.causes)


def test_birds_that_nobody_can_exchange_are_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="needs procedural birds"):
        causes.run(make_settings(tiny, "causes", data_dir=str(tmp_path)))
    with pytest.raises(UserError, match="leave --split=val out"):
        causes.run(make_settings(tiny, "causes", split="val"))
