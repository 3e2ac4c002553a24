"""Every use of an experimental or private name of a library, and the test of it.

Such names may change in any release. `RELIED_ON` is the one list of them; a test reads
the sources with ast and fails when the list is incomplete or out of date.
"""

import ast
import os
import pathlib
import random
import socket
import subprocess
import sys
import types
from unittest import mock

import jax
import keras
import numpy as np
import pytest

from hiercam_keras import runtime
from hiercam_keras.models import files, model_digest

ROOT = pathlib.Path(__file__).parent.parent
HERE = "tests/test_upstream.py"
SOURCES = ["main.py", "hiercam_keras", "configs", "benchmarks"]

_ALLGATHER = "jax.experimental.multihost_utils.process_allgather"
_BARRIER = "jax.experimental.multihost_utils.sync_global_devices"
_PREEMPTION = "jax.experimental.multihost_utils.reached_preemption_sync_point"
_TOPOLOGY = "jax.experimental.topologies.get_topology_desc"
_TWO = f"{HERE}::test_two_processes_agree"
_DECAY = f"{HERE}::test_optimizers_decay_weights_by_a_private_method"
_AVERAGES = f"{HERE}::test_optimizers_keep_averages_in_private_lists"
_INSIDE = f"{HERE}::test_layers_inside_a_layer"
_MADE_BY = f"{HERE}::test_tensors_name_the_operation_that_made_them"
_LAZY = f"{HERE}::test_seeds_and_configs_are_made_without_tensorflow"
_SKIPPED = f"{HERE}::test_keras_forgets_which_attributes_have_no_weights"
_STEP = f"{HERE}::test_a_train_step_can_be_compiled_without_a_call_of_fit"

# (file, name) -> the test that fails when the library changes what we rely on.
RELIED_ON = {
    ("hiercam_keras/multihost.py", _ALLGATHER): _TWO,
    ("hiercam_keras/multihost.py", _BARRIER): _TWO,
    ("hiercam_keras/training/forward.py", _ALLGATHER): _TWO,
    ("hiercam_keras/training/stopping.py", _PREEMPTION): _TWO,
    ("hiercam_keras/data/pipeline.py", "tf.experimental.dlpack.from_dlpack"): (
        f"{HERE}::test_tensorflow_shares_memory_by_dlpack"
    ),
    ("hiercam_keras/lazy_tensorflow.py", "keras.src.utils.module_utils.tensorflow"): (
        _LAZY
    ),
    ("hiercam_keras/lazy_tensorflow.py", "_available"): _LAZY,
    ("hiercam_keras/models/files.py", "keras.src.saving.saving_lib"): _SKIPPED,
    ("hiercam_keras/cam/graph.py", "_flatten_layers"): (
        "tests/cam/test_cam_graph.py::test_what_we_rely_on_in_keras"
    ),
    ("hiercam_keras/cam/attention_layers.py", "_apply_rotary"): (
        "tests/cam/test_cam_attention_hub.py"
        "::test_what_the_heads_give_is_attention_times_values"
    ),
    ("hiercam_keras/models/layers.py", "_flatten_layers"): _INSIDE,
    ("hiercam_keras/models/layers.py", "_nodes_by_depth"): (
        f"{HERE}::test_nodes_of_a_graph_are_its_calls"
    ),
    ("hiercam_keras/cam/inputs.py", "_keras_history"): _MADE_BY,
    ("hiercam_keras/models/backbones.py", "_keras_history"): _MADE_BY,
    ("hiercam_keras/models/custom.py", "_keras_history"): _MADE_BY,
    ("hiercam_keras/training/rates.py", "_use_weight_decay"): _DECAY,
    ("hiercam_keras/training/rates.py", "_apply_weight_decay"): _DECAY,
    ("hiercam_keras/training/rates.py", "_trainable_variables"): _AVERAGES,
    ("hiercam_keras/training/rates.py", "_model_variables_moving_average"): _AVERAGES,
    ("benchmarks/limits.py", "_inbound_nodes"): (
        f"{HERE}::test_layers_that_are_part_of_a_graph_have_inbound_nodes"
    ),
    ("hiercam_keras/plan/programs.py", "_symbolic_build"): _STEP,
    ("hiercam_keras/plan/programs.py", "_get_jax_state"): _STEP,
    ("hiercam_keras/training/compiling.py", "_symbolic_build"): (
        "tests/training/test_training_build.py::test_a_replaced_call_is_called"
    ),
    ("hiercam_keras/plan/topology.py", _TOPOLOGY): (
        f"{HERE}::test_devices_that_are_not_here_are_described"
    ),
    ("hiercam_keras/plan/topology.py", "_backend_mesh"): (
        f"{HERE}::test_a_device_mesh_takes_the_devices_of_another"
    ),
    ("benchmarks/scaling.py", "_symbolic_build"): _STEP,
    ("benchmarks/scaling.py", "_get_jax_state"): _STEP,
}

# Public in spite of the underscore: namedtuple's methods, and os._exit.
_PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
_UNSTABLE = {"experimental", "src"}
_BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def _is_private(part: str) -> bool:
    return part.startswith("_") and not part.startswith("__") and part not in _PUBLIC


def _own_names(tree: ast.Module) -> set[str]:
    """Names that a file itself defines: functions, classes, variables, attributes."""
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if ast.unparse(node.value) in ("self", "cls"):
                own.add(node.attr)
    return own


def _dotted(node: ast.Attribute) -> list[str]:
    """The parts of a.b.c; [""] where it begins with no name, as f(x).c."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else [""]


def unstable_names(source: str) -> set[str]:
    """Experimental and private names of other packages that a file uses.

    A module's name is dotted and ends with what is used of it, as in
    jax.experimental.multihost_utils.process_allgather; an attribute is its own name.
    """
    tree = ast.parse(source)
    own, modules, found = _own_names(tree), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                parts = f"{prefix}{alias.name}".split(".")
                if parts[0] == "hiercam_keras":
                    continue
                if _UNSTABLE & {*parts} or any(map(_is_private, parts)):
                    modules[alias.asname or parts[-1]] = ".".join(parts)
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, *rest = _dotted(node)
            if first in modules:
                used.add(first)
                found.add(".".join([modules[first], *rest]))
            elif _UNSTABLE & {*rest}:
                found.add(".".join([first, *rest]))
            elif _is_private(node.attr) and node.attr not in own:
                found.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _BY_NAME:
            for argument in node.args[1:2]:
                name = getattr(argument, "value", None)
                if isinstance(name, str) and _is_private(name) and name not in own:
                    found.add(name)
    found |= {name for alias, name in modules.items() if alias not in used}
    return {x for x in found if not any(y.startswith(f"{x}.") for y in found)}


def _sources():
    for name in SOURCES:
        path = ROOT / name
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def test_the_list_is_complete_and_nothing_on_it_is_gone():
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in _sources()
        for name in unstable_names(path.read_text(encoding="utf-8"))
    }
    assert found - RELIED_ON.keys() == set(), "add them to RELIED_ON with a test"
    assert RELIED_ON.keys() - found == set(), "no longer used: remove from RELIED_ON"


@pytest.mark.parametrize(("use", "test"), RELIED_ON.items(), ids="-".join)
def test_each_is_covered_by_a_test_that_names_it(use, test):
    file, function = test.split("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (found,) = [x for x in tree.body if getattr(x, "name", "") == function]
    assert use[1].split(".")[-1] in ast.unparse(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from jax.experimental import multihost_utils as m\nm.f(m.g(1))",
            {
                "jax.experimental.multihost_utils.f",
                "jax.experimental.multihost_utils.g",
            },
        ),
        (
            "from jax.experimental.mesh_utils import f",
            {"jax.experimental.mesh_utils.f"},
        ),
        ("import keras.src.layers", {"keras.src.layers"}),
        ("from jax._src import core\ncore.x", {"jax._src.core.x"}),
        (
            "import jax\njax.experimental.io_callback(f)",
            {"jax.experimental.io_callback"},
        ),
        ("x.a._deep(1)", {"_deep"}),
        ("getattr(model, '_layers', 1)", {"_layers"}),
        ("class A:\n  def f(self):\n    self._mine = 1\n    return other._mine", set()),
        ("row._replace(a=1)\nx.__class__\nimport os\nos._exit(1)", set()),
        ("from hiercam_keras.data import _x", set()),
    ],
)
def test_names_are_found_however_they_are_used(source, expected):
    assert unstable_names(source) == expected


def test_layers_inside_a_layer():
    """_flatten_layers: those at any depth, or the direct ones alone."""
    deep = keras.layers.Dense(2)
    inner = keras.Sequential([keras.Input((4,)), deep])
    model = keras.Sequential([keras.Input((4,)), inner])
    found = model._flatten_layers(include_self=False)
    assert deep in found and inner in found and model not in found
    direct = model._flatten_layers(include_self=False, recursive=False)
    assert inner in direct and deep not in direct


def test_nodes_of_a_graph_are_its_calls():
    """_nodes_by_depth: one node for each call of a layer that the model contains."""
    shared = keras.layers.Dense(3)
    first, second = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([first, second], shared(first) + shared(second))
    shared(keras.Input((3,)))  # a call that is not the model's
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    calls = [node for node in nodes if node.operation is shared]
    assert len(calls) == 2
    assert {node.input_tensors[0] is first for node in calls} == {True, False}


def test_keras_forgets_which_attributes_have_no_weights(tmp_path, monkeypatch):
    """keras.src.saving.saving_lib.get_attr_skipset makes a layer at each call. Where it
    no longer does, `files._remembered_attributes` can go."""
    pixels = x = keras.Input((2,))
    for _ in range(5):
        x = keras.layers.Dense(2)(x)
    model = keras.Model(pixels, x)
    model.save(tmp_path / "m.keras")
    made = []
    make = keras.layers.Layer.__init__

    def noted(self, *args, **options):
        made.append(type(self))
        make(self, *args, **options)

    monkeypatch.setattr(keras.layers.Layer, "__init__", noted)
    keras.saving.load_model(tmp_path / "m.keras")
    assert made.count(keras.layers.Layer) > 5
    made.clear()
    read = files.read_keras(tmp_path / "m.keras")
    assert made.count(keras.layers.Layer) <= 2
    for one, other in zip(read.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_seeds_and_configs_are_made_without_tensorflow(monkeypatch):
    """keras.src.utils.module_utils.tensorflow is what Keras imports when it asks for
    TensorFlow, unless its _available is known."""
    from keras.src.utils import module_utils

    def draws():
        layers = keras.random.uniform((2,)), keras.layers.Dense(3)(np.ones((1, 2)))
        return [np.asarray(x) for x in layers] + [random.random(), np.random.rand()]

    asked = []
    lazy = module_utils.tensorflow
    monkeypatch.setattr(lazy, "initialize", lambda: asked.append(1))
    monkeypatch.setattr(lazy, "module", types.SimpleNamespace(random=mock.Mock()))
    monkeypatch.setattr(lazy, "_available", None)
    keras.utils.set_random_seed(5)
    expected = draws()
    assert asked
    monkeypatch.setattr(lazy, "module", None)
    monkeypatch.setattr(lazy, "_available", None)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    asked.clear()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert model_digest.of_model(model)
    runtime.set_seed(5)
    assert not asked and lazy._available is None
    for found, wanted in zip(draws(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    # Code of a user that has imported TensorFlow may draw with it.
    module = types.SimpleNamespace(random=mock.Mock())
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    monkeypatch.setattr(lazy, "module", module)
    monkeypatch.setattr(lazy, "_available", True)
    runtime.set_seed(5)
    module.random.set_seed.assert_called_once_with(5)


def test_devices_that_are_not_here_are_described():
    """get_topology_desc asks a compiler by name, here one that is not installed."""
    from jax.experimental import topologies

    with pytest.raises((RuntimeError, NotImplementedError, ValueError), match="rocket"):
        topologies.get_topology_desc(platform="rocket", topology_name="1x1")


def test_a_device_mesh_takes_the_devices_of_another():
    """_backend_mesh, once set, is the mesh of every layout."""
    mesh = keras.distribution.DeviceMesh((1,), ["batch"], ["cpu:0"])
    other = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("batch",))
    mesh._backend_mesh = other
    layout = keras.distribution.TensorLayout(("batch", None), mesh)
    assert layout.backend_layout.mesh is other


def test_tensors_name_the_operation_that_made_them():
    layer = keras.layers.Dense(2)
    tensor = layer(keras.Input((3,)))
    assert tensor._keras_history.operation is layer


def test_optimizers_decay_weights_by_a_private_method():
    """`apply` calls _apply_weight_decay, _use_weight_decay says for which variables."""
    kernel, bias = keras.Variable(np.ones(2), name="kernel"), keras.Variable(1.0)
    optimizer = keras.optimizers.SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_list=[bias])
    optimizer.build([kernel, bias])
    assert optimizer._use_weight_decay(kernel)
    assert not optimizer._use_weight_decay(bias)
    zeros = [np.zeros(2, np.float32), np.float32(0)]
    optimizer.apply(zeros)
    np.testing.assert_allclose(kernel, 0.95)  # 1 - 0.5 * 0.1
    assert float(bias.value) == 1
    asked = []
    optimizer._apply_weight_decay = asked.append
    optimizer.apply(zeros)
    np.testing.assert_allclose(kernel, 0.95)
    assert [list(variables) for variables in asked] == [[kernel, bias]]


def test_optimizers_keep_averages_in_private_lists():
    """Those of _trainable_variables are _model_variables_moving_average, in order."""
    variables = [keras.Variable(np.ones(2)), keras.Variable(np.zeros((3, 1)))]
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75)
    optimizer.build(variables)
    optimizer.apply([np.ones(2, np.float32), np.zeros((3, 1), np.float32)])
    optimizer.apply([np.ones(2, np.float32), np.zeros((3, 1), np.float32)])
    found = optimizer._trainable_variables
    assert [id(variable) for variable in found] == [id(one) for one in variables]
    first, second = optimizer._model_variables_moving_average
    # The weight after the first step, 0.5, then 0.75 of it and 0.25 of the next, 0.
    np.testing.assert_allclose(first, 0.375)
    np.testing.assert_array_equal(second, np.zeros((3, 1)))


def test_layers_that_are_part_of_a_graph_have_inbound_nodes():
    layer, other = keras.layers.Dense(2), keras.layers.Dense(2)
    keras.Model(inputs := keras.Input((3,)), layer(inputs))
    assert len(layer._inbound_nodes) == 1 and not other._inbound_nodes


def test_a_train_step_can_be_compiled_without_a_call_of_fit():
    """_symbolic_build makes losses and metrics, _get_jax_state the state of a step."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    batch = np.ones((4, 3), np.float32), np.zeros(4, np.int32)
    model._symbolic_build(data_batch=batch)
    state = model._get_jax_state(
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    logits = np.asarray(model(batch[0]), np.float64)
    expected = (np.log(np.exp(logits).sum(1)) - logits[:, 0]).mean()
    logs, (weights, *_) = jax.jit(model.train_step)(state, batch)
    assert float(logs["loss"]) == pytest.approx(expected, rel=1e-5)
    assert len(weights) == 2


def test_tensorflow_shares_memory_by_dlpack():
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    room = np.zeros(64 + 16, np.uint8)
    start = -room.ctypes.data % 64  # from_dlpack may refuse what is not aligned
    array = room[start : start + 16]
    tensor = tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    array[3] = 7
    assert tensor.numpy().tolist() == [0, 0, 0, 7, *[0] * 12]


_TWO_PROCESSES = """
import sys
import numpy as np
from hiercam_keras import multihost, runtime
runtime.prepare_process()
multihost.join("train")
import jax
from jax.experimental import multihost_utils
from hiercam_keras.training import forward, stopping
me = multihost.part()[0]
multihost.barrier("begin")
assert multihost.all_of(True) and not multihost.all_of(me == 0)
rows = forward.gather([np.array([[me, k]]) for k in range(2)])
assert rows.tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]], rows
texts = forward.gather_text([[f"of {me}", "é" * me], ["x", "y"]])
assert texts == ["of 0", "", "of 1", "é", "x", "y", "x", "y"], texts
stopping.StopSignals().check(step=3)  # no signal came: nothing is raised
multihost.barrier("end")
print("agreed", me, flush=True)
"""


def test_two_processes_agree():
    """process_allgather, sync_global_devices and reached_preemption_sync_point."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    common = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TWO_PROCESSES],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**common, "JAX_PROCESS_ID": str(number)},
        )
        for number in range(2)
    ]
    for number, process in enumerate(processes):
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
        assert f"agreed {number}" in out
