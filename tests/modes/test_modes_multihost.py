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

from hiercam_keras.cam import store
from hiercam_keras.report import tables

ROOT = Path(__file__).parent.parent.parent
# argv: folder of the runs, of the birds, and JSON: modes, flags, step to die before.
CODE = """
import json, os, signal, sys
from pathlib import Path
from hiercam_keras import hosts, runtime
runtime.prepare_process()
folder, data, asked = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
hosts.join("train")
import tiny_birds
tiny_birds.register()
from hiercam_keras.errors import UserError
from hiercam_keras.training.saving import Saving
begin = Saving.on_train_batch_begin
def on_train_batch_begin(self, batch, logs=None):
    at = self.epoch * self.num_batches + self._first + batch
    if at == asked["die"] and hosts.part()[0] == hosts.part()[1] - 1:
        self.checkpoints.wait()
        os.kill(os.getpid(), signal.SIGKILL)
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
        said = tiny_birds.run(mode, config, fields=fields, **flags)
        if hosts.is_primary():
            print(said, flush=True)
except UserError as error:
    print("error:", error, flush=True)
    hosts.leave(1)
"""


def start(count, folder, birds, modes, die=-1, resume=False):
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    asked = json.dumps({"modes": modes, "die": die, "resume": resume})
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


@pytest.mark.slow  # two minutes for two processes on two cores
@pytest.mark.parametrize("count", [2, 4])
def test_processes_are_one_run_and_one_may_die(count, alone, birds, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    said = finish(start(count, whole, birds, ["train", "eval", "cam"]))
    equals_one_process(alone, whole, said)

    processes = start(count, parts, birds, ["train"], die=4)
    processes[-1].communicate(timeout=300)
    assert processes[-1].returncode == -signal.SIGKILL
    began = time.monotonic()
    for process in processes[:-1]:
        out, told = process.communicate(timeout=120)
        assert process.returncode != 0
        words = out + told
        assert "another process of this run has ended" in words or "heart" in words
    assert time.monotonic() - began < 90
    finish(start(count, parts, birds, ["train"], resume=True))
    pairs = zip(weights(parts / "run"), weights(whole / "run"), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)
