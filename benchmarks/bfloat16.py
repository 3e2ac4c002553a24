"""Benchmarks: mixed_bfloat16 against float32 on this processor.

    python -m benchmarks.bfloat16 --cases=224x16,224x32,128x32 --rounds=7
    python -m benchmarks.bfloat16 --products      # rates of matrix products alone

Two workers of ours, one a type, work in turns as in `run`: train steps, forward passes
and maps of 7 targets. A ratio is taken within a round. Processor time is given as well,
since neighbors of a busy machine change it less than the time by the clock.
"""

import argparse
import json
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.case import Case, launch
from benchmarks.run import ROOT, Peer
from hiercam_keras import processor

DTYPES = ("float32", "bfloat16")
TASKS = {"train": "train step", "forward": "forward pass", "maps7": "maps, 7 targets"}
CLOCKS = {"seconds": "clock", "processor_seconds": "processor"}
log = logging.getLogger("benchmarks")


def measure(case: str, flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a call by task, clock and dtype, round by round."""
    size, batch = map(int, case.split("x"))
    found = {
        task: {clock: {dtype: [] for dtype in DTYPES} for clock in CLOCKS}
        for task in flags.tasks
    }
    peers: dict[str, Peer] = {}
    calls = {}
    try:
        for dtype in DTYPES:
            shape = Case(size, batch, dtype)
            peers[dtype] = Peer("hiercam", shape, flags.python, flags.cache)
            for task in flags.tasks:
                one = peers[dtype].tell(do="prepare", task=task)["call"]
                calls[task, dtype] = max(1, round(flags.block_seconds / one))
            log.info("%s, %s is ready", case, dtype)
        for number in range(flags.rounds):
            for task in flags.tasks:
                for dtype in DTYPES if number % 2 else DTYPES[::-1]:
                    count = calls[task, dtype]
                    answer = peers[dtype].tell(
                        do="time", task=task, calls=count, warm=count > 1
                    )
                    for clock in CLOCKS:
                        found[task][clock][dtype].append(answer[clock])
            log.info("%s, round %d is done", case, number)
    finally:
        for peer in peers.values():
            peer.end()
    return {"case": case, "batch": batch, "tasks": found}


def markdown(cases: list[dict[str, Any]]) -> str:
    """A row for each case, task and clock: seconds, and how many times as fast."""
    lines = [
        "| case | task | time | float32, s | mixed_bfloat16, s | float32 / bfloat16 |",
        "|---|---|---|---|---|---|",
    ]
    for one in cases:
        for task, clocks in one["tasks"].items():
            for clock, seconds in clocks.items():
                cells = [one["case"], TASKS[task], CLOCKS[clock]]
                cells += [report.spread(seconds[dtype]).text(3) for dtype in DTYPES]
                ratio = report.speedup(seconds["bfloat16"], seconds["float32"])
                lines.append(f"| {' | '.join(cells)} | {ratio.text(2)} |")
    return "\n".join(lines) + "\n"


def product_rates() -> dict[str, dict[str, float]]:
    """GFLOP/s of `conv.matmul` and its gradients in B0's shapes, by dtype."""
    import jax
    import jax.numpy as jnp

    from benchmarks.limits import PRODUCTS, best
    from hiercam_keras.models.xla_layers.conv import matmul

    def gradients(x, w, dy):
        return jax.vjp(matmul, x, w)[1](dy)

    def value(x, w, dy):
        return matmul(x, w)

    found: dict[str, dict[str, float]] = {}
    for rows, inputs, outputs in PRODUCTS:
        rates = found.setdefault(f"{rows}x{inputs}x{outputs}", {})
        flops = 2 * rows * inputs * outputs
        for name, function, times in (("x w", value, 1), ("gradients", gradients, 2)):
            multiply = jax.jit(function)
            for dtype in DTYPES:
                shapes = ((rows, inputs), (inputs, outputs), (rows, outputs))
                arrays = [jnp.ones(shape, dtype) for shape in shapes]
                seconds = best(partial(multiply, *arrays), 0.5)
                rates[f"{name}, {dtype}"] = round(times * flops / seconds / 1e9, 1)
    return found


def abilities() -> dict[str, Any]:
    """What decides on the forms of the products; see `hiercam_keras.processor`."""
    kept = ("bf16", "avx512f", "amx_tile", "avx512_fp16", "GenuineIntel", "Amd")
    flags = [one for one in processor.features() if any(word in one for word in kept)]
    return {
        "features": sorted(flags),
        "has_bfloat16": processor.has_bfloat16(),
        "multiplies_bfloat16_fast": processor.multiplies_bfloat16_fast(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Writes bfloat16.json and bfloat16.md, and the latter to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bfloat16")
    parser.add_argument("--cases", default="224x16,224x32,128x32", help="SIZExBATCH")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block_seconds", type=float, default=3.0)
    parser.add_argument("--products", action="store_true", help="nothing but products")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--cache", default=str(ROOT / ".cache" / "benchmarks"))
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results"))
    flags = parser.parse_args(arguments)
    flags.tasks = flags.tasks.split(",")
    if flags.products:
        json.dump(abilities() | product_rates(), sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    cases = [measure(case, flags) for case in flags.cases.split(",")]
    found = {"machine": machine.describe(), **abilities(), "cases": cases}
    texts = {"json": json.dumps(found, indent=1) + "\n", "md": markdown(cases)}
    folder = Path(flags.out)
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        (folder / f"bfloat16.{ending}").write_text(text)
    sys.stdout.write(texts["md"])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    if "--products" in sys.argv:
        launch("benchmarks.bfloat16", ".cache/benchmarks")
    main()
