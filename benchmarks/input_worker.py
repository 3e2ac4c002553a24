"""One input pipeline in a process of its own: an order per line, an answer per line."""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Ours:
    """Epochs of this package's loader."""

    def __init__(self, paths: list[Path], sizes, fields: dict):
        from ml_collections import ConfigDict

        from hiercam_keras.data.records import Record

        self._records = [
            Record(path.name, path, None, *size)
            for path, size in zip(paths, sizes, strict=True)
        ]
        self._data = ConfigDict(
            {
                "image_size": 224,
                "batch_size": fields["batch_size"],
                "pipeline": fields["pipeline"],
                "workers": fields["workers"],
                "cache_mb": 0,
                "disk_cache": fields["disk_cache"],
            }
        )
        augment = {
            "horizontal_flip": True,
            "vertical_flip": True,
            "crop_jitter": 1.0,
            "erasing_probability": 0.2,
            "erasing_area": (0.02, 0.33),
        }
        self._loader = self._make(self._records, self._data, augment, True)

    def _make(self, records, data, augment, training):
        from hiercam_keras.data.loader import make_loader

        labels = {"species": np.zeros(len(records), np.int32)}
        return make_loader(records, labels, data, augment, training=training)

    def epoch(self, number: int) -> Iterator[int]:
        """Sizes of the batches of an epoch, once each is there."""
        for batch in self._loader.epoch(number):
            yield len(batch.images)

    def center(self, count: int) -> np.ndarray:
        """Center crops of the first images, uint8 (count, 224, 224, 3)."""
        data = self._data.copy_and_resolve_references()
        data.disk_cache, data.batch_size = "", count
        with self._make(self._records[:count], data, None, False) as loader:
            return next(loader.epoch(0)).images

    def versions(self) -> dict[str, str]:
        """Of the packages that do the work."""
        found = {}
        for name in ("tensorflow-cpu", "tensorflow", "pillow", "numpy", "scipy"):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                pass
        return found


def processor_seconds() -> float:
    """Processor time of this process so far, and of its running children."""
    ticks = 0
    for tasks in Path("/proc/self/task").glob("*/children"):
        for child in tasks.read_text().split():
            # The command before the last ")" may have spaces; user and system time are
            # fields 14 and 15 of proc(5).
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Reads the first line (what to be), then orders, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever libraries print is no answer
    fields = json.loads(sys.stdin.readline())
    paths = [Path(name) for name in fields["paths"]]
    if fields["pipeline"] == "torch":
        from benchmarks.input_torch import Source

        source = Source(paths, fields["batch_size"], fields["workers"])
    else:
        source = Ours(paths, fields["sizes"], fields)
    answers.write(json.dumps({"versions": source.versions()}) + "\n")
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "center":
            np.save(order["out"], source.center(order["count"]))
            answer = {}
        else:
            start, used = time.perf_counter(), processor_seconds()
            images = sum(source.epoch(order["epoch"]))
            answer = {
                "images": images,
                "seconds": time.perf_counter() - start,
                "processor": processor_seconds() - used,
            }
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
