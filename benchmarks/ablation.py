"""Benchmarks: what each kind of fast layer, and each launch setting, gives.

    python -m benchmarks.ablation --case=128x16 --rounds=3

One worker for each variant of ours, side by side and in turns as in `run`; each round
starts with another. Layers are added one kind after another; settings are taken away
from the full variant. All workers stay in memory: 224x16 wants 20 GB.
"""

import argparse
import json
import logging
import os
import sys
from typing import Any

from benchmarks import machine, report
from benchmarks.case import Case
from benchmarks.run import ROOT, Peer

# Name -> (fast layers, environment variables that are left out).
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "all": ("auto", ()),
    "stock layers": ("none", ()),
    "depthwise": ("depthwise", ()),
    "depthwise, 1x1": ("depthwise+conv1x1", ()),
    "depthwise, 1x1, stem": ("depthwise+conv1x1+stem", ()),
    "depthwise, 1x1, stem, batch norm": ("depthwise+conv1x1+stem+batchnorm", ()),
    "all, with plain malloc": ("auto", ("BENCHMARKS_MALLOC",)),
    "all, without 512-bit vectors": ("auto", ("XLA_FLAGS",)),
}
TASKS = ("train", "forward")
log = logging.getLogger("benchmarks")


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds per call by task and variant, round by round; peak memory in MiB."""
    size, batch = map(int, flags.case.split("x"))
    seconds: dict = {task: {name: [] for name in VARIANTS} for task in TASKS}
    memory, calls, peers = {}, {}, {}
    try:
        for name, (layers, without) in VARIANTS.items():
            case = Case(size, batch, fast_layers=layers)
            peer = Peer("hiercam", case, flags.python, flags.cache, without)
            peers[name] = peer
            for task in TASKS:
                one = peer.tell(do="prepare", task=task)["call"]
                calls[name, task] = max(1, round(flags.block_seconds / one))
                if task == "train":
                    memory[name] = peer.tell(do="memory")["mib"]
            log.info("%s is ready", name)
        for number in range(flags.rounds):
            order = list(calls)
            shift = number * len(TASKS) % len(order)
            for name, task in order[shift:] + order[:shift]:
                count = calls[name, task]
                warm = count > 1
                answer = peers[name].tell(do="time", task=task, calls=count, warm=warm)
                seconds[task][name].append(answer["seconds"])
            log.info("round %d is done", number)
    finally:
        for peer in peers.values():
            peer.end()
    return {"batch": batch, "case": flags.case, "seconds": seconds, "memory": memory}


def markdown(found: dict[str, Any]) -> str:
    """Variants by tasks: images a second, and speed against the full variant."""
    lines = [
        "| variant | train, img/s | of all | forward, img/s | of all | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name in VARIANTS:
        cells = []
        for task in TASKS:
            seconds = found["seconds"][task]
            cells.append(report.rates(seconds[name], found["batch"]).text(1))
            cells.append(report.speedup(seconds[name], seconds["all"]).text(2))
        cells.append(f"{found['memory'][name] / 1024:.2f} GiB")
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Writes ablation.json and ablation.md, and the latter to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("--case", default="128x16", help="SIZExBATCH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block_seconds", type=float, default=2.0)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--cache", default=str(ROOT / ".cache" / "benchmarks"))
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    flags = parser.parse_args(arguments)
    found = {"machine": machine.describe(), **measure(flags)}
    os.makedirs(flags.out, exist_ok=True)
    texts = {"json": json.dumps(found, indent=1) + "\n", "md": markdown(found)}
    for ending, text in texts.items():
        with open(os.path.join(flags.out, f"ablation.{ending}"), "w") as file:
            file.write(text)
    sys.stdout.write(texts["md"])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    main()
