"""Two runs in one folder, and what a killed one leaves."""

import os
import signal
import subprocess
import sys

import pytest

from hiercam_keras import run_lock
from hiercam_keras.errors import UserError

CODE = (
    "import sys, time; from pathlib import Path; from hiercam_keras import run_lock\n"
    "with run_lock.hold(Path(sys.argv[1])):\n"
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
        with run_lock.hold(tmp_path):
            raise AssertionError


def test_the_lock_of_a_killed_run_keeps_nobody_out(tmp_path, other, monkeypatch):
    told = []
    monkeypatch.setattr(
        run_lock.logging, "info", lambda text, *values: told.append(text % values)
    )
    other.send_signal(signal.SIGKILL)
    other.wait()
    with run_lock.hold(tmp_path):
        content = (tmp_path / run_lock.NAME).read_text()
        assert f'"pid": {os.getpid()}' in content
    assert len(told) == 1 and f"killed, process {other.pid}" in told[0]


def test_nothing_is_told_after_an_orderly_end(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock.logging, "info", lambda *words: 1 / 0)
    for _ in range(2):
        with pytest.raises(KeyError), run_lock.hold(tmp_path):
            raise KeyError
    assert (tmp_path / run_lock.NAME).read_bytes() == b""


def test_a_lock_file_with_other_content(tmp_path):
    (tmp_path / run_lock.NAME).write_bytes(b"\xff[")
    with run_lock.hold(tmp_path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / run_lock.NAME).mkdir()
    with pytest.raises(UserError, match="cannot write .*run.lock: Is a directory"):
        with run_lock.hold(tmp_path):
            raise AssertionError
