"""Several processes as one run: what one gives, one writer, and a host that dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_birds

from hiercam_keras import tables
from hiercam_keras.cam import store

ROOT = Path(__file__).parent.parent.parent
# argv: folder of the runs, of the birds, and JSON: modes, flags, and the step before
# which some process sends itself a signal. After a SIGTERM steps take their time: JAX
# agrees on a later one at which all stop.
CODE = """
import json, os, signal, sys, time
from pathlib import Path
from hiercam_keras import multihost, runtime
runtime.prepare_process()
folder, data, asked = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
multihost.join("train")
import tiny_birds
tiny_birds.register()
from hiercam_keras.errors import Stopped, UserError
from hiercam_keras.training.saving import Saving
begin = Saving.on_train_batch_begin
def on_train_batch_begin(self, batch, logs=None):
    at = self.epoch * self.num_batches + self._first + batch
    if at == asked["step"] and multihost.part()[0] in asked["who"]:
        self.checkpoints.wait()
        os.kill(os.getpid(), getattr(signal, asked["signal"]))
    if at >= asked["step"] and asked["signal"] == "SIGTERM":
        time.sleep(0.5)
    begin(self, batch, logs)
Saving.on_train_batch_begin = on_train_batch_begin
config = tiny_birds.make_config(folder, data)
config.train.checkpoint_steps = 1
flags = {"rank": ("family",), "resume": asked["resume"], "workdir": str(folder / "run")}
try:
    for mode in asked["modes"]:
        fields = {"cam.batch_size": 2} if mode == "cam" else {}
        if mode == "cam":
            flags["split"] = "train"
        with multihost.as_one():  # as main.py does
            said = tiny_birds.run(mode, config, fields=fields, **flags)
        if multihost.is_primary():
            print(said, flush=True)
except UserError as error:
    print("error:", error, flush=True)
    multihost.leave(1)
except Stopped as stop:
    print("stopped:", stop, flush=True)
    multihost.leave(stop.status)
"""


def start(count, folder, birds, modes, stop=None, resume=False):
    """Starts all processes; `stop` is step, signal and the processes that get it."""
    step, name, who = stop or (10**9, "SIGKILL", [])
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    asked = {"modes": modes, "resume": resume}
    asked = json.dumps({**asked, "step": step, "signal": name, "who": who})
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(count),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(folder), str(birds), asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**common, "JAX_PROCESS_ID": str(number)},
        )
        for number in range(count)
    ]


def finish(processes) -> list[str]:
    said = []
    for process in processes:
        out, told = process.communicate(timeout=500)
        assert process.returncode == 0, told[-3000:]
        lines = out.splitlines(keepends=True)
        said.append("".join(x for x in lines if not x.startswith("[Gloo]")))
    return said


def weights(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def alone(tmp_path_factory, birds):
    """Config and folder of the run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    config = tiny_birds.make_config(folder, birds)
    run = folder / "run"
    tiny_birds.run("train", config, rank=("family",), workdir=str(run))
    return config, run


def equals_one_process(alone, folder, said):
    """Loss and accuracy, eval tables and maps of the run of one process."""
    run, (config, one) = folder / "run", alone
    mine, theirs = (tables.read_log(path / "log.csv") for path in (run, one))
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_allclose(values, theirs[name], rtol=1e-4, err_msg=name)
    flags = {"rank": ("family",), "workdir": str(run)}
    table = run / "eval" / "test" / "predictions.csv"
    before = table.read_bytes()
    tiny_birds.run("eval", config, **flags)
    ids = tables.read_csv(table)["example_id"]
    rows = before.decode().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ids and len(ids) == 9
    assert said[1:] == [""] * (len(said) - 1)
    assert "62 maps of the train split, 62 of them made now" in said[0]
    (maps,) = (run / "maps").iterdir()
    assert store.open(maps).complete
    assert len(list(maps.glob("shard-*.npz"))) == 4
    again = {"fields": {"cam.batch_size": 2}, "split": "train", **flags}
    made = maps.rename(run / "made")
    tiny_birds.run("cam", config, **again)
    for path in maps.glob("shard-*.npz"):
        with np.load(path) as a, np.load(made / path.name) as b:
            assert a["example_id"].tolist() == b["example_id"].tolist()
            np.testing.assert_allclose(a["cam"], b["cam"], rtol=1e-4, atol=1e-6)


LOST = "error: another process of this run has ended or cannot be reached"


def assert_the_others_end(processes, lost):
    """One process was killed: the others end soon, and say why."""
    processes[lost].communicate(timeout=300)
    assert processes[lost].returncode == -signal.SIGKILL
    began = time.monotonic()
    for number, process in enumerate(processes):
        if number == lost:
            continue
        out, told = process.communicate(timeout=120)
        assert process.returncode != 0
        # Without the first process JAX itself may be quicker, in words of its own.
        theirs = "Terminating process because the JAX distributed service" in told
        assert LOST in out or (lost == 0 and theirs), out + told
    assert time.monotonic() - began < 90


@pytest.mark.slow  # two minutes for two processes on two cores
@pytest.mark.parametrize("count", [2, 4])
def test_processes_are_one_run_and_one_may_die(count, alone, birds, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    said = finish(start(count, whole, birds, ["train", "eval", "cam"]))
    equals_one_process(alone, whole, said)

    last, resume = count - 1, False
    if count == 2:
        stop = 1, "SIGTERM", [0, 1]
        for process in start(count, parts, birds, ["train"], stop):
            out, told = process.communicate(timeout=300)
            assert process.returncode == 75, told[-3000:]
            assert "stopped: SIGTERM, stopped at step " in out
        stop = 4, "SIGKILL", [0]
        assert_the_others_end(start(count, parts, birds, ["train"], stop, True), 0)
        resume = True
    stop = 5, "SIGKILL", [last]
    processes = start(count, parts, birds, ["train"], stop, resume)
    assert_the_others_end(processes, last)
    finish(start(count, parts, birds, ["train"], resume=True))
    pairs = zip(weights(parts / "run"), weights(whole / "run"), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
