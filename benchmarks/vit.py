"""Benchmarks: Grad-CAM on a ViT-B/16, in forward passes and against pytorch-grad-cam.

    python -m benchmarks.vit                          # batch 16, 224 px, 5 rounds
    python -m benchmarks.vit --vit=tiny --size=32 --batch=2 --rounds=2

keras-hub's ViT and timm's of the same shape, with random weights, are explained at the
same layer, what the last block is given. Two processes take turns as in
`benchmarks.run`, in one command; ratios are taken inside a round, and the median of the
rounds counts. It needs keras-hub, PyTorch, timm and grad-cam. Writes vit.json and
prints the table.
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import machine, report, run
from benchmarks.case import TASKS, VITS, Case, launch_settings

OURS, THEIRS = "hiercam_vit", "grad_cam_vit"
LABELS = {OURS: "hiercam_keras, keras-hub", THEIRS: "pytorch-grad-cam, timm"}
# Goals of the project: forward passes of our Grad-CAM, and times pytorch-grad-cam.
MOST_PASSES, LEAST_SPEEDUP = 1.3, 2.0


def table(seconds: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: seconds a batch, and the ratios.

    Args:
      seconds: task -> peer -> seconds of one call in each round.
    """
    lines = ["| task | program | seconds a batch |", "|---|---|---|"]
    for task, peers in seconds.items():
        for peer, times in peers.items():
            found = report.spread(times).text(3)
            lines.append(f"| {TASKS[task]} | {LABELS[peer]} | {found} |")
    forward = seconds["forward"][OURS]
    rows = [
        (f"{TASKS[task]} / forward pass, ours", seconds[task][OURS], goal)
        for task, goal in (
            ("maps1", f"at most {MOST_PASSES}"),
            ("cam1", ""),
            ("legrad1", ""),
        )
    ]
    lines += ["", "| ratio | goal | measured |", "|---|---|---|"]
    for name, times, goal in rows:
        found = report.speedup(forward, times).text(2)
        lines.append(f"| {name} | {goal} | {found} |")
    for task, goal in (("cam1", f"at least {LEAST_SPEEDUP}"), ("forward", "")):
        if THEIRS in seconds[task]:
            found = report.speedup(seconds[task][OURS], seconds[task][THEIRS])
            name = f"{TASKS[task]}, {LABELS[THEIRS]} / ours"
            lines.append(f"| {name} | {goal} | {found.text(2)} |")
    return "\n".join(lines) + "\n"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags, with the names that `run.measure` reads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vit")
    add = parser.add_argument
    add("--vit", choices=tuple(VITS), default="base")
    add("--size", type=int, default=224)
    add("--batch", type=int, default=16)
    add("--rounds", type=int, default=5)
    add("--block_seconds", type=float, default=8.0)
    add("--cache", default=str(run.ROOT / ".cache" / "benchmarks"))
    add("--out", default=str(run.ROOT / "benchmarks" / "results"), help="folder")
    flags = parser.parse_args(arguments)
    flags.python, flags.tasks = sys.executable, list(TASKS)
    flags.peers = [OURS, THEIRS]
    return flags


def main(flags: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes vit.json and prints the table."""
    case = Case(flags.size, flags.batch, vit=flags.vit)
    found = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "settings": {"vit": flags.vit, "rounds": flags.rounds}
        | {"environment": launch_settings(case.device)},
        **run.measure(case, flags),
    }
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "vit.json").write_text(json.dumps(found, indent=1) + "\n")
    if found["failures"]:
        raise SystemExit(f"nothing to compare: {found['failures']}")
    sys.stdout.write(table(found["seconds"]))
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(run.ROOT)
    main(parse())
