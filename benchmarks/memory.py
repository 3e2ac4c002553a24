"""Benchmarks: settings of malloc in a long training: seconds, page faults and memory.

    python -m benchmarks.memory                  # 224 px, batch 16: below ten minutes
    python -m benchmarks.memory --case=128x32    # the shape of the demo
    python -m benchmarks.memory --torch_python=/path/to/python   # another has PyTorch

EfficientNet-B0 is trained by `fit`, and asked for logits, in one process for each
variant, which take turns round by round and are stopped (SIGSTOP) in between. Memory is
that of a process after all rounds; it is never given back. "settings" is what the
program does, "notebook" is `hc.fast_memory` where other threads have memory already,
"launcher" the GLIBC_TUNABLES with which the program once started itself over.

The worker is `python -m benchmarks.memory --worker VARIANT CASE`: it reads orders,
(task, calls), from standard input and answers what they cost, in lines of JSON.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.case import Case, environment
from benchmarks.report import speedup, spread
from benchmarks.run import ROOT, Peer
from benchmarks.worker import end_with_parent, peak_memory

_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:"
    "glibc.malloc.trim_threshold=1099511627776:glibc.malloc.top_pad=67108864"
)
_MIB = 2**20
log = logging.getLogger("benchmarks")


class Variant(NamedTuple):
    """How the process of a variant is set up.

    Attributes:
      long: whether its memory after many steps is of interest: it makes more of them.
      malloc: "", "settings", "small pages" or "notebook".
      tunables: value of GLIBC_TUNABLES; "" for none.
      ahead: steps that the host may dispatch before the first of them is done.
      peer: module below `peers`.
    """

    long: bool = False
    malloc: str = ""
    tunables: str = ""
    ahead: int = 4
    peer: str = "hiercam"


SETTINGS = "settings"
TORCH = "PyTorch, eager"
VARIANTS = {
    "plain malloc": Variant(),
    "launcher": Variant(tunables=_TUNABLES),
    SETTINGS: Variant(long=True, malloc="settings", ahead=1),
    "settings, small pages": Variant(malloc="small pages", ahead=1),
    "notebook": Variant(malloc="notebook", ahead=1),
    TORCH: Variant(long=True, peer="torch_eager"),
}
COLD = ("plain malloc", SETTINGS, "notebook")  # compile without a cache, too


class Process(Peer):
    """The worker of one variant."""

    def __init__(self, name: str, case: Case, cache: str, python: str):
        """Starts it by an interpreter; compiled programs are in the folder `cache`."""
        self.name = name
        settings = environment(case.device, cache)
        for variable in ("BENCHMARKS_MALLOC", "THP_MEM_ALLOC_ENABLE"):
            settings.pop(variable)
        if VARIANTS[name].tunables:
            settings["GLIBC_TUNABLES"] = VARIANTS[name].tunables
        fields = json.dumps(vars(case))
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.memory", "--worker", name, fields],
            cwd=ROOT,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _set_malloc(kind: str) -> str:
    """What a variant does before JAX is imported; what was done, in words."""
    from hiercam_keras import malloc, runtime

    if kind == "notebook":
        ready = threading.Barrier(4)
        for _ in range(3):
            threading.Thread(target=_keep_something, args=[ready], daemon=True).start()
        ready.wait()
        return runtime.fast_memory()
    if kind:
        return malloc.keep_memory(huge_pages=kind != "small pages")
    return "malloc is unchanged."


def _keep_something(ready: threading.Barrier) -> None:
    """A thread as those of a notebook, with memory of its own."""
    kept = [bytes(600 + size) for size in range(100)]
    ready.wait()
    threading.Event().wait()
    del kept


def _tasks(variant: Variant, case: Case) -> dict[str, Callable[[int], None]]:
    """Functions that run so many calls, by task."""
    if variant.peer == "torch_eager":
        from benchmarks.peers import torch_eager

        return {
            "train": torch_eager.prepare("train", case),
            "forward": torch_eager.prepare("forward", case),
        }
    from benchmarks.case import images
    from benchmarks.peers import hiercam, keras_common
    from hiercam_keras import malloc
    from hiercam_keras.training.callbacks import FirstStep, Pace
    from hiercam_keras.training.forward import predict_batch

    model, pixels = hiercam.prepare_training(case), images(case)

    def forward(calls: int) -> None:
        for _ in range(calls):
            predict_batch(model, pixels)

    every = [Pace(variant.ahead), FirstStep()]
    train = keras_common.fit(model, case, every, malloc.complete)
    return {"train": train, "forward": forward}


def cost_of(run: Callable[[int], None], calls: int) -> dict[str, float]:
    """Of one call, as a mean: seconds, processor seconds, page faults."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    run(calls)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor = sum(
        getattr(after, name) - getattr(before, name)
        for name in ("ru_utime", "ru_stime")
    )
    return {
        "seconds": seconds / calls,
        "processor": processor / calls,
        "faults": (after.ru_minflt - before.ru_minflt) / calls,
    }


def resident() -> float:
    """Memory that this process has now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def work(name: str, case: Case) -> None:
    """Serves as the worker of a variant until standard input ends."""
    end_with_parent()
    variant = VARIANTS[name]
    said = _set_malloc(variant.malloc)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries
    tasks = None
    for line in sys.stdin:
        order = json.loads(line)
        tasks = tasks or _tasks(variant, case)
        found = cost_of(tasks[order["task"]], order["calls"])
        found |= {"resident": resident(), "peak": peak_memory(), "malloc": said}
        print(json.dumps(found), file=answers, flush=True)


def measure(case: Case, flags: argparse.Namespace) -> dict[str, Any]:
    """Blocks of all variants by task; first calls with and without a cache."""
    found: dict[str, Any] = {"cold": {}, "first": {}, "train": {}, "forward": {}}
    for name in COLD if flags.cold else ():
        with tempfile.TemporaryDirectory() as empty:
            process = Process(name, case, empty, sys.executable)
            try:
                found["cold"][name] = process.tell(task="train", calls=1)
            finally:
                process.end()
        log.info("%s, cold: %.1f s", name, found["cold"][name]["seconds"])
    names = [name for name in VARIANTS if name not in flags.without]
    processes: dict[str, Process] = {}
    try:
        for name in names:
            python = flags.torch_python if name == TORCH else sys.executable
            processes[name] = Process(name, case, flags.cache, python)
            processes[name].tell(task="forward", calls=1)
            first = processes[name].tell(task="train", calls=1)
            found["first"][name] = first
            log.info("%s: %.1f s; %s", name, first["seconds"], first["malloc"])
        for number in range(flags.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                steps = flags.steps if VARIANTS[name].long else flags.few_steps
                for task, calls in (("forward", flags.few_steps), ("train", steps)):
                    block = processes[name].tell(task=task, calls=calls)
                    found[task].setdefault(name, []).append(block | {"calls": calls})
                log.info("round %d, %s: %s", number, name, json.dumps(block))
    finally:
        for process in processes.values():
            process.end()
    return found


def markdown(found: dict[str, Any]) -> str:
    """The table; seconds as multiples of those of `SETTINGS` in the same round."""
    lines = [
        "| variant | train step, s | x settings' | forward, s | x settings' | "
        "processor s a step | page faults a step | memory after the steps | peak | "
        "first call, warm | cold |",
        "|" + "---|" * 11,
    ]
    for name, blocks in found["train"].items():
        cells = [name]
        for task in ("train", "forward"):
            ours = [block["seconds"] for block in found[task][SETTINGS]]
            these = [block["seconds"] for block in found[task][name]]
            cells += [spread(these).text(3), speedup(ours, these).text(2)]
        cells.append(spread([block["processor"] for block in blocks]).text(2))
        cells.append(f"{spread([block['faults'] for block in blocks]).median:.0f}")
        steps = 1 + sum(block["calls"] for block in blocks)
        cells.append(f"{blocks[-1]['resident'] / 1024:.2f} GiB ({steps})")
        cells.append(f"{blocks[-1]['peak'] / 1024:.2f} GiB")
        cells.append(f"{found['first'][name]['seconds']:.1f} s")
        cold = found["cold"].get(name)
        cells.append(f"{cold['seconds']:.1f} s" if cold else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Writes memory_SIZExBATCH.json and .md, and the latter to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    add = parser.add_argument
    add("--case", default="224x16", help="SIZExBATCH")
    add("--rounds", type=int, default=8)
    add("--steps", type=int, default=25, help="a round, of settings and PyTorch")
    add("--few_steps", type=int, default=6, help="a round, of other variants")
    add("--without", default="", help="variants to leave out, with semicolons")
    add("--cold", action=argparse.BooleanOptionalAction, default=True)
    add("--torch_python", default=sys.executable, help="interpreter of PyTorch")
    add("--cache", default=str(ROOT / ".cache" / "benchmarks"))
    add("--out", default=str(ROOT / "benchmarks" / "results"))
    add("--worker", nargs=2, metavar=("VARIANT", "CASE"), help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.worker:
        work(flags.worker[0], Case(**json.loads(flags.worker[1])))
        return
    flags.without = [name for name in flags.without.split(";") if name]
    found = {"machine": machine.describe(), "case": flags.case}
    size, batch = map(int, flags.case.split("x"))
    found |= measure(Case(size, batch), flags)
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    texts = {"json": json.dumps(found, indent=1) + "\n", "md": markdown(found)}
    for ending, text in texts.items():
        (out / f"memory_{flags.case}.{ending}").write_text(text)
    sys.stdout.write(texts["md"])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.chdir(ROOT)
    main()
