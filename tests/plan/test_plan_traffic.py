"""The bytes that are counted, against those of XLA where it counts them: on CPUs."""

import pytest

from hiercam_keras import config_files
from hiercam_keras.cam import targets
from hiercam_keras.modes.plan_data import made_up
from hiercam_keras.plan import hlo, topology
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.programs import Programs
from hiercam_keras.plan.recipe import Recipe
from hiercam_keras.plan.traffic import program_traffic


@pytest.fixture(scope="module")
def programs():
    config = config_files.load("default")
    config.model.update(
        backbone="small_mbconv:build", weights="none", fast_layers="none"
    )
    config.data.image_size = 32
    taxonomy = made_up("species:7", ("species",))
    asked = targets.label(None, "species")
    recipe = Recipe(config.to_dict(), {"species": 7}, taxonomy, {}, asked=asked)
    return Programs(recipe, topology.mesh(device("cpu")), "cpu")


@pytest.mark.parametrize("name", ["train", "eval", "cam"])
def test_bytes_are_those_of_cost_analysis(name, programs):
    compiled = programs.lower(name, 8).lowered.compile()
    found = program_traffic(hlo.parse(compiled.as_text()))
    cost = compiled.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    assert found.size == pytest.approx(cost["bytes accessed"], rel=0.05)
    assert found.main == found.padded == found.size  # one memory, no tiles
