"""The bytes that are counted, against those of XLA where it counts them: on CPUs."""

import jax
import numpy as np
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


@pytest.fixture(scope="module")
def fast_programs():
    return programs_of("auto")


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


def by_rules_of_xla(compiled, patch):
    """The count without the two rules in which it differs from cost_analysis."""
    program = hlo.parse(compiled.as_text())
    patch.setattr(Traffic, "at_most", lambda self, limit: self)
    patch.setattr(hlo.Instruction, "trips", 1)
    return program_traffic(program).size


@pytest.mark.parametrize(
    "name",
    [
        "eval",
        pytest.param("train", marks=pytest.mark.slow),
        pytest.param("cam", marks=pytest.mark.slow),
    ],
)
def test_fast_layers_differ_by_slices_and_loops_alone(name, fast_programs, monkeypatch):
    """Their depthwise convolutions are sums of shifted slices, some in loops."""
    compiled = fast_programs.lower(name, 8).lowered.compile()
    found = by_rules_of_xla(compiled, monkeypatch)
    assert found == pytest.approx(cost(compiled), rel=0.01)


def test_cost_analysis_charges_each_of_overlapping_slices():
    """1,000 numbers are read, of 4 bytes each, and 998 are written."""

    def neighbors(x):
        return x[:-2] + x[1:-1] + x[2:]

    compiled = jax.jit(neighbors).lower(np.zeros(1000, np.float32)).compile()
    # Three slices of 998 numbers and the result, though the program has 1,998.
    assert cost(compiled) == 4 * (3 * 998 + 998)
    found = program_traffic(hlo.parse(compiled.as_text()))
    assert found.size == 4 * (1000 + 998)


def test_cost_analysis_charges_the_body_of_a_loop_once(monkeypatch):
    """Five times 1,000 numbers are read and written."""

    def repeated(x):
        return jax.lax.fori_loop(0, 5, lambda _, y: jax.numpy.sin(y) + y, x)

    compiled = jax.jit(repeated).lower(np.zeros(1000, np.float32)).compile()
    found = program_traffic(hlo.parse(compiled.as_text())).size
    body = 4 * (2 * 1000 + 2 + 1) + 2 * 4 + 1  # array, counter and its comparison
    once = by_rules_of_xla(compiled, monkeypatch)
    assert found - once == pytest.approx(4 * body, rel=0.01)
    assert cost(compiled) == pytest.approx(once, rel=0.01)
