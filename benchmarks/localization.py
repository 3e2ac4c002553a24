"""Benchmarks: localization scores at 1,000 thresholds, against a plain loop over them.

    python -m benchmarks.localization --maps=40 --rounds=5

The loop is what the reference evaluator of weakly supervised localization does (Choe et
al. 2020, arXiv:2001.07437): for every map and every threshold cut the map, find the
contours, put a box around each, and take IoUs; once for the largest region (MaxBoxAcc)
and once more for the best of all (MaxBoxAccV2), where ours gives both at once. The
counts have to be the same, or there is no figure.
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
        cam = np.exp(-distance / (2 * reach**2)) + rng.normal(0, 0.1, distance.shape)
        sides = np.array([x - reach, y - reach, x + reach, y + reach])
        box = np.clip(sides * SIZE, 0, SIZE - 1).astype(np.int64)
        pairs.append((heatmap(cam, SIZE), box[None]))
    return pairs


def _boxes_of(image: np.ndarray, cut: int, every: bool) -> list[list[int]]:
    """Boxes above one cut of a map of bytes: of every contour, or of the largest."""
    height, width = image.shape
    _, above = cv2.threshold(image, cut, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return [[0, 0, 0, 0]]
    if not every:
        contours = [max(contours, key=cv2.contourArea)]
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
    return boxes


def _ious(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each box with each true one, corners inside: (N, M)."""
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    both = np.prod(np.maximum(high - low + 1, 0), axis=-1)
    areas = [np.prod(b[:, 2:] - b[:, :2] + 1, axis=-1) for b in (boxes, truth)]
    return both / (areas[0][:, None] + areas[1][None] - both)


def loop(pairs: list[tuple], every: bool) -> np.ndarray:
    """Right maps by IoU and threshold: by the best region, or by the largest."""
    right = np.zeros((len(IOU_THRESHOLDS), len(THRESHOLDS)), np.int64)
    for score_map, truth in pairs:
        image = (score_map * 255).astype(np.uint8)
        found = [_boxes_of(image, int(t * np.max(image)), every) for t in THRESHOLDS]
        iou = _ious(np.concatenate(found), truth).max(axis=1)
        starts = np.cumsum([0, *(len(boxes) for boxes in found[:-1])])
        best = np.maximum.reduceat(iou, starts)
        for row, wanted in enumerate(IOU_THRESHOLDS):
            right[row] += best >= wanted
    return right


def both_loops(pairs: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """What the reference evaluator needs two passes for."""
    return loop(pairs, False), loop(pairs, True)


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
    ours(pairs[:1]), both_loops(pairs[:1])  # loads what the first use loads
    seconds: dict[str, list[float]] = {"hiercam": [], "loop": []}
    for _ in range(rounds):
        answers = []
        for name, function in (("hiercam", ours), ("loop", both_loops)):
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
    parser.add_argument("--cells", default="7,14", help="cells along a cam's side")
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
