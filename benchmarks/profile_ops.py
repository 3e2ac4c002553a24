"""Benchmarks: where a train step, a forward pass or a map spends its time, op by op.

    python -m benchmarks.profile_ops --task=train --size=224 --batch=16

Runs our own peer under JAX's profiler and adds up the events of the compiled program's
thunks by the layer and the kind of work that XLA's metadata names for them. Times are
of all threads together, so they may add up to more than the wall time, which is
printed next to them. A fusion counts for the op that XLA names it by, its last one; of
a loop the steps count, not the loop around them. (Not named profile.py, which would
hide a module of the standard library.)
"""

import argparse
import glob
import json
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import jax

from benchmarks.case import TASKS, Case, launch
from benchmarks.peers import hiercam
from benchmarks.worker import warm_up

# The first that an op's name (the path of layers and primitives) matches.
_KINDS = (
    ("depthwise, weight gradient", r"transpose.*dwconv.*while|transpose.*dwconv.*body"),
    ("depthwise, backward", r"transpose.*dwconv"),
    ("depthwise, forward", r"dwconv"),
    ("batch norm, backward", r"transpose.*_bn"),
    ("batch norm, forward", r"_bn"),
    ("swish, backward", r"transpose.*(activation|silu|swish|logistic)"),
    ("swish, forward", r"activation|silu|swish|logistic"),
    ("squeeze and excite", r"_se_"),
    ("1x1, backward", r"transpose.*(expand|project|top)_conv"),
    ("1x1, forward", r"(expand|project|top)_conv"),
    ("stem", r"stem"),
    ("optimizer", r"adam|optimizer"),
)
_OP = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = .*?op_name=\"([^\"]*)\"", re.MULTILINE)
# Their events hold those of what they run.
_AROUND = re.compile(
    r"^\s+(?:ROOT )?%?([\w.-]+) = .*? (?:while|conditional|call)\(", re.MULTILINE
)
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = ", re.MULTILINE)


def kind_of(name: str) -> str:
    """The kind of work of an op, by the path that XLA keeps of it."""
    for kind, pattern in _KINDS:
        if re.search(pattern, name):
            return kind
    return "other"


def op_names(program: str) -> dict[str, str]:
    """HLO instruction -> op_name, "" without one, of a dumped program's text.

    Loops, conditions and calls are left out: what runs inside of them counts.
    """
    found = dict.fromkeys(_INSTRUCTION.findall(program), "")
    found |= dict(_OP.findall(program))
    around = set(_AROUND.findall(program))
    return {name: path for name, path in found.items() if name not in around}


def event_times(folder: str) -> dict[str, float]:
    """Seconds by the name of an event, of all threads, from a trace."""
    (path,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
    found: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(path).planes:
        for line in plane.lines:
            for event in line.events:
                found[event.name] += event.duration_ns / 1e9
    return dict(found)


def shares(
    names: dict[str, str], times: dict[str, float], calls: int
) -> tuple[dict[str, float], list[tuple[float, str, str]]]:
    """Seconds per call by kind, the longest first, and of every single op."""
    seconds: dict[str, float] = defaultdict(float)
    single = []
    for event, value in times.items():
        if event in names:
            seconds[kind_of(names[event])] += value / calls
            single.append((value / calls, event, names[event]))
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    return dict(longest), sorted(single, reverse=True)


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output: seconds and shares by kind, per call."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_ops")
    known = [task for task in TASKS if task in hiercam.TASKS]
    parser.add_argument("--task", choices=known, default="train")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--top", type=int, default=15, help="ops to list")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_enable_compilation_cache", False)
        dump = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {dump}"
        run = hiercam.prepare(flags.task, Case(flags.size, flags.batch))
        warm_up(run, flags.calls)  # clearing of pages counts for what touches them
        with jax.profiler.trace(folder):
            started = time.perf_counter()
            run(flags.calls)
            wall = (time.perf_counter() - started) / flags.calls
        # The step is by far the largest of the programs; names repeat among them.
        programs = Path(folder).glob("*after_optimizations.txt")
        program = max(programs, key=lambda path: path.stat().st_size).read_text()
        times = event_times(folder)
    seconds, single = shares(op_names(program), times, flags.calls)
    total = sum(seconds.values())
    found = {
        "seconds": seconds,
        "share": {kind: value / total for kind, value in seconds.items()},
        "total": total,
        "wall": wall,
        "top": single[: flags.top],
    }
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    launch("benchmarks.profile_ops", ".cache/benchmarks")
    main()
