"""The bytes that are counted, against those of XLA where it counts them: on CPUs."""

import pytest

from hiercam_keras import config_files
from hiercam_keras.cam import targets
from hiercam_keras.modes.plan_data import made_up
from hiercam_keras.plan import hlo, topology
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.programs import Programs
from hiercam_keras.plan.recipe import Recipe
from hiercam_keras.plan.traffic import Traffic, program_traffic


def programs_of(fast_layers):
    config = config_files.load("default")
    config.model.update(
        backbone="small_mbconv:build", weights="none", fast_layers=fast_layers
    )
    config.data.image_size = 32
    taxonomy = made_up("species:7", ("species",))
    asked = targets.label(None, "species")
    recipe = Recipe(config.to_dict(), {"species": 7}, taxonomy, {}, asked=asked)
    return Programs(recipe, topology.mesh(device("cpu")), "cpu")


@pytest.fixture(scope="module")
def programs():
    return programs_of("none")


def cost(compiled):
    """XLA's bytes."""
    found = compiled.cost_analysis()
    return (found[0] if isinstance(found, list) else found)["bytes accessed"]


@pytest.mark.parametrize("name", ["train", "eval", "cam"])
def test_bytes_are_those_of_cost_analysis(name, programs):
    compiled = programs.lower(name, 8).lowered.compile()
    found = program_traffic(hlo.parse(compiled.as_text()))
    assert found.size == pytest.approx(cost(compiled), rel=0.05)
    assert found.main == found.padded == found.size  # one memory, no tiles


@pytest.mark.slow
def test_only_overlapping_slices_and_loops_are_counted_otherwise(monkeypatch):
    """XLA charges each of overlapping slices whole, and the body of a loop once."""
    compiled = programs_of("auto").lower("train", 8).lowered.compile()
    program = hlo.parse(compiled.as_text())
    monkeypatch.setattr(Traffic, "at_most", lambda self, limit: self)
    monkeypatch.setattr(hlo.Instruction, "trips", 1)
    assert program_traffic(program).size == pytest.approx(cost(compiled), rel=0.01)
