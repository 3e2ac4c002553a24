"""The benchmarks' workers as processes: what they hold, and when they end."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks import worker

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells and resets it"
)
ROOT = Path(__file__).parent.parent.parent


def test_a_peak_is_forgotten():
    """A compiler's memory does not count for the calls after it."""
    worker.forget_peak()  # of the tests before this one
    before = worker.peak_memory()
    held = bytearray(b"x" * 300 * 2**20)
    high = worker.peak_memory()
    assert high > before + 200
    del held
    worker.forget_peak()
    assert worker.peak_memory() < high - 200


@pytest.fixture
def pages(monkeypatch):
    """The pages of a process, as a list to add to."""
    held = [1000]
    monkeypatch.setattr(worker, "_resident", lambda: sum(held))
    return held


def test_calls_count_from_when_no_new_memory_comes_in(pages):
    blocks = []

    def run(calls: int) -> None:
        blocks.append(calls)
        pages.append(200 if len(blocks) < 3 else 1)

    worker.warm_up(run, 4)
    assert blocks == [4, 4, 4]


def test_a_heap_that_never_settles_is_not_waited_for(pages):
    worker.warm_up(lambda calls: pages.append(sum(pages)), 1)
    assert len(pages) == 6


def test_pages_in_memory_are_counted():
    before = worker._resident()
    held = b"x" * 300 * 2**20
    assert (worker._resident() - before) * os.sysconf("SC_PAGE_SIZE") > 200 * 2**20
    del held


def test_a_stopped_worker_ends_with_its_parent():
    """As when the run is killed: a stopped process reads no end of input."""
    parent = textwrap.dedent("""
        import signal, subprocess, sys, time
        command = [sys.executable, "-m", "benchmarks.worker", "nobody",
                   '{"size": 8, "batch": 1}']
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        worker.stdin.write("{}\\n")
        worker.stdin.flush()
        assert "error" in worker.stdout.readline()
        worker.send_signal(signal.SIGSTOP)
        print(worker.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        status = Path("/proc", process.stdout.readline().strip(), "status")
        assert _reaches(status, "T")
        process.kill()
        process.wait()
    assert _reaches(status, "", "Z", "X")


def _reaches(status: Path, *states: str) -> bool:
    """Whether a process comes into one of these states, in time."""
    deadline = time.monotonic() + 20
    while _state(status) not in states and time.monotonic() < deadline:
        time.sleep(0.05)
    return _state(status) in states


def _state(status: Path) -> str:
    """The letter of a process' state, "" where there is none any more."""
    try:
        lines = status.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return next(line.split()[1] for line in lines if line.startswith("State:"))
