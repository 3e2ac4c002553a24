"""Programs compiled for chips that are not here: a TPU, four of a host, and a GPU.

What a training needs there is read from the compiled text. Results are kept in .cache
by the hash of the program, the device and the compiler's versions.
"""

import gzip
import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from hiercam_keras import config_files
from hiercam_keras.cam import targets
from hiercam_keras.errors import UserError
from hiercam_keras.modes.plan_data import made_up
from hiercam_keras.plan import hlo, topology
from hiercam_keras.plan.compile import Compiler
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.figures import Compiled
from hiercam_keras.plan.recipe import Recipe

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache" / "chips"
STORED = HERE / "memory.json"
# Enough for each chip to wait for its memory: a compiler decides by that.
IMAGES = {"gpu:h100": 2048, "tpu:v5e-1": 512, "tpu:v5e-4": 2048}
DEVICES = pytest.mark.parametrize("name", IMAGES)
PROGRAMS = ("train", "eval", "cam")


class Found(NamedTuple):
    """A program's figures and its text."""

    figures: Compiled
    program: hlo.Program


def small(network="build", dtype="mixed_bfloat16", **train):
    """Of two blocks, with a head for two ranks, in mixed precision."""
    config = config_files.load("default")
    config.model.update(backbone=f"small_mbconv:{network}", weights="none", dtype=dtype)
    config.train.update(train)
    config.data.image_size = 32
    taxonomy = made_up("family:3,species:7", ("species",))
    labels = {rank: taxonomy.num_labels(rank) for rank in taxonomy.ranks}
    asked = targets.label(None, "species")
    return Recipe(config.to_dict(), labels, taxonomy, {}, asked=asked)


def skip_without_compiler(name):
    family = name.partition(":")[0]
    try:
        topology.check(device(name))
    except UserError as error:
        pytest.skip(f"requirements-plan-{family}.txt: {error}")


def compile_all(recipe, name, batch, programs):
    skip_without_compiler(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(CACHE))
        paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        with Compiler(recipe, device(name)) as compiled:
            figures = [compiled(program, batch) for program in programs]
    found = {}
    for one in figures:
        (path,) = CACHE.rglob(f"{one.key}.hlo.gz")
        with gzip.open(path, "rt") as file:
            found[one.program] = Found(one, hlo.parse(file.read()))
    return found


@pytest.fixture(scope="module")
def chips():
    """The programs of the small network by device, compiled when first asked for."""
    known = {}

    def compiled(name):
        if name not in known:
            known[name] = compile_all(small(), name, IMAGES[name], PROGRAMS)
        return known[name]

    return compiled


@DEVICES
def test_train_eval_and_maps_compile(name, chips):
    found = chips(name)
    for program in PROGRAMS:
        one = found[program].figures
        assert one.moved > 1e5 and one.total > 1e5 and not one.refused, program
        assert one.repeated == 0  # a small program needs no recomputation
    work = found["train"].figures.flops_of_products
    # Convolutions are in bfloat16, the heads in float32.
    assert work["bf16 default"] > 50 * work["f32 default"] > 0


@DEVICES
def test_donated_buffers_are_written_in_place(name, chips):
    """All weights, the optimizer's and metrics' state: all but the batch."""
    program = chips(name)["train"].program
    aliased = {alias.parameter for alias in program.aliases}
    others = [
        one.results[0].dtype
        for number, one in enumerate(program.entry.parameters)
        if number not in aliased
    ]
    assert sorted(others) == ["s32", "s32", "u8"]  # labels of two ranks, images
    assert len(aliased) > 100


@DEVICES
def test_large_arrays_are_in_bfloat16(name, chips):
    """Maps of a batch; weights, sums over maps and statistics are in float32.

    XLA:GPU shares the gradient of some small maps between two readers in float32.
    """
    images = IMAGES[name] // device(name).count
    for kind in ("train", "eval"):
        table = {
            (array.size, array.dtype, array.dims, step.instruction.op_name)
            for step in hlo.steps(chips(name)[kind].program)
            for array in step.instruction.results
            if len(array.dims) == 4 and images in array.dims
        }
        table = sorted(table, reverse=True)[:40]  # in any memory
        largest, dtype, *_ = table[0]
        assert dtype == "bf16", table
        wide = [row for row in table if row[1] == "f32" and 2 * row[0] > largest]
        assert wide == [], table
    # Nor the other way: the optimizer's state and the heads are not rounded.
    small = chips(name)["train"].program
    weights = [one for one in small.entry.parameters if one.results[0].dtype == "bf16"]
    assert weights == []


def is_kernel(array):
    """Statistics of a batch norm may have four axes, all but one of length 1."""
    return len(array.dims) == 4 and sum(length > 1 for length in array.dims) > 1


def test_four_chips_sum_all_gradients_at_once_and_gather_nothing(chips):
    found = chips("tpu:v5e-4")["train"]
    every = hlo.collectives(found.program)
    assert {one.kind for one in every} == {"all-reduce"}
    kernels = [one for one in every if any(map(is_kernel, one.arrays))]
    assert len(kernels) == 1
    of_model = [
        one.results[0].dims
        for one in found.program.entry.parameters
        if len(one.results[0].dims) == 4 and one.results[0].dtype == "f32"
    ]
    # Each kernel is a parameter, and Adam has two arrays of its shape.
    assert 3 * sum(map(is_kernel, kernels[0].arrays)) == len(of_model)
    # The others: sums of batch normalization, and gradients of vectors.
    others = [one for one in every if one not in kernels]
    assert not any(is_kernel(array) for one in others for array in one.arrays)
    assert sum(one.size for one in every) < 2 * kernels[0].size


@pytest.mark.slow  # 20 s each; test_training_wide_sums has the traced program
@pytest.mark.parametrize(
    ("reduce", "dtypes"),
    [
        ("auto", {"f32", "bf16"}),
        ("float32", {"f32"}),
    ],
)
def test_four_chips_sum_gradients_in_the_type_that_is_asked_for(reduce, dtypes):
    recipe = small("stem", reduce=reduce)
    found = compile_all(recipe, "tpu:v5e-4", 2048, ["train"])["train"]
    every = hlo.collectives(found.program)
    assert {one.kind for one in every} == {"all-reduce"}
    assert {array.dtype for one in every for array in one.arrays} == dtypes
    assert sum(any(map(is_kernel, one.arrays)) for one in every) == 1


def test_maps_of_float32_networks_are_of_three_products_on_a_tpu():
    """And no array is stored in bfloat16, as at JAX's default precision."""
    recipe = small("stem", dtype="float32")
    found = compile_all(recipe, "tpu:v5e-1", 512, ["cam"])["cam"]
    assert set(found.figures.flops_of_products) == {"f32 high"}
    maps = [
        array
        for step in hlo.steps(found.program)
        for array in step.instruction.results
        if len(array.dims) == 4
    ]
    assert maps and "bf16" not in {array.dtype for array in maps}


def test_one_chip_sends_nothing(chips):
    for name in ("gpu:h100", "tpu:v5e-1"):
        for program in PROGRAMS:
            assert hlo.collectives(chips(name)[program].program) == ()


@DEVICES
def test_memory_is_at_most_that_of_before(name, chips):
    """HIERCAM_STORE_MEMORY=1 stores the figures of other versions."""
    found = {program: chips(name)[program].figures.total for program in PROGRAMS}
    versions = topology.versions()
    family = "libtpu" if name.startswith("tpu") else "cuda"
    key = ", ".join(
        f"{package} {version}"
        for package, version in sorted(versions.items())
        if package in ("jax", "jaxlib", "keras") or family in package
    )
    stored = json.loads(STORED.read_text())
    if os.environ.get("HIERCAM_STORE_MEMORY") == "1":
        stored.setdefault(key, {})[name] = found
        STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    if name not in stored.get(key, {}):
        pytest.skip(f"no figures are stored of {key}")
    for program, size in found.items():
        assert size <= 1.05 * stored[key][name][program], program


def b0(kinds):
    """EfficientNetB0's train step at 224 px, as in docs/SCALING.md."""
    config = config_files.load("default")
    config.model.update(
        backbone="efficientnet_b0",
        weights="none",
        dtype="mixed_bfloat16",
        fast_layers=kinds,
    )
    return Recipe(config.to_dict(), {"species": 1486}, None, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "share"),
    [("gpu:h100", "lean", 0.75), ("tpu:v5e-1", "one_pass", 0.89)],
)
def test_the_layers_of_a_chip_move_fewer_bytes(name, kind, share):
    stock, chosen = (
        compile_all(b0(kinds), name, 256, ["train"])["train"].figures
        for kinds in ("none", kind)
    )
    assert chosen.moved <= share * stock.moved


@pytest.mark.slow
def test_gradients_of_b0_are_summed_at_once():
    found = compile_all(b0("auto"), "tpu:v5e-4", 256, ["train"])["train"]
    every = hlo.collectives(found.program)
    assert {one.kind for one in every} == {"all-reduce"}
    assert sum(any(map(is_kernel, one.arrays)) for one in every) == 1
