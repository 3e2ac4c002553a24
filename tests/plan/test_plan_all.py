"""`make plan-all` with a program in place of ours, which plans nothing."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *--device={device}*) {does};; esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def started(tmp_path):
    """Starts `make plan-all` with a program that does something for one device."""

    def start(device, does):
        (tmp_path / "bin").mkdir()
        python = tmp_path / "bin" / "python"
        python.write_text(
            PROGRAM.format(log=tmp_path / "log", device=device, does=does)
        )
        python.chmod(0o755)
        (tmp_path / ".installed").touch()
        return subprocess.Popen(
            ["make", "plan-all", f"PLAN={tmp_path}"],
            cwd=ROOT,
            env={**os.environ, "MAKEFLAGS": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def planned(folder):
    """Experiment and device of each call."""
    lines = (folder / "log").read_text().splitlines()
    fields = [dict(one.split("=") for one in line.split()[1:]) for line in lines]
    return [(one["--config"], one["--device"]) for one in fields]


def test_a_device_that_fails_does_not_lose_the_others(started, tmp_path):
    make = started("gpu:h200", "exit 1")
    said = make.communicate()[0]
    assert make.returncode != 0
    found = planned(tmp_path)
    assert len(set(found)) == len(found) == 12
    assert found[-1] == ("inat2021_birds", "tpu:v6e-8")
    assert "Plan 3 of 12: synthetic_birds on gpu:h200\n" in said
    assert "No plan of synthetic_birds@gpu:h200.\n" in said


def test_ctrl_c_stops_all_of_them(started, tmp_path):
    """Shells go on after a program that ends by itself at Ctrl-C, as ours does."""
    make = started("gpu:h100", "trap 'kill $!; exit 130' INT; sleep 30 & wait")
    deadline = time.monotonic() + 20
    while not (tmp_path / "log").exists() or len(planned(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(make.pid, signal.SIGINT)  # as a terminal does
    said = make.communicate(timeout=20)[0]
    assert make.returncode != 0
    assert len(planned(tmp_path)) == 2 and "No plan of" not in said
