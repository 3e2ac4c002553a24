"""Benchmarks: all peers side by side in one go, round by round, and a table of ratios.

    python -m benchmarks.run                       # CPU, all peers, about 70 minutes
    python -m benchmarks.run --data=arrays         # without TensorFlow
    python -m benchmarks.run --device=gpu --dtype=bfloat16 --data=arrays \
        --cases=224x64,224x128,224x256,224x512
    python -m benchmarks.run --python_of=hiercam=/newer/bin/python

Each peer lives in a process of its own, which is stopped (SIGSTOP) whenever it is not
its turn: no thread of another spins meanwhile. In a round each peer works for about
`--block_seconds` at each task; the next round starts with another peer.
"""

import argparse
import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.case import TASKS, Case, environment, launch_settings

ROOT = Path(__file__).parent.parent
PEERS = {
    "hiercam": "",
    "keras_jax_stock": "",
    "keras_tensorflow": "tensorflow",
    "torch_eager": "torch",
    "torch_compiled": "torch",
    "grad_cam_torch": "pytorch_grad_cam",
    "onnx_runtime": "onnxruntime",
}
SCHEMA_VERSION = 1
log = logging.getLogger("benchmarks")


class PeerError(RuntimeError):
    """A peer could not do its task; the run continues without it."""


class Peer:
    """A worker process, stopped unless it has an order."""

    def __init__(
        self,
        name: str,
        case: Case,
        python: str,
        cache: str,
        without: tuple[str, ...] = (),
    ):
        """Starts it; `without` names variables that its environment does not get."""
        self.name = name
        settings = environment(case.device, cache)
        fields = json.dumps(vars(case))
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", name, fields],
            cwd=ROOT,
            env={k: v for k, v in settings.items() if k not in without},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, **order: Any) -> dict[str, Any]:
        """Wakes the worker, gives an order, takes the answer, stops it again."""
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"{self.name} ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):  # an order that it did not read
            self.process.stdin.close()
        self.process.stdout.close()


def tasks_of(peer: str, case: Case) -> tuple[str, ...]:
    """The tasks of a peer; nobody trains with batches of one picture.

    They are read from the source: importing a peer would import its libraries here.
    """
    source = (ROOT / "benchmarks" / "peers" / f"{peer}.py").read_text()
    line = next(line for line in source.splitlines() if line.startswith("TASKS = "))
    known = [task for task in TASKS if case.batch > 1 or task != "train"]
    return tuple(part for part in line.split('"') if part in known)


def prepare(names: list[str], case: Case, flags: argparse.Namespace, found: dict):
    """Starts the peers one after another: {name: Peer}; fills `found`."""
    peers = {}
    for name in names:
        python = flags.python_of.get(name, flags.python)
        peer = Peer(name, case, python, flags.cache)
        stages: dict[str, Any] = {}
        try:
            for task in tasks_of(name, case):
                if task not in flags.tasks:
                    continue
                stages[task] = peer.tell(do="prepare", task=task)
                if task == "train":
                    stages["first_step"] = time.perf_counter() - peer.started
                    found["memory"][name] = peer.tell(do="memory")
                log.info("%s, %s: %s", name, task, json.dumps(stages[task]))
            found["versions"][name] = peer.tell(do="versions")
            peers[name] = peer
        except PeerError as error:
            log.warning("%s is left out: %s", name, error)
            found["failures"][name] = str(error)
            peer.end()
        found["prepare"][name] = stages
    return peers


def measure(case: Case, flags: argparse.Namespace) -> dict[str, Any]:
    """All peers on one case: seconds per call, round by round."""
    parts = ("memory", "versions", "failures", "prepare", "seconds")
    found: dict[str, Any] = {part: {} for part in parts}
    found |= {"name": case.name, "size": case.size, "batch": case.batch}
    peers = prepare(flags.peers, case, flags, found)
    try:
        for number in range(flags.rounds):
            one_round(number, case, peers, flags, found)
    finally:
        for peer in peers.values():
            peer.end()
    return found


def one_round(
    number: int, case: Case, peers: dict, flags: argparse.Namespace, found: dict
) -> None:
    """Every peer works at every task once; the first one changes with the round."""
    names = list(peers)
    shift = number % max(1, len(names))
    for name in names[shift:] + names[:shift]:
        for task in tasks_of(name, case):
            if task not in flags.tasks or name not in peers:
                continue
            call = found["prepare"][name][task]["call"]
            calls = max(1, round(flags.block_seconds / call))
            warm = call < 2 * flags.block_seconds
            try:
                answer = peers[name].tell(do="time", task=task, calls=calls, warm=warm)
            except PeerError as error:
                found["failures"][name] = str(error)
                peers.pop(name).end()
                continue
            times = found["seconds"].setdefault(task, {}).setdefault(name, [])
            times.append(answer["seconds"])
            log.info("round %d, %s, %s: %.3f s", number, name, task, times[-1])


def first_steps(case: Case, flags: argparse.Namespace) -> dict[str, list[dict]]:
    """Stages of a first training step: once without compiled programs, then with."""
    found: dict[str, list[dict]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(4):
            python = flags.python_of.get("hiercam", flags.python)
            peer = Peer("hiercam", case, python, cache)
            try:
                stages = peer.tell(do="prepare", task="train")
            finally:
                peer.end()
            total = stages["import"] + stages["build"] + stages["first_call"]
            found["warm" if number else "cold"].append({**stages, "total": total})
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags; peers and tasks as lists, cases as `Case`s."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    add = parser.add_argument
    add("--cases", default="224x16,224x32,128x32,224x1", help="SIZExBATCH, with commas")
    add("--peers", default=",".join(PEERS), help="names below benchmarks/peers")
    add("--tasks", default=",".join(TASKS))
    add("--rounds", type=int, default=5)
    add("--block_seconds", type=float, default=2.0)
    add("--device", choices=("cpu", "gpu"), default="cpu")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--fast_layers", default="auto", help="of ours: auto, none, or kinds with +")
    add("--torch_model", choices=("auto", "timm", "torchvision", "own"), default="auto")
    add("--data", choices=("auto", "arrays"), default="auto", help="arrays: no TF")
    add("--python", default=sys.executable, help="interpreter of the peers")
    add("--python_of", default="", help="of some peers: PEER=PATH, with commas")
    add("--cache", default=str(ROOT / ".cache" / "benchmarks"))
    add("--out", default=str(ROOT / "benchmarks" / "results"), help="folder")
    flags = parser.parse_args(arguments)
    flags.tasks = flags.tasks.split(",")
    flags.peers = flags.peers.split(",")
    pairs = (text.partition("=") for text in flags.python_of.split(",") if text)
    flags.python_of = {name: path for name, _, path in pairs}
    named = [*flags.peers, *flags.python_of]
    for given, known in ((flags.tasks, TASKS), (named, PEERS)):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"{unknown[0]!r} is none of {', '.join(known)}")
    if flags.data == "arrays":
        flags.peers = [name for name in flags.peers if name != "keras_tensorflow"]
    shared = {
        key: getattr(flags, key)
        for key in ("dtype", "device", "fast_layers", "torch_model")
    }
    try:
        pairs = [map(int, text.split("x")) for text in flags.cases.split(",")]
        flags.cases = [Case(size, batch, **shared) for size, batch in pairs]
    except ValueError:
        parser.error(f"--cases={flags.cases}: expected SIZExBATCH, as in 224x16")
    return flags


def installed(names: list[str], flags: argparse.Namespace) -> list[str]:
    """The peers with installed packages; the others are reported and left out."""
    kept = []
    for name in names:
        package = PEERS[name]
        python = flags.python_of.get(name, flags.python)
        if package and python == sys.executable:
            if importlib.util.find_spec(package) is None:
                log.warning("%s is left out: no package %s", name, package)
                continue
        kept.append(name)
    return kept


def main(flags: argparse.Namespace) -> None:
    """Measures, and writes results.json and results.md after every case."""
    flags.peers = installed(flags.peers, flags)
    paths = ("cases", "python", "python_of", "cache", "out")
    settings = {k: v for k, v in vars(flags).items() if k not in paths}
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "settings": {**settings, "environment": launch_settings(flags.device)},
        "cases": [],
    }
    load, cores = results["machine"]["load_average"], results["machine"]["cores"]
    if load > 0.5 * cores:
        log.warning("the machine is busy (load %.1f): figures will be off", load)
    out = Path(flags.out)
    for case in flags.cases:
        results["cases"].append(measure(case, flags))
        report.write(results, out)
    if "train" in flags.tasks and "hiercam" in flags.peers:
        results["first_step"] = first_steps(flags.cases[0], flags)
        report.write(results, out)
    sys.stdout.write((out / "results.md").read_text())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    main(parse())
