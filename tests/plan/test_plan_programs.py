"""The programs are those of a run, and a process of its own compiles them."""

import inspect
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from hiercam_keras import config_files
from hiercam_keras.cam import recommended, targets
from hiercam_keras.errors import UserError
from hiercam_keras.modes.plan_data import made_up
from hiercam_keras.plan import fit, topology
from hiercam_keras.plan.compile import Compiler
from hiercam_keras.plan.devices import device
from hiercam_keras.plan.programs import Programs
from hiercam_keras.plan.recipe import Recipe

HERE = Path(__file__).parent
CPU = device("cpu")


def recipe(**fields):
    """Of a small network with a head for two ranks."""
    config = config_files.load("default")
    config.model.update(backbone="small_mbconv:build", weights="none")
    config.data.image_size = 32
    config.update_from_flattened_dict(fields)
    taxonomy = made_up("family:3,species:7", ("species",))
    labels = {rank: taxonomy.num_labels(rank) for rank in taxonomy.ranks}
    return Recipe(
        config.to_dict(), labels, taxonomy, {}, asked=targets.label(None, "species")
    )


@pytest.fixture(scope="module")
def programs():
    return Programs(recipe(), topology.mesh(CPU), "cpu")


def products(text):
    """The convolutions and products of a lowered program, without names of values."""
    lines = re.sub(r"%[\w#:]+", "%", text).splitlines()
    wanted = ("stablehlo.convolution", "stablehlo.dot_general")
    return [line.strip() for line in lines if any(one in line for one in wanted)]


def test_the_train_step_is_that_of_fit(programs):
    """Keras jits a closure in the function that `fit` calls."""
    found = programs.lower("train", 4)
    model = programs.model
    model.make_train_function(force=True)
    step = inspect.getclosurevars(model.train_function).nonlocals["step_function"]
    arguments = jax.tree.map(
        lambda one: jax.ShapeDtypeStruct(one.shape, one.dtype), found.arguments
    )
    lowered = step.lower(*arguments)
    theirs = lowered.as_text()
    mine = found.lowered.as_text()
    assert len(products(mine)) > 20
    assert products(mine) == products(theirs)
    for figure in ("flops", "transcendentals"):
        one, other = (each.cost_analysis()[figure] for each in (found.lowered, lowered))
        assert one == pytest.approx(other, rel=1e-6)  # a second trace adds some scalars
    assert mine.count("tf.aliasing_output") == theirs.count("tf.aliasing_output") > 50


def test_the_batch_is_in_every_program(programs):
    for name in ("train", "eval", "cam"):
        text = programs.lower(name, 6).lowered.as_text()
        assert "tensor<6x32x32x3xui8>" in text, name
        assert "tensor<2x32x32x3xui8>" not in text, name


def test_the_recommended_maps_are_those_of_its_method(programs):
    """At the last activation: no earlier layer of this network is known."""
    named = []
    for method in ("recommended", recommended.METHOD):
        programs.config.cam.method = method
        named.append(programs.lower("cam", 2).lowered.as_text())
    programs.config.cam.method = "gradcam"
    assert named[0] == named[1]


def test_sizes_are_by_purpose(programs):
    weights = sum(v.value.nbytes for v in programs.model.weights)
    found = programs.lower("train", 6).sizes
    assert found["input"] == 6 * (32 * 32 * 3 + 2 * 4)
    trainable = sum(v.value.nbytes for v in programs.model.trainable_variables)
    assert weights <= found["weights"] < weights + 100  # seeds of dropout
    assert 2 * trainable <= found["optimizer"] < 2 * trainable + 200


def test_a_process_compiles_and_keeps_the_result(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    with Compiler(recipe(), CPU) as compiled:
        found = compiled("eval", 4)
        assert found.moved > 0 and found.flops > 1e6 and found.total > 1e5
        assert found.memory["temp"] > 0 and not found.repeated
        assert found.processor > 0
        kept = sorted(path.suffix for path in tmp_path.rglob("plan/*"))
        assert kept == [".gz", ".json"]
        (path,) = tmp_path.rglob("plan/*.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 777}))
        again = compiled("eval", 4)
        assert again.seconds == 777 and again.moved == found.moved
        process = compiled._process
    assert process.returncode is not None


@pytest.mark.slow
def test_an_error_in_the_config_is_one_line():
    wrong = recipe(**{"model.backbone": "small_mbconv:nothing"})
    with pytest.raises(UserError, match="small_mbconv.*has no function 'nothing'"):
        with Compiler(wrong, CPU) as compiled:
            compiled("eval", 4)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_that_of_a_real_step():
    """Also the bytes that are counted, against those of XLA."""
    fields = {"model.backbone": "small_mbconv:build", "model.weights": "none"}
    fields |= {"data.image_size": 64, "batch": 64, "labels": 48}
    paths = [str(HERE), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-m", "measured_step", json.dumps(fields)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["measured"] > 1e8
    assert said["plan"] == pytest.approx(said["measured"], rel=0.15)


@pytest.mark.slow
def test_a_stop_ends_the_compiler(tmp_path):
    """The process that compiles is killed, even in native code."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from test_plan_programs import CPU, recipe\n"
        "from hiercam_keras.plan.compile import Compiler\n"
        "with Compiler(recipe(), CPU) as compiled:\n"
        "    print(compiled._process.pid, flush=True)\n"
        "    compiled('train', 64)\n"
    )
    paths = [str(HERE), *filter(None, sys.path)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *paths],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()  # not even an exception; the child reads that its stdin ends
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":  # nobody waits for it in a container
            break
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{child}").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch", "verdict"),
    [
        ("tpu:v5e-1", 8192, fit.TOO_LARGE),  # which the compiler refuses
        ("tpu:v5e-1", 3840, fit.RECOMPUTES),
        ("tpu:v5e-1", 1024, fit.FITS),
        ("gpu:l4", 4096, fit.TOO_LARGE),  # which it compiles
        ("gpu:l4", 2048, fit.RECOMPUTES),
        ("gpu:l4", 1024, fit.FITS),
    ],
)
def test_a_batch_fits_by_recomputing_or_not_at_all(name, batch, verdict):
    asked = device(name)
    try:
        topology.check(asked)
    except UserError as error:
        pytest.skip(str(error))
    fields = {"data.image_size": 224, "model.dtype": "mixed_bfloat16"}
    with Compiler(recipe(**fields), asked) as compiled:
        found = compiled("train", batch)
    assert fit.verdict(found, asked) == verdict
    assert bool(found.refused) == (verdict == fit.TOO_LARGE and name != "gpu:l4")
    if verdict == fit.TOO_LARGE:
        assert found.total > fit.room(asked)
