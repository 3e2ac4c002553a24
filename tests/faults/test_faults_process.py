"""main.py under signals, closed pipes, strange names and files that go away."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tiny_birds
from array_loader import ArrayLoader, make_images

from hiercam_keras.errors import UserError, explain_out_of_memory
from hiercam_keras.modes import usage
from hiercam_keras.training import predict

# Sends itself a signal before a step: AT_STEP is "step signal".
AT_STEP = """
import os, signal
from hiercam_keras.training.saving import Saving
step, number = os.environ["AT_STEP"].split()
begin = Saving.on_train_batch_begin
def on_train_batch_begin(self, batch, logs=None):
    if self.epoch * self.num_batches + self._first + batch == int(step):
        os.kill(os.getpid(), getattr(signal, number))
    begin(self, batch, logs)
Saving.on_train_batch_begin = on_train_batch_begin
"""
EPOCHS = ("--config.train.epochs=4", "--config.train.checkpoint_steps=1")


def weights(run: Path) -> list[np.ndarray]:
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights()


@pytest.fixture(scope="module")
def flags(birds):
    return ["--mode=train", "--rank=family", *tiny_birds.command_line(birds), *EPOCHS]


def test_sigterm_saves_and_says_how_to_go_on(start, flags, tmp_path):
    run = tmp_path / "run"
    asked = [*flags, f"--workdir={run}"]
    stopped = start(*asked, hook=AT_STEP, env={"AT_STEP": "4 SIGTERM"})
    said, told = stopped.communicate(timeout=300)
    assert (stopped.returncode, said) == (75, "")
    assert "SIGTERM: saving before the stop" in told
    assert told.splitlines()[-1].startswith("stopped: SIGTERM, stopped at step ")
    assert "--resume" in told.splitlines()[-1] and "Traceback" not in told
    assert not (run / "model.keras").exists()


# Sends itself SIGTERM when a function is called: AT_CALL is its module and name.
AT_CALL = """
import importlib, os, signal
module, name = os.environ["AT_CALL"].split()
module = importlib.import_module(module)
call = getattr(module, name)
def killed(*args, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    return call(*args, **options)
setattr(module, name, killed)
"""


@pytest.mark.parametrize(
    ("mode", "call"),
    [
        ("train", "hiercam_keras.data.sources load"),  # nothing has begun
        ("train", "hiercam_keras.models.files save_model"),  # all steps are done
        ("predict", "hiercam_keras.runs.run_folder read_finished"),
    ],
)
def test_sigterm_outside_of_the_steps_says_again(start, flags, tmp_path, mode, call):
    """Status 75, so that a scheduler starts it again; `--resume` then needs no step."""
    run = tmp_path / "run"
    asked = [*flags, f"--workdir={run}", f"--mode={mode}"]
    stopped = start(*asked, hook=AT_CALL, env={"AT_CALL": call})
    said, told = stopped.communicate(timeout=300)
    assert (stopped.returncode, said) == (75, ""), told
    kept = usage.USAGE[mode].after_stop
    assert told.splitlines()[-1] == f"stopped: SIGTERM. {kept}"
    assert "Traceback" not in told and not (run / "model.keras").exists()
    if "save_model" not in call:
        return
    ended = start(*asked, "--resume")
    said, told = ended.communicate(timeout=300)
    assert ended.returncode == 0 and "wrote" in said, told
    assert "resuming after step 0 of epoch 5" in told


@pytest.mark.slow
def test_sigkill_then_sigterm_then_on_to_the_same_end(start, flags, tmp_path, birds):
    """In a folder with spaces and letters of three scripts in its name."""
    run = tmp_path / "läufe 日本 run"
    asked = [*flags, f"--workdir={run}"]
    killed = start(*asked, hook=AT_STEP, env={"AT_STEP": "5 SIGKILL"})
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL

    stopped = start(*asked, "--resume", hook=AT_STEP, env={"AT_STEP": "10 SIGTERM"})
    said, told = stopped.communicate(timeout=300)
    assert (stopped.returncode, said) == (75, "")
    assert "SIGTERM: saving before the stop" in told
    last = told.splitlines()[-1]
    # Three batches an epoch: ten of them end with the first of the fourth epoch.
    assert last.startswith("stopped: SIGTERM, stopped at step 1 of epoch 4."), told
    assert "run.lock is of a run that was killed, process" in told

    ended = start(*asked, "--resume")
    said, told = ended.communicate(timeout=300)
    assert ended.returncode == 0, told
    assert "Traceback" not in told

    config = tiny_birds.make_config(tmp_path, birds)
    config.train.epochs = 4
    tiny_birds.run("train", config, rank=("family",), workdir=str(tmp_path / "whole"))
    for one, other in zip(weights(run), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)
    logs = [(path / "log.csv").read_bytes() for path in (run, tmp_path / "whole")]
    assert logs[0] == logs[1]


def test_who_reads_our_words_may_go(start, tmp_path):
    """As in `python main.py ... | head -1`: no traceback, and no lost work."""
    read, write = os.pipe()
    process = start(
        "--mode=prepare", f"--config.data.root={tmp_path}", stdout=write, hook=_SPEAKER
    )
    os.close(read)
    os.close(write)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0 and told == ""


_SPEAKER = """
import types, sys
mode = types.ModuleType("hiercam_keras.modes.prepare")
mode.run = lambda settings: "many words " * 10000
sys.modules["hiercam_keras.modes.prepare"] = mode
"""


def test_out_of_memory_names_the_batch_and_what_to_try():
    """A petabyte: XLA really fails to allocate it."""
    words = r"out of memory with batches of 64 images.*--config\.data\.batch_size=32"
    with pytest.raises(UserError, match=words):
        with explain_out_of_memory(64, "data.batch_size"):
            jnp.zeros((10**15,), jnp.uint8).block_until_ready()
    with pytest.raises(RuntimeError, match="other"):
        with explain_out_of_memory(64, "data.batch_size"):
            raise RuntimeError("other")


def test_out_of_memory_while_a_model_is_asked():
    """In eval and predict: the batches are those of the loader."""

    def model(network, images, forward):
        return jnp.zeros((10**15,), jnp.uint8).block_until_ready()

    loader = ArrayLoader(*make_images(0, 12), 6, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "predict_batch", model)
        with pytest.raises(UserError, match=r"batches of 6 images.*batch_size=3"):
            predict.predict_logits(None, loader, ("family",))


def test_a_read_only_workdir(birds, tmp_path):
    config = tiny_birds.make_config(tmp_path, birds)
    folder = tmp_path / "frozen"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:
        folder.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Choose another .*--workdir"):
            tiny_birds.run("train", config, rank=("family",), workdir=f"{folder}/run")
        with pytest.raises(UserError, match="cannot write .*run.lock: .*--workdir"):
            tiny_birds.run("train", config, rank=("family",), workdir=str(folder))
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.chmod(0o700)


def test_a_clock_that_goes_back(birds, tmp_path, monkeypatch):
    """The days of the wall clock run backwards; checkpoints and maps come the same."""
    config = tiny_birds.make_config(tmp_path, birds)
    now = [time.time()]

    def back():
        now[0] -= 3600.0
        return now[0]

    monkeypatch.setattr(time, "time", back)
    run = tmp_path / "run"
    tiny_birds.run("train", config, rank=("family",), workdir=str(run))
    said = tiny_birds.run("cam", config, rank=("family",), workdir=str(run))
    assert said.startswith("9 maps of the test split, 9 of them made now")
    said = tiny_birds.run("cam", config, rank=("family",), workdir=str(run))
    assert said.startswith("9 maps of the test split, 0 of them made now")


def test_names_that_are_no_utf8_and_files_that_vanish(birds, tmp_path):
    """Left out: a split is a list in UTF-8; a vanished file is reported."""
    config = tiny_birds.make_config(tmp_path, birds)
    tiny_birds.run("prepare", config)
    data = tmp_path / "copy"
    shutil.copytree(birds / "images", data)
    first = sorted(data.rglob("*.jpg"))[0]
    strange = os.fsencode(first.parent) + b"/caf\xe9\xff.jpg"
    os.link(first, strange)
    run = tmp_path / "run"
    flags = {"rank": ("family",), "workdir": str(run), "data_dir": str(data)}
    fields = {"data.source": "image_folder", "data.root": "", "train.epochs": 1}
    tiny_birds.run("train", config, fields=fields, **flags)
    ids = [
        line
        for part in ("train", "val", "test")
        for line in (run / "split" / f"{part}.txt").read_text("utf-8").splitlines()
    ]
    assert len(ids) == 80 and not any("caf" in one for one in ids)

    test = (run / "split" / "test.txt").read_text("utf-8").splitlines()
    (data / test[0]).unlink()
    said = tiny_birds.run("cam", config, fields={"cam.num_overlays": 0}, **flags)
    assert said.startswith(f"{len(test) - 1} maps of the test split")
