"""Benchmarks: releases of JAX and of Python side by side: train step, forward, maps.

    python -m benchmarks.versions --python311=python3.11 --python313=python3.13
    python -m benchmarks.versions --environments=/a/bin/python,/b/bin/python

The first form builds three environments below `--cache`, once, about 1 GB each:
JAX_BEFORE on Python 3.11 and on 3.13, so that the part of the language is known, and
JAX_NOW on 3.13. The second measures environments that exist. All have this project's
layers, in processes that take turns as in `benchmarks.run`, with compiled programs of
their own. Ratios are to the first environment, in the same round; a release that is
slower than it by SLOWER is named.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.case import TASKS, Case, launch_settings
from benchmarks.report import Spread, speedup, spread
from benchmarks.run import ROOT, Peer

JAX_BEFORE = "0.10.2"
JAX_NOW = "0.12.0.1"
SLOWER = 1.10
_NOT_NEEDED = ("tensorflow",)  # by the worker, and large
log = logging.getLogger("benchmarks")


class Environment(NamedTuple):
    """An interpreter with packages, and its name in tables."""

    name: str
    python: str


def requirements(text: str, jax: str) -> list[str]:
    """What an environment needs: requirements.txt with a release of JAX.

    Args:
      text: of requirements.txt.
      jax: the version of jax and jaxlib.
    """
    kept = []
    for line in text.splitlines():
        wanted = line.split("#")[0].strip()
        if wanted and not wanted.startswith((*_NOT_NEEDED, "jax")):
            kept.append(wanted)
    return [*kept, f"jax=={jax}", f"jaxlib=={jax}"]


def build(python: str, jax: str, folder: Path) -> str:
    """The interpreter of an environment below `folder`, made unless it is there."""
    home = folder / f"{Path(python).name}-jax{jax}"
    inside, finished = home / "bin" / "python", home / "finished"
    if not finished.exists():
        log.info("building %s", home)
        subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
        wanted = requirements((ROOT / "requirements.txt").read_text(), jax)
        install = [str(inside), "-m", "pip", "install", "--quiet", *wanted]
        subprocess.run(install, check=True)
        finished.touch()
    return str(inside)


def describe(python: str) -> Environment:
    """An environment by its own words: versions of Python and of JAX."""
    code = (
        "import importlib.metadata as m, platform\n"
        "print(f\"Python {platform.python_version()}, jax {m.version('jax')}\")"
    )
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"{python}: expected a Python with jax: {last}")
    return Environment(ran.stdout.strip(), python)


def measure(
    environments: Sequence[Environment], case: Case, flags: argparse.Namespace
) -> dict[str, Any]:
    """Seconds per call, by task and environment, round by round; first calls too."""
    found: dict[str, Any] = {"case": case.name, "first_call": {}, "seconds": {}}
    peers: dict[str, Peer] = {}
    calls: dict[tuple[str, str], int] = {}
    try:
        for number, one in enumerate(environments):
            cache = str(Path(flags.cache) / "versions" / str(number))
            peer = peers[one.name] = Peer("hiercam", case, one.python, cache)
            for task in flags.tasks:
                stages = peer.tell(do="prepare", task=task)
                found["first_call"].setdefault(task, {})[one.name] = stages
                count = max(1, round(flags.block_seconds / stages["call"]))
                calls[one.name, task] = count
                log.info("%s, %s: %s", one.name, task, json.dumps(stages))
        names = list(peers)
        for number in range(flags.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                for task in flags.tasks:
                    order = {"task": task, "calls": calls[name, task], "warm": True}
                    seconds = peers[name].tell(do="time", **order)["seconds"]
                    by_name = found["seconds"].setdefault(task, {})
                    by_name.setdefault(name, []).append(seconds)
                    log.info("round %d, %s, %s: %.3f s", number, name, task, seconds)
    finally:
        for peer in peers.values():
            peer.end()
    return found


def compared(found: dict[str, Any], task: str) -> dict[str, Spread]:
    """Seconds of each environment as multiples of the first one's, by rounds."""
    seconds = found["seconds"][task]
    first = next(iter(seconds))
    return {name: speedup(seconds[first], those) for name, those in seconds.items()}


def verdict(ratio: Spread) -> str:
    """Whether a release is slower than the first one, in words.

    It is if its median is, and all rounds agree that it is slower at all.
    """
    if ratio.median < SLOWER:
        return ""
    by = f"slower by {100 * (ratio.median - 1):.0f} %"
    return by if ratio.low > 1 else f"{by} by the median"


def markdown(cases: Sequence[dict[str, Any]]) -> str:
    """The table of all cases."""
    lines = [
        "| case | task | environment | s a batch | x the first | |",
        "|" + "---|" * 6,
    ]
    for found in cases:
        for task, seconds in found["seconds"].items():
            for name, ratio in compared(found, task).items():
                cells = [
                    found["case"],
                    TASKS[task],
                    name,
                    spread(seconds[name]).text(3),
                ]
                lines.append(
                    "| " + " | ".join([*cells, ratio.text(2), verdict(ratio)]) + " |"
                )
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; tasks and environments as lists, cases as `Case`s."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions")
    add = parser.add_argument
    add("--python311", default="python3.11", help="interpreter to build with")
    add("--python313", default="python3.13", help="interpreter to build with")
    add("--environments", default="", help="interpreters that have JAX, with commas")
    add("--cases", default="224x16", help="SIZExBATCH, with commas")
    add("--tasks", default="train,forward,maps1,maps7")
    add("--rounds", type=int, default=5)
    add("--block_seconds", type=float, default=3.0)
    add("--cache", default=str(ROOT / ".cache" / "benchmarks"))
    add("--out", default=str(ROOT / "benchmarks" / "results"), help="folder")
    flags = parser.parse_args(arguments)
    flags.tasks = flags.tasks.split(",")
    if unknown := sorted(set(flags.tasks) - set(TASKS)):
        parser.error(f"{unknown[0]!r} is none of {', '.join(TASKS)}")
    try:
        pairs = [map(int, text.split("x")) for text in flags.cases.split(",")]
        flags.cases = [Case(size, batch) for size, batch in pairs]
    except (ValueError, TypeError):
        parser.error(f"--cases={flags.cases}: expected SIZExBATCH, as in 224x16")
    flags.environments = [one for one in flags.environments.split(",") if one]
    return flags


def main(arguments: list[str] | None = None) -> None:
    """Writes versions.json and versions.md, the latter to standard output too."""
    flags = parse(arguments)
    pythons = flags.environments or [
        build(flags.python311, JAX_BEFORE, Path(flags.cache) / "environments"),
        build(flags.python313, JAX_BEFORE, Path(flags.cache) / "environments"),
        build(flags.python313, JAX_NOW, Path(flags.cache) / "environments"),
    ]
    environments = [describe(python) for python in pythons]
    if len({one.name for one in environments}) < len(environments):
        names = "; ".join(one.name for one in environments)
        raise SystemExit(f"expected environments that differ, found {names}")
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "environment": launch_settings("cpu"),
        "cases": [],
    }
    if found["machine"]["load_average"] > 0.5 * found["machine"]["cores"]:
        log.warning("the machine is busy: figures will be off")
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    for case in flags.cases:
        found["cases"].append(measure(environments, case, flags))
        (out / "versions.json").write_text(json.dumps(found, indent=1) + "\n")
        (out / "versions.md").write_text(markdown(found["cases"]))
    sys.stdout.write((out / "versions.md").read_text())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    main()
