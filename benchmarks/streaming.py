"""Benchmarks: the memory of scoring 100,000 maps that nobody could hold at once.

    python -m benchmarks.streaming --maps=100000

Writes a map store of small generated maps, scores it as --mode=localize does, and
reports the peak of resident memory of the process: before the scoring, after a tenth of
the maps, and at the end. What grows is one row of figures for each image.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks import machine
from hiercam_keras.cam import store
from hiercam_keras.data import geometry
from hiercam_keras.evaluation.ground_truth import Marked
from hiercam_keras.evaluation.localization import score_store
from hiercam_keras.taxonomy.lineage import Lineage

CELLS = 8
SPECIES = 100
BATCH = 500


def make_store(root: Path, count: int) -> tuple[Path, list[str]]:
    """A store of `count` maps of 8 x 8 cells with a blob each, and the image ids."""
    ids = [f"species{i % SPECIES:03d}/{i:06d}.jpg" for i in range(count)]
    identity = {"generated": count, "method": "generated"}
    lineages = {"class": ["blob"]}
    writer = store.Writer(root, identity, ids, ["blob"], lineages, shard_size=BATCH)
    space = SimpleNamespace(rank_label=lambda row: ("", -1))
    rows, columns = np.mgrid[:CELLS, :CELLS] + 0.5
    row = geometry.of(320, 240, 224, "localization").to_row()
    for start in range(0, count, BATCH):
        batch = ids[start : start + BATCH]
        rng = np.random.default_rng(start)
        y, x = rng.uniform(2, 6, (2, len(batch), 1, 1))
        cams = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4)
        one = np.zeros((len(batch), 1))
        explanation = SimpleNamespace(
            cams=cams[:, None].astype(np.float32),
            labels=one,
            scores=one,
            probabilities=one,
            degenerate=one,
            trivial=one,
            ranks=("class",),
            rivals=one.astype(int),
            space=space,
        )
        writer.add(batch, explanation, np.tile(row, (len(batch), 1)))
    return writer.close(), ids


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming")
    parser.add_argument("--maps", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=CELLS, help="side of scored maps")
    flags = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), flags.maps, flags.size), indent=1))


def measure(folder: Path, count: int, size: int) -> dict:
    """Peaks of resident memory in MiB, and maps per second."""
    from hiercam_keras.taxonomy.tree import Taxonomy

    maps, ids = make_store(folder, count)
    kinds = [Lineage((f"species{i:03d}",), ("class",)) for i in range(SPECIES)]
    box = ((60.0, 50.0, 250.0, 190.0),)
    marked = {
        one: Marked(kinds[i % SPECIES], 320, 240, box) for i, one in enumerate(ids)
    }
    options = SimpleNamespace(size=size, profile="wsol", tolerance=2.0)
    taxonomy = Taxonomy(kinds)
    peaks = {"before": _peak()}
    tenth = dict(list(marked.items())[: count // 10])
    score_store(maps, tenth, taxonomy, options)
    peaks["a tenth"] = _peak()
    started = time.perf_counter()
    found = score_store(maps, marked, taxonomy, options)
    seconds = time.perf_counter() - started
    peaks["all"] = _peak()
    return {
        "machine": machine.describe(),
        "maps": len(found.example_ids),
        "peak_mib": peaks,
        "maps_per_second": count / seconds,
        "maps_in_float32_mib": count * 224 * 224 * 4 / 2**20,
    }


def _peak() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
