"""Benchmarks: the process in which one peer works, on orders from standard input.

Every order and every answer is one line of JSON:

    {"do": "prepare", "task": t}         -> stages in seconds, seconds of a warm call
    {"do": "time", "task": t, "calls": n} -> seconds of one call, mean of n
    {"do": "memory"}                     -> peak memory in MiB, the first call apart

    python -m benchmarks.worker hiercam '{"size": 224, "batch": 16}'
"""

import contextlib
import ctypes
import ctypes.util
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.case import Case, set_malloc

_MIB = 2**20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MOST_BLOCKS = 5
_SETTLED = 0.01  # growth of the memory in a block that counts as none


def peak_memory() -> float:
    """The most memory that this process held since `forget_peak`, or ever, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss may be that of the parent before exec
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB


def forget_peak() -> None:
    """Resets `peak_memory`, where the kernel supports it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def give_memory_back() -> None:
    """Freed memory goes back to the system, so that all workers fit side by side."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)


def warm_up(run: Callable[[int], None], calls: int) -> None:
    """Runs blocks of calls until one takes in no new memory, five at most.

    A heap grows for some calls, and pages that are touched for the first time may cost
    much on a virtual machine: 2.6 s a GiB were seen, and 0.1 s (docs/PERFORMANCE.md).
    """
    for _ in range(_MOST_BLOCKS):
        before = _resident()
        run(calls)
        if _resident() - before <= _SETTLED * before:
            return


def _resident() -> int:
    """Pages in memory; 0 where the kernel does not report it."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) if statm.is_file() else 0


def end_with_parent() -> None:
    """A stopped worker reads no end of input: the kernel kills it with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """One peer on one case."""

    def __init__(self, peer: str, case: Case):
        self.case = case
        started = time.perf_counter()
        self.peer = importlib.import_module(f"benchmarks.peers.{peer}")
        self.import_seconds = time.perf_counter() - started
        self.runs: dict[str, Callable[[int], None]] = {}
        self.first_peak = 0.0

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Does what an order says."""
        return getattr(self, f"do_{order.pop('do')}")(**order)

    def do_prepare(self, task: str) -> dict[str, Any]:
        """Builds, compiles and runs a task three times, of which the last counts.

        A compiler may hold more than a call ever does, and only where the program does
        not come from a cache: the peak of calls is taken apart from it.
        """
        started = time.perf_counter()
        run = self.peer.prepare(task, self.case)
        built = time.perf_counter()
        run(1)
        first = time.perf_counter()
        self.first_peak = peak_memory()
        give_memory_back()
        forget_peak()
        run(1)  # heaps still grow
        second = time.perf_counter()
        run(1)
        seconds = time.perf_counter() - second
        self.runs[task] = run
        give_memory_back()  # the next peers are prepared while this one is stopped
        return {
            "import": self.import_seconds,
            "build": built - started,
            "first_call": first - built,
            "call": seconds,
        }

    def do_time(self, task: str, calls: int, warm: bool) -> dict[str, float]:
        """Mean seconds of a call by the clock and of all threads, after `warm_up`.

        The latter only if `warm` is set.

        Memory was given back after the last block.
        """
        run = self.runs[task]
        if warm:
            warm_up(run, calls)
        started, processor = time.perf_counter(), time.process_time()
        run(calls)
        seconds = (time.perf_counter() - started) / calls
        processor = (time.process_time() - processor) / calls
        give_memory_back()
        return {"seconds": seconds, "processor_seconds": processor}

    def do_memory(self) -> dict[str, float]:
        """Peak memory of the calls since the last task was prepared, and before that.

        A peer on a GPU reports the accelerator's memory by a function of its own.
        """
        device = getattr(self.peer, "device_memory", lambda: None)()
        peaks = {"mib": peak_memory(), "first_call_mib": self.first_peak}
        return {**peaks, "device_mib": device}

    def do_versions(self) -> dict[str, str]:
        """Versions of the peer's own packages."""
        return self.peer.versions()


def main(peer: str, case: str) -> None:
    """Serves until standard input ends."""
    end_with_parent()
    set_malloc()
    # Output of libraries goes to standard error; this stream holds answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(peer, Case(**json.loads(case)))
            answer = worker.answer(json.loads(line))
        except Exception as error:  # reported to the orchestrator, which continues
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
