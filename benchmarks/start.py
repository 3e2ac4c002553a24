"""Benchmarks: from the start of a process to its first result, with a warm cache.

    python -m benchmarks.start --run=RUN --image=photo.jpg       # cam of a photograph
    python -m benchmarks.start --case=224x16                     # a first train step
    python -m benchmarks.start --case=224x16 --against=../other  # two checkouts

The processes of both checkouts take turns, each with a cache of its own, after two of
each that fill it: one compiles, and one records how much memory a start takes. Seconds
by the clock hold on an idle machine only; processor time (user and system, of all
threads) is given next to them. TensorFlow is not imported for a train step here, as its
batches are arrays in memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.case import environment

ROOT = Path(__file__).parent.parent
_STEP = """
from benchmarks.case import Case, set_malloc
set_malloc()
from hiercam_keras import runtime
try:
    from hiercam_keras import first_touch
    first_touch.begin("benchmarks.start", {size}, {batch})
except ImportError:  # another checkout
    pass
with runtime.imports():
    from benchmarks.peers import hiercam
hiercam.prepare("train", Case({size}, {batch}))(1)
"""
_NAMES = ("this", "other")
_FILLING = 2  # processes of each checkout


def command(flags: argparse.Namespace, out: str) -> list[str]:
    """What a process runs; results of maps go to the folder `out`."""
    if flags.case:
        size, batch = map(int, flags.case.split("x"))
        return ["-c", _STEP.format(size=size, batch=batch)]
    return [
        "-m",
        "hiercam_keras",
        "--mode=cam",
        f"--workdir={Path(flags.run).absolute()}",
        f"--image={Path(flags.image).absolute()}",
        f"--out={out}",
    ]


def measured(arguments: list[str], root: Path, cache: Path) -> tuple[float, float]:
    """(seconds by the clock, seconds of processor time) of one process.

    Raises:
      SystemExit: the process fails.
    """
    settings = environment("cpu", str(cache))
    settings["XDG_CACHE_HOME"] = str(cache)
    settings.pop("PYTHONDONTWRITEBYTECODE", None)  # Python would compile the sources
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        env=settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process.stderr:
        errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{root}: {errors.decode(errors='replace')}")
    return seconds, used.ru_utime + used.ru_stime


def table(found: dict[str, list[tuple[float, float]]]) -> str:
    """Rows of each checkout: the cold process, and median (lowest to highest)."""
    lines = [
        "| checkout | | by the clock, s | processor time, s |",
        "|---|---|---|---|",
    ]
    for name, pairs in found.items():
        for state, some in (("cold", pairs[:1]), ("warm", pairs[_FILLING:])):
            if some:
                cells = " | ".join(map(_spread, zip(*some, strict=True)))
                lines.append(f"| {name} | {state} | {cells} |")
    return "\n".join(lines)


def _spread(values: tuple[float, ...]) -> str:
    middle = statistics.median(values)
    return f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints the machine and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start")
    add = parser.add_argument
    add("--run", help="run folder of the network")
    add("--image", help="photograph that is explained")
    add("--case", default="", help="SIZExBATCH of a train step, in place of --run")
    add("--against", default="", help="folder of another checkout of this project")
    add("--rounds", type=int, default=5, help="warm processes of each checkout")
    flags = parser.parse_args(arguments)
    if not flags.case and not (flags.run and flags.image):
        parser.error("expected --run and --image, or --case")
    roots = [ROOT, *([Path(flags.against).absolute()] if flags.against else [])]
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_FILLING + flags.rounds):
            order = list(zip(_NAMES, roots, strict=False))
            for name, root in order[:: -1 if number % 2 else 1]:
                arguments = command(flags, os.path.join(folder, f"out_{name}"))
                cache = Path(folder, f"cache_{name}")
                found.setdefault(name, []).append(measured(arguments, root, cache))
    sys.stdout.write(f"{json.dumps(machine.describe())}\n\n{table(found)}\n")


if __name__ == "__main__":
    main()
