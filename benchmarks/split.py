"""Benchmarks: the maps of a split, stored and drawn, against its predictions alone.

    python -m benchmarks.split --run=runs/synthetic_birds/species/seed0

Both read the same files. "predictions" is the pass of `--mode=eval`. "maps" is that of
`--mode=cam`: Grad-CAM of the predicted taxon, the map store with its fsyncs, and
the overlays that a config has by default, without measuring their faithfulness, which
is dozens of passes for each. The run folder is copied without its maps, and the maps of
a round are removed before the next one.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

from benchmarks import machine  # noqa: E402
from benchmarks.case import launch  # noqa: E402
from benchmarks.peers import packages  # noqa: E402
from benchmarks.report import Spread, speedup, spread  # noqa: E402


def tasks(run: Any, split: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, of a run of `hiercam_keras.load_run` in a folder that is ours."""
    from hiercam_keras.modes import make_maps, overlays

    data, network = run.data(), run.network
    records = data.records(split)
    question = make_maps.question_of("predicted", None, data)
    thresholds = overlays.thresholds_of(run.config.coherence)
    shown = records[: run.config.cam.num_overlays]

    def predictions():
        with data.loader(split) as loader:
            network.predict(loader)

    def stored():
        shutil.rmtree(folder / "maps", ignore_errors=True)
        place, made = make_maps.make_maps(network, data, split, question)
        assert made == len(records), (made, len(records))
        return place

    def drawn():
        overlays.draw(stored(), shown, data, thresholds)

    return {"predictions": predictions, "maps": stored, "maps and overlays": drawn}


def measure(work: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of each task, in turns, after one call of each."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, act in work.items():
            started = time.perf_counter()
            act()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def compared(seconds: dict[str, list[float]]) -> dict[str, Spread]:
    """Rates as multiples of that of the predictions, by rounds."""
    first = seconds["predictions"]
    return {name: speedup(times, first) for name, times in seconds.items()}


def table(seconds: dict[str, list[float]], count: int) -> str:
    """Markdown: images a second and the ratio."""
    lines = ["| task | img/s | of predictions |", "|---|---|---|"]
    for name, ratio in compared(seconds).items():
        rate = spread([count / one for one in seconds[name]])
        lines.append(f"| {name} | {rate.text(1)} | {ratio.text(2)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; writes split.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.split")
    add = parser.add_argument
    add("--run", required=True, help="folder of a finished run")
    add("--data_dir", default=None, help="folder of the images; default: the run's")
    add("--split", default="test", choices=("train", "val", "test"))
    add("--rounds", type=int, default=5)
    add("--cache", default=".cache/benchmarks", help="of compiled programs")
    add("--out", default="benchmarks/results", help="folder")
    flags = parser.parse_args(arguments)
    launch("benchmarks.split", flags.cache)
    import hiercam_keras

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        without = shutil.ignore_patterns("maps", "checkpoints")
        shutil.copytree(flags.run, folder, ignore=without)
        run = hiercam_keras.load_run(folder, flags.data_dir)
        count = len(run.records(flags.split))
        seconds = measure(tasks(run, flags.split, folder), flags.rounds)
    found = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine.describe(),
        "versions": packages.versions("keras", "jax", "jaxlib", "numpy"),
        "run": repr(run),
        "images": count,
        "seconds": seconds,
    }
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "split.json").write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(table(seconds, count) + "\n")


if __name__ == "__main__":
    main()
