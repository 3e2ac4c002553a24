"""Benchmarks: medians, ratios and tables of what `run` measured.

    python -m benchmarks.report benchmarks/results/results.json

Several files of one machine become one page.

A ratio is taken within a round, between blocks that ran seconds apart, so that a slow
minute of the machine slows both; the median of the rounds' ratios is what counts, and
the lowest and highest are given next to it.
"""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.case import TASKS

OURS = "hiercam"
LABELS = {
    "hiercam": "hiercam_keras",
    "keras_jax_stock": "Keras/JAX, stock layers",
    "keras_tensorflow": "Keras/TensorFlow",
    "torch_eager": "PyTorch, eager",
    "torch_compiled": "PyTorch, torch.compile",
    "grad_cam_torch": "pytorch-grad-cam",
    "onnx_runtime": "ONNX Runtime",
}
PEER_TASKS = ("train", "forward", "cam1", "cam7")
COST_TASKS = ("maps1", "maps7", "maps7ranks")
# Fields of a worker's answer.
_PEAKS = {"mib": "", "first_call_mib": ", first call", "device_mib": ", device"}


class Spread(NamedTuple):
    """Median, lowest and highest of some samples."""

    median: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """As in tables: "1.53 (1.49..1.60)"."""
        low, high = f"{self.low:.{digits}f}", f"{self.high:.{digits}f}"
        return f"{self.median:.{digits}f} ({low}..{high})"


def spread(samples: Sequence[float]) -> Spread:
    """Of at least one sample."""
    if not samples:
        raise ValueError("no sample was measured, expected at least one")
    return Spread(statistics.median(samples), min(samples), max(samples))


def speedup(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times as fast ours is, by seconds of the same rounds.

    Rounds that one of them did not finish do not count.
    """
    rounds = list(zip(ours, theirs, strict=False))
    return spread([other / own for own, other in rounds])


def rates(seconds: Sequence[float], batch: int) -> Spread:
    """Images a second."""
    return spread([batch / value for value in seconds])


class Goal(NamedTuple):
    """A row of the table of goals; `value` reads it from a case, None: not measured.

    A value is a spread over the rounds, or one number with itself as its spread.
    """

    name: str
    least: float | None
    most: float | None
    aim: float | None
    value: Callable[[dict[str, Any]], Spread | None]


def _faster(
    task: str, *peers: str, single: bool | None = None
) -> Callable[[dict[str, Any]], Spread | None]:
    """Our speed by that of the best of some peers, by their medians.

    `single` restricts it to batches of one picture, or to those of more.
    """

    def value(case: dict[str, Any]) -> Spread | None:
        if single is not None and single != (case["batch"] == 1):
            return None
        seconds = case["seconds"].get(task, {})
        found = [
            speedup(seconds[OURS], seconds[peer])
            for peer in peers
            if seconds.get(peer) and seconds.get(OURS)
        ]
        return min(found, default=None)

    return value


def cost(case: dict[str, Any], task: str) -> Spread | None:
    """Seconds of a task by those of the forward pass in the same process."""
    forward = case["seconds"].get("forward", {}).get(OURS)
    other = case["seconds"].get(task, {}).get(OURS)
    return speedup(forward, other) if forward and other else None


def _cost(task: str) -> Callable[[dict[str, Any]], Spread | None]:
    return lambda case: cost(case, task)


def _memory(case: dict[str, Any]) -> Spread | None:
    ours, stock = (
        case["memory"].get(name, {}).get("mib") for name in (OURS, "keras_jax_stock")
    )
    return spread([ours / stock]) if ours and stock else None


def _rate(case: dict[str, Any]) -> Spread | None:
    seconds = case["seconds"].get("train", {}).get(OURS)
    return rates(seconds, case["batch"]) if seconds else None


_STOCK, _TENSORFLOW = "keras_jax_stock", "keras_tensorflow"
_FORWARD = (_STOCK, _TENSORFLOW, "torch_eager", "torch_compiled", "onnx_runtime")
GOALS = (
    Goal("train step, stock Keras/JAX", 8, None, 12, _faster("train", _STOCK)),
    Goal("train step, PyTorch eager", 1.6, None, None, _faster("train", "torch_eager")),
    Goal("train, torch.compile", 1.6, None, None, _faster("train", "torch_compiled")),
    Goal("train step, Keras/TensorFlow", 1.2, None, 2, _faster("train", _TENSORFLOW)),
    Goal(
        "forward, best peer",
        1.15,
        None,
        1.5,
        _faster("forward", *_FORWARD, single=False),
    ),
    Goal(
        "forward of 1 picture, best peer",
        1,
        None,
        None,
        _faster("forward", *_FORWARD, single=True),
    ),
    Goal(
        "Grad-CAM, pytorch-grad-cam", 8, None, None, _faster("cam1", "grad_cam_torch")
    ),
    Goal("cost of 1 map / forward", None, 1.05, None, _cost("maps1")),
    Goal("cost of 7 maps / forward", None, 1.05, None, _cost("maps7")),
    Goal("cost of 7 ranks / forward", None, 1.05, None, _cost("maps7ranks")),
    Goal("peak memory, ours / stock", None, 0.7, None, _memory),
)
GPU_GOALS = (
    Goal("train, torch.compile", 1, None, 1.3, _faster("train", "torch_compiled")),
    Goal("train, img/s", 2500, None, 5000, _rate),
    Goal("forward, best peer", 1, None, 1.5, _faster("forward", *_FORWARD)),
    Goal("Grad-CAM, PyTorch hook", None, None, None, _faster("cam1", "torch_eager")),
    Goal("cost of 1 map / forward", None, 1.10, 1.05, _cost("maps1")),
    Goal("cost of 7 maps / forward", None, 1.15, 1.05, _cost("maps7")),
)


def verdict(goal: Goal, value: Spread | None) -> str:
    """As in tables: "1.53 (1.49..1.60), met"; "not measured" where there is no value.

    "met by the median" and "missed by the median" are those where some rounds were on
    the other side of the bound.
    """
    if value is None:
        return "not measured"
    text = value.text(2) if value.low < value.high else f"{value.median:.2f}"
    if goal.least is None and goal.most is None:
        return text
    median, *rounds = [
        number >= goal.least if goal.least is not None else number <= goal.most
        for number in value
    ]
    note = "" if all(one == median for one in rounds) else " by the median"
    return f"{text}, {'met' if median else '**missed**'}{note}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def goals_table(results: dict[str, Any]) -> str:
    """Goals by cases."""
    cases = results["cases"]
    header = ["goal (ratio)", "bound", *(case["name"] for case in cases)]
    rows = []
    goals = GPU_GOALS if results["settings"].get("device") == "gpu" else GOALS
    for goal in goals:
        bound = "none"
        if goal.least is not None:
            bound = f"at least {goal.least:g}"
        elif goal.most is not None:
            bound = f"at most {goal.most:g}"
        verdicts = [verdict(goal, goal.value(case)) for case in cases]
        rows.append([goal.name, bound, *verdicts])
    return _table(header, rows)


def speed_table(results: dict[str, Any]) -> str:
    """Images a second and ratios, tasks and peers by cases."""
    cases = results["cases"]
    header = ["task", "peer"]
    for case in cases:
        header += [f"{case['name']}: img/s", "ours / peer"]
    rows = []
    for task in PEER_TASKS:
        for peer in LABELS:
            cells = [_speed_cells(case, task, peer) for case in cases]
            if any(cells):
                flat = [text for pair in cells for text in pair or ("", "")]
                rows.append([TASKS[task], LABELS[peer], *flat])
    return _table(header, rows)


def _speed_cells(case: dict[str, Any], task: str, peer: str) -> tuple[str, str] | None:
    seconds = case["seconds"].get(task, {})
    if not seconds.get(peer):
        return None
    ratio = "1"
    if peer != OURS:
        known = bool(seconds.get(OURS))
        ratio = speedup(seconds[OURS], seconds[peer]).text(2) if known else "-"
    return rates(seconds[peer], case["batch"]).text(1), ratio


def cost_table(results: dict[str, Any]) -> str:
    """Cost of our maps in forward passes, and peak memory of the train step."""
    cases = results["cases"]
    rows = []
    for task in COST_TASKS:
        found = [cost(case, task) for case in cases]
        cells = [one.text(3) if one else "" for one in found]
        rows.append([f"{TASKS[task]} / forward pass, ours", *cells])
    for peer in LABELS:
        name = f"peak memory of the train step, {LABELS[peer]}"
        for field, note in _PEAKS.items():
            sizes = [case["memory"].get(peer, {}).get(field) for case in cases]
            cells = [f"{size / 1024:.2f} GiB" if size else "" for size in sizes]
            rows.append([name + note, *cells])
    return _table(
        ["what", *(case["name"] for case in cases)],
        [row for row in rows if any(row[1:])],
    )


def first_step_table(results: dict[str, Any]) -> str:
    """Seconds from the start of the process to the end of the first training step."""
    parts = ("total", "import", "build", "first_call")
    rows = []
    for kind, runs in results.get("first_step", {}).items():
        for part in parts:
            if runs:
                found = spread([run[part] for run in runs]).text(1)
                rows.append([kind, part.replace("_", " "), found])
    return _table(["cache", "stage", "s"], rows) if rows else ""


def _versions(results: dict[str, Any]) -> str:
    """Packages with their versions; with the peers of each where these differ."""
    users: dict[str, dict[str, list[str]]] = {}
    for case in results["cases"]:
        for peer, found in case["versions"].items():
            for package, version in found.items():
                peers = users.setdefault(package, {}).setdefault(version, [])
                peers += [LABELS[peer]] if LABELS[peer] not in peers else []
    texts = []
    for package, by_version in users.items():
        for version, peers in by_version.items():
            note = f" ({', '.join(peers)})" if len(by_version) > 1 else ""
            texts.append(f"{package} {version}{note}")
    return ", ".join(texts)


def _facts(results: dict[str, Any]) -> str:
    machine, settings = results["machine"], results["settings"]
    lines = [
        f"- Machine: {machine['cores']} cores, {machine['cpu']}, "
        f"{machine['memory_gib']} GiB; huge pages {machine['transparent_huge_pages']}; "
        f"load at the start {machine['load_average']}.",
        *(f"- GPU: {name}" for name in machine.get("gpus", ())),
        f"- Versions: {_versions(results)}.",
        "- Every worker's environment: "
        + ", ".join(f"{k}={v}" for k, v in settings["environment"].items())
        + ".",
        f"- {settings['dtype']}, {settings['rounds']} rounds, blocks of "
        f"{settings['block_seconds']:g} s; median (lowest..highest).",
    ]
    for case in results["cases"]:
        for peer, why in case["failures"].items():
            lines.append(f"- {case['name']}: {LABELS[peer]} is missing: {why}")
    return "\n".join(lines)


def markdown(results: dict[str, Any]) -> str:
    """Everything, as one page."""
    parts = [f"# Benchmarks, {results['date']}", _facts(results)]
    parts += ["## Goals", goals_table(results)]
    parts += ["## Speed", speed_table(results)]
    parts += ["## Cost of maps, memory", cost_table(results)]
    if first := first_step_table(results):
        parts += ["## From the start of the process to the first step", first]
    return "\n\n".join(parts) + "\n"


def write(results: dict[str, Any], folder: Path) -> None:
    """results.json and results.md, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"json": json.dumps(results, indent=1) + "\n", "md": markdown(results)}
    for ending, text in texts.items():
        new = folder / f"results.{ending}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / f"results.{ending}")


def merge(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first results, with the cases and the first steps of the others."""
    merged = {**parts[0], "cases": [case for part in parts for case in part["cases"]]}
    for part in parts:
        if "first_step" in part:
            merged.setdefault("first_step", part["first_step"])
    return merged


if __name__ == "__main__":
    read = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    sys.stdout.write(markdown(merge(read)))
