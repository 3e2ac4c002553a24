"""Benchmarks: localization scores at 1,000 thresholds, against a plain loop over them.

    python -m benchmarks.localization --maps=40 --rounds=5

The loop is what the reference evaluator of weakly supervised localization does (Choe et
al. 2020, arXiv:2001.07437): for every map and every threshold cut the map, find the
contours, put a box around each, and take IoUs. Both have to give the same counts, or
there is no figure.
"""

import argparse
import json
import sys
import time

import cv2
import numpy as np

from benchmarks import machine, report
from hiercam_keras.cam.heatmaps import heatmap
from hiercam_keras.metrics.localization import IOU_THRESHOLDS, BoxCounts

SIZE = 224
THRESHOLDS = np.arange(0, 1, 0.001)


def make_maps(count: int, cells: int, seed: int = 0) -> list[tuple]:
    """Heatmaps (224, 224) of `cells` x `cells` cams with a blob, and its true box."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:cells, :cells] + 0.5
    pairs = []
    for _ in range(count):
        y, x = rng.uniform(0.25, 0.75, 2)
        reach = rng.uniform(0.1, 0.3)
        distance = (rows / cells - y) ** 2 + (columns / cells - x) ** 2
        cam = np.exp(-distance / (2 * reach**2)) + rng.normal(0, 0.15, distance.shape)
        sides = np.array([x - reach, y - reach, x + reach, y + reach])
        box = np.clip(sides * SIZE, 0, SIZE - 1).astype(np.int64)
        pairs.append((heatmap(cam, SIZE), box[None]))
    return pairs


def _boxes_of(score_map: np.ndarray, threshold: float) -> list[tuple[float, list]]:
    """(area, box) of every contour above one threshold."""
    height, width = score_map.shape
    image = (score_map * 255).astype(np.uint8)
    _, above = cv2.threshold(
        image, int(threshold * np.max(image)), 255, cv2.THRESH_BINARY
    )
    contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [(0.0, [0, 0, 0, 0])]
    found = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        box = [x, y, min(x + w, width - 1), min(y + h, height - 1)]
        found.append((cv2.contourArea(contour), box))
    return found


def _ious(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each box with each true one, corners inside: (N, M)."""
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    both = np.prod(np.maximum(high - low + 1, 0), axis=-1)
    areas = [np.prod(b[:, 2:] - b[:, :2] + 1, axis=-1) for b in (boxes, truth)]
    return both / (areas[0][:, None] + areas[1][None] - both)


def loop(pairs: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Right maps by IoU and threshold: of the largest region, and of the best."""
    shape = (len(IOU_THRESHOLDS), len(THRESHOLDS))
    largest, best = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for score_map, truth in pairs:
        for place, threshold in enumerate(THRESHOLDS):
            found = _boxes_of(score_map, threshold)
            iou = _ious(np.array([box for _, box in found]), truth).max(axis=1)
            areas = [area for area, _ in found]
            first = iou[areas.index(max(areas))]
            for row, wanted in enumerate(IOU_THRESHOLDS):
                largest[row, place] += first >= wanted
                best[row, place] += iou.max() >= wanted
    return largest, best


def ours(pairs: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """The same counts from `metrics.localization`."""
    counts = BoxCounts(THRESHOLDS)
    for score_map, truth in pairs:
        counts.add(score_map, truth)
    return counts.largest[0], counts.best[0]


def measure(count: int, cells: int, rounds: int) -> dict:
    """Seconds of both by rounds, one after the other.

    Raises:
      RuntimeError: they differ in a count.
    """
    pairs = make_maps(count, cells)
    seconds: dict[str, list[float]] = {"hiercam": [], "loop": []}
    for _ in range(rounds):
        answers = []
        for name, function in (("hiercam", ours), ("loop", loop)):
            started = time.perf_counter()
            answers.append(function(pairs))
            seconds[name].append(time.perf_counter() - started)
        if not all(map(np.array_equal, *answers)):
            raise RuntimeError("ours and the loop give other counts: no figure")
    found = report.speedup(seconds["hiercam"], seconds["loop"])
    return {
        "maps": count,
        "cells": cells,
        "seconds": seconds,
        "ratio": found._asdict(),
        "maps_per_second": report.rates(seconds["hiercam"], count)._asdict(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.localization")
    parser.add_argument("--maps", type=int, default=20)
    parser.add_argument("--cells", default="7,14,28", help="cells along a cam's side")
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args(arguments)
    results = [
        measure(flags.maps, int(cells), flags.rounds)
        for cells in flags.cells.split(",")
    ]
    found = {"machine": machine.describe(), "opencv": cv2.__version__}
    json.dump({**found, "results": results}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
