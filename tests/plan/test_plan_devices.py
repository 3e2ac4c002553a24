"""Devices by name, their descriptions, and what an installation lacks for them."""

import importlib.util
from importlib import metadata

import pytest

from hiercam_keras.errors import UserError
from hiercam_keras.plan import topology
from hiercam_keras.plan.devices import CHIPS, EXAMPLES, device, limited, target_config


@pytest.mark.parametrize(
    ("name", "count", "shape"),
    [
        ("tpu:v5e-4", 4, "v5e:2x2"),
        ("tpu:v5e-1", 1, "v5e:2x2"),  # a host of v5e has four chips
        ("tpu:v5p-8", 4, "v5p:2x2x1"),  # 8 TensorCores
        ("tpu:v6e-8", 8, "v6e:2x4"),
        ("TPU:V6E-1", 1, "v6e:1x1"),
        ("gpu:h100", 1, ""),
        ("gpu:a100-8", 8, ""),
        ("cpu", 1, ""),
    ],
)
def test_devices_are_chips_with_a_number(name, count, shape):
    found = device(name)
    assert (found.count, found.topology, found.name) == (count, shape, name.lower())
    assert found.chip.family == name.lower().partition(":")[0]


@pytest.mark.parametrize(
    "name",
    ["", "h100", "gpu:v5e-4", "tpu:h100", "tpu:v5e", "tpu:v5e-3", "tpu:v5p-7"]
    + ["gpu:h100-0", "cpu:4", "cpu-2", "gpu:h1000", "tpu:v5e-4x"]
    + ["gpu:h100-9", "tpu:v6e-1000000000000"],
)
def test_other_names_are_refused_with_those_that_exist(name):
    with pytest.raises(UserError, match="expected"):
        device(name)


def test_a_config_may_use_some_of_the_chips():
    eight = device("tpu:v6e-8")
    assert limited(eight, 0) == eight
    assert limited(eight, 4).count == 4 and limited(eight, 4).topology == "v6e:2x4"
    with pytest.raises(UserError, match="is 9, but --device=tpu:v6e-8 has 8"):
        limited(eight, 9)


def test_every_chip_but_the_cpu_has_all_figures():
    for name in EXAMPLES[:-1]:
        chip = device(name).chip
        assert chip.memory > 1e10 and chip.bandwidth > 1e11 and chip.link > 1e10
        assert chip.peak["bfloat16"] > 1e14


def test_the_description_of_a_card_has_its_fields():
    text = target_config(CHIPS["l4"])
    for line in (
        "core_count: 58",
        "major: 8",
        "minor: 9",
        'description_str: "NVIDIA L4',
    ):
        assert line in text
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("name", "extra", "package"),
    [
        ("tpu:v5e-4", "plan-tpu", "libtpu"),
        ("gpu:l4", "plan-gpu", "jax-cuda12-plugin"),
    ],
)
def test_one_line_names_the_missing_extra(monkeypatch, name, extra, package):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(metadata, "version", lambda _: "0.12.0.1")
    with pytest.raises(UserError) as error:
        topology.check(device(name))
    assert f'pip install ".[{extra}]"' in str(error.value)
    assert package in str(error.value) and "\n" not in str(error.value)
    topology.check(device("cpu"))


def test_one_line_says_that_jax_is_too_old(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(metadata, "version", lambda _: "0.9.4")
    with pytest.raises(UserError, match="needs JAX 0.10 or newer.*found 0.9.4"):
        topology.check(device("tpu:v6e-8"))


def test_a_compiler_sees_no_accelerator_of_this_machine(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--a")
    for name in EXAMPLES:
        assert topology.environment(device(name))["JAX_PLATFORMS"] == "cpu"
    found = topology.environment(device("gpu:h100"))
    assert found["XLA_FLAGS"] == "--a --xla_gpu_autotune_level=0"
    assert topology.environment(device("tpu:v5e-4"))["TPU_SKIP_MDS_QUERY"] == "1"
