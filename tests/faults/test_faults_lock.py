"""Two runs in one folder, and what a killed one leaves."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest
import tiny_birds

from hiercam_keras import locks
from hiercam_keras.errors import UserError
from hiercam_keras.training.saving import Saving

CODE = (
    "import sys, time; from pathlib import Path\n"
    "from hiercam_keras import locks\n"
    "with locks.hold(Path(sys.argv[1])):\n"
    "    print('holds', flush=True); time.sleep(60)"
)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_told_whose_it_is(tmp_path, other):
    with pytest.raises(UserError, match=rf"in use: .*process {other.pid} on .*workdir"):
        with locks.hold(tmp_path):
            raise AssertionError


def test_the_lock_of_a_killed_run_keeps_nobody_out(tmp_path, other, monkeypatch):
    told = []
    monkeypatch.setattr(
        locks.logging, "info", lambda text, *values: told.append(text % values)
    )
    other.send_signal(signal.SIGKILL)
    other.wait()
    with locks.hold(tmp_path):
        content = (tmp_path / locks.NAME).read_text()
        assert f'"pid": {os.getpid()}' in content
    assert len(told) == 1 and f"killed, process {other.pid}" in told[0]


def test_nothing_is_told_after_an_orderly_end(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.logging, "info", lambda *words: 1 / 0)
    for _ in range(2):
        with pytest.raises(KeyError), locks.hold(tmp_path):
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_is_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
    """Else two runs would hold locks of two files of one name."""
    path, read = tmp_path / locks.NAME, os.read

    def read_late(file, size):
        content = read(file, size)
        if not removed:
            removed.append(path.unlink())
        return content

    removed = []
    monkeypatch.setattr(locks.os, "read", read_late)
    with locks.hold(tmp_path):
        monkeypatch.undo()
        assert f'"pid": {os.getpid()}' in path.read_text()


def test_a_lock_file_with_other_content(tmp_path):
    (tmp_path / locks.NAME).write_bytes(b"\xff[")
    with locks.hold(tmp_path):
        owner = json.loads((tmp_path / locks.NAME).read_text())
    assert owner["pid"] == os.getpid()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / locks.NAME).mkdir()
    with pytest.raises(UserError, match="cannot write .*run.lock: Is a directory"):
        with locks.hold(tmp_path):
            raise AssertionError


def test_a_disk_that_is_full_at_the_start(small_disk):
    small_disk.fill(0)
    with pytest.raises(UserError, match="cannot write .*run.lock: .*Free some space"):
        with locks.hold(small_disk.path):
            raise AssertionError


def test_a_second_training_is_refused_while_the_first_runs(
    birds, start, tmp_path, monkeypatch
):
    """The second is started before the second step of the first."""
    config, run = tiny_birds.make_config(tmp_path, birds), tmp_path / "run"
    begin, ended = Saving.on_train_batch_begin, []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1 and not ended:
            flags = ["--mode=train", *tiny_birds.command_line(birds)]
            other = start(*flags, f"--workdir={run}", "--overwrite")
            ended.append((*other.communicate(timeout=300), other.returncode))
        begin(self, batch, logs)

    monkeypatch.setattr(Saving, "on_train_batch_begin", on_train_batch_begin)
    said = tiny_birds.run("train", config, rank=("family",), workdir=str(run))
    ((spoken, told, status),) = ended
    assert status == 1 and spoken == ""
    assert (
        f"error: {run} is in use: a training runs in it, process {os.getpid()}"
        in (told.splitlines()[-1])
    )
    assert said.startswith("wrote") and (run / "model.keras").exists()


def test_a_second_export_into_a_store_is_refused(birds, tmp_path):
    """Who ended first would remove what the other is writing."""
    config, run = tiny_birds.make_config(tmp_path, birds), tmp_path / "run"
    flags = {"rank": ("family",), "workdir": str(run)}
    tiny_birds.run("train", config, fields={"train.epochs": 1}, **flags)
    cam = {"fields": {"cam.num_overlays": 0}, **flags}
    tiny_birds.run("cam", config, **cam)
    (maps,) = (run / "maps").iterdir()
    (maps / "shard-00000.npz").unlink()
    half = maps / ".shard-00000.abc.tmp.npz"
    half.write_bytes(b"half")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(maps)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "holds\n"
    try:
        with pytest.raises(UserError, match=rf"{maps.name} is in use: its maps are"):
            tiny_birds.run("cam", config, **cam)
        assert half.exists()
    finally:
        process.kill()
        process.communicate()
    said = tiny_birds.run("cam", config, **cam)
    assert said.startswith("9 maps of the test split, 9 of them made now")
    assert not half.exists()


def test_a_second_pretraining_is_refused(tmp_path, other):
    config = tiny_birds.make_config(tmp_path, tmp_path)
    with pytest.raises(UserError, match=rf"a pretraining runs in it, .* {other.pid} "):
        tiny_birds.run("pretrain", config, workdir=str(tmp_path))


def test_the_lock_of_a_killed_writer_of_a_cache_is_had_at_once(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    path = tmp_path / locks.NAME
    assert f'"pid": {other.pid}' in path.read_text()
    with locks.wait(path, "a cache", "--flag"):
        assert f'"pid": {os.getpid()}' in path.read_text()
    assert not path.exists()


@pytest.mark.parametrize(
    ("number", "refused"),
    [(errno.ENOLCK, False), (errno.EOPNOTSUPP, False), (errno.EACCES, True)],
)
def test_file_systems_that_have_no_locks_or_refuse_otherwise(
    tmp_path, monkeypatch, number, refused
):
    """Without locks, work goes on with a warning. EACCES means that it is locked."""
    logged = []
    monkeypatch.setattr(locks.logging, "warning", lambda *words: logged.append(words))

    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError) if refused else contextlib.nullcontext():
        with locks.hold(tmp_path):
            assert (tmp_path / locks.NAME).exists()
    assert len(logged) == (not refused)
