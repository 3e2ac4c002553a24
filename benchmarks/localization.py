"""Benchmarks: localization scores at 1,000 thresholds, against a plain loop over them.

    python -m benchmarks.localization --maps=40 --rounds=5

The loop is what the reference evaluator of weakly supervised localization does (Choe et
al. 2020, arXiv:2001.07437): for every map and every threshold cut the map, find the
contours, put a box around each, and take IoUs; once for the largest region (MaxBoxAcc)
and once more for the best of all (MaxBoxAccV2), where ours gives both at once. It
takes the maxima of the IoUs again for each threshold; a leaner loop, which does not, is
timed too. One thread each, OpenCV's too, and time of the processor. The counts have to
be the same, or there is no figure. `--store=FOLDER` takes the cams of a map store, too:
the noise of the synthetic ones makes more regions than a trained network's maps have.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks import machine, report
from hiercam_keras.cam import store
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


def loop(pairs: list[tuple], every: bool, lean: bool = True) -> np.ndarray:
    """Right maps by IoU and threshold: by the best region, or by the largest.

    With `lean` the IoUs of a map are cut into thresholds at once; without it their
    maxima are taken again for each threshold, which is how the reference does it.
    """
    right = np.zeros((len(IOU_THRESHOLDS), len(THRESHOLDS)), np.int64)
    for score_map, truth in pairs:
        image = (score_map * 255).astype(np.uint8)
        found = [_boxes_of(image, int(t * np.max(image)), every) for t in THRESHOLDS]
        iou = _ious(np.concatenate(found), truth).max(axis=1)
        starts = np.cumsum([0, *(len(boxes) for boxes in found[:-1])])
        if lean:
            best = np.maximum.reduceat(iou, starts)
        else:
            best = _best_one_by_one(_ious(np.concatenate(found), truth), found)
        for row, wanted in enumerate(IOU_THRESHOLDS):
            right[row] += best >= wanted
    return right


def _best_one_by_one(iou: np.ndarray, found: list) -> np.ndarray:
    """Best IoU of each threshold, over the boxes of that threshold."""
    best, place = [], 0
    for boxes in found:
        best.append(max(iou.max(axis=1)[place : place + len(boxes)]))
        place += len(boxes)
    return np.array(best)


def both_loops(pairs: list[tuple], lean: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """What the reference evaluator needs two passes for."""
    return loop(pairs, False, lean), loop(pairs, True, lean)


def reference_loops(pairs: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """The same in the steps of the reference."""
    return both_loops(pairs, lean=False)


def ours(pairs: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """The same counts from `metrics.localization`."""
    counts = BoxCounts(THRESHOLDS)
    for score_map, truth in pairs:
        counts.add(score_map, truth)
    return counts.largest[0], counts.best[0]


def stored_maps(folder: str, count: int) -> list[tuple]:
    """Heatmaps (224, 224) of the first cams of a map store, with a made box."""
    maps = store.open(Path(folder))
    box = np.array([[SIZE // 4, SIZE // 4, SIZE * 3 // 4, SIZE * 3 // 4]])
    ids = maps.example_ids[:count]
    return [(heatmap(maps.get(one).cam[0], SIZE), box) for one in ids]


def measure(pairs: list[tuple], rounds: int) -> dict:
    """Seconds of all by rounds, one after the other.

    Raises:
      RuntimeError: they differ in a count.
    """
    ours(pairs[:1]), both_loops(pairs[:1])  # loads what the first use loads
    peers = {"hiercam": ours, "reference": reference_loops, "lean_loop": both_loops}
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        answers = {}
        for name, function in peers.items():
            # Time of the processor: others on the machine do not count.
            started = time.process_time()
            answers[name] = function(pairs)
            seconds[name].append(time.process_time() - started)
        for name, answer in answers.items():
            if not all(map(np.array_equal, answers["hiercam"], answer)):
                raise RuntimeError(f"ours and {name} give other counts: no figure")
    ratios = {
        name: report.speedup(seconds["hiercam"], seconds[name])._asdict()
        for name in ("reference", "lean_loop")
    }
    return {
        "maps": len(pairs),
        "seconds": seconds,
        "ratio": ratios["reference"],
        "ratio_to_a_lean_loop": ratios["lean_loop"],
        "maps_per_second": report.rates(seconds["hiercam"], len(pairs))._asdict(),
    }


def main(arguments: list[str] | None = None) -> None:
    """Writes one JSON to standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.localization")
    parser.add_argument("--maps", type=int, default=20)
    parser.add_argument("--cells", default="7,14", help="cells along a cam's side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", help="folder of a map store")
    flags = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    cells = [int(one) for one in flags.cells.split(",")]
    cases = {f"{n} x {n} cells": make_maps(flags.maps, n) for n in cells}
    if flags.store:
        cases["stored"] = stored_maps(flags.store, flags.maps)
    results = [
        {"cams": name, **measure(pairs, flags.rounds)} for name, pairs in cases.items()
    ]
    found = {"machine": machine.describe(), "opencv": cv2.__version__}
    json.dump({**found, "results": results}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
