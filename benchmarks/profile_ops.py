"""Benchmarks: where a train step, a forward pass or a map spends its time, op by op.

    python -m benchmarks.profile_ops --task=train --size=224 --batch=16

Runs our own peer under JAX's profiler and adds up the events of the compiled program's
thunks by the layer and the kind of work that XLA's metadata names for them. Times are
of all threads together, so they may add up to more than the wall time. (Not named
profile.py, which would hide a module of the standard library.)
"""

import argparse
import glob
import json
import os
import re
import sys
import tempfile
from collections import defaultdict

import jax

from benchmarks.case import Case
from benchmarks.peers import hiercam

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
_OP = re.compile(r"%?([\w.-]+) = .*?op_name=\"([^\"]*)\"")


def kind_of(name: str) -> str:
    """The kind of work of an op, by the path that XLA keeps of it."""
    for kind, pattern in _KINDS:
        if re.search(pattern, name):
            return kind
    return "other"


def op_names(folder: str) -> dict[str, str]:
    """HLO instruction -> op_name, from the dumped programs; of all modules."""
    found = {}
    for path in glob.glob(os.path.join(folder, "*after_optimizations.txt")):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if match := _OP.search(line):
                    found[match[1]] = match[2]
    return found


def event_times(folder: str) -> dict[str, float]:
    """Seconds by the name of an event, of all threads, from a trace."""
    (path,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
    found: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(path).planes:
        for line in plane.lines:
            for event in line.events:
                found[event.name] += event.duration_ns / 1e9
    return dict(found)


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output: seconds and shares by kind, per call."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile_ops")
    parser.add_argument("--task", choices=hiercam.TASKS, default="train")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--top", type=int, default=15, help="single ops that are told")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_enable_compilation_cache", False)
        dump = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {dump}"
        run = hiercam.prepare(flags.task, Case(flags.size, flags.batch))
        run(1)
        with jax.profiler.trace(folder):
            run(flags.calls)
        names, times = op_names(folder), event_times(folder)
    seconds: dict[str, float] = defaultdict(float)
    single = []
    for event, value in times.items():
        if event in names:
            seconds[kind_of(names[event])] += value / flags.calls
            single.append((value / flags.calls, event, names[event]))
    total = sum(seconds.values())
    kinds = sorted(seconds.items(), key=lambda item: -item[1])
    found = {
        "seconds": dict(kinds),
        "share": {kind: value / total for kind, value in kinds},
        "total": total,
        "top": sorted(single, reverse=True)[: flags.top],
    }
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
