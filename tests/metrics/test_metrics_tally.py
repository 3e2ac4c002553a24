"""The one-pass tally: by hand, against the plain metrics, and against slow loops."""

import math

import numpy as np
import pytest

from hiercam_keras.metrics import boxes as box_lib
from hiercam_keras.metrics.localization import (
    BoxCounts,
    PixelCounts,
    pointing_game,
    pxap_of,
)
from hiercam_keras.metrics.localization_accumulator import Tally, Truth

SIZE = 24


def make_case(count, seed=0):
    """Score maps, energies, boxes and masks with ignored pixels, and groups."""
    rng = np.random.default_rng(seed)
    coarse = np.maximum(rng.normal(0.2, 1, (count, 4, 4)), 0)
    maps = np.kron(coarse, np.ones((6, 6)))
    maps /= np.maximum(maps.max((1, 2), keepdims=True), 1e-9)
    corner = rng.integers(0, 12, (count, 2))
    boxes = np.hstack([corner, corner + rng.integers(3, 11, (count, 2))])
    masks = rng.choice([0, 1, 255], (count, SIZE, SIZE), p=[0.6, 0.3, 0.1])
    return maps, boxes[:, None], masks.astype(np.uint8), rng.integers(0, 3, count)


def test_the_tally_equals_the_plain_metrics():
    maps, boxes, masks, groups = make_case(12)
    tally = Tally(3, tolerance=0.0)
    plain, pixels, painted = BoxCounts(num_groups=3), PixelCounts(), PixelCounts()
    for score, box, mask, group in zip(maps, boxes, masks, groups, strict=True):
        tally.add(tally.look(score, score), Truth(box, mask), int(group), 0.5)
        plain.add(score, box, int(group))
        pixels.add(score, mask)
        painted.add(score, box_lib.box_mask(box, score.shape))
    assert (tally.boxes.largest == plain.largest).all()
    assert (tally.boxes.best == plain.best).all()
    assert tally.pixels["mask"].pxap() == pixels.pxap()
    assert tally.pixels["box"].pxap() == painted.pxap()
    hits = pointing_game(maps, masks == 1, 0.0)
    assert tally.column("pointing").tolist() == hits.tolist()
    assert 0 < hits.sum() < 12
    found = pxap_of(tally.pixels["mask"].columns().sum(axis=0, keepdims=True))
    assert found[0] == pytest.approx(pixels.pxap(), rel=1e-12)


def test_shares_by_hand():
    energy = np.zeros((4, 4))
    energy[1, 1], energy[3, 3] = 3.0, 1.0
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 1] = 1
    mask[3] = 255  # neither way
    tally = Tally()
    looked = tally.look(energy / 3, energy)
    tally.add(looked, Truth(np.array([[0, 0, 1, 1]]), mask), 0, 0.9)
    row = tally.rows[0]
    assert row.energy_in_box == 0.75 and row.box_area == 4 / 16
    # Without the ignored row the spot has all of the energy, on one of 12 pixels.
    assert row.energy_in_mask == 1.0 and row.mask_area == 1 / 12
    # The spot's box 1 .. 2 of 2 x 2 pixels meets 0 .. 1 in one of seven.
    assert row.iou == pytest.approx(1 / 7) and row.pointing == 1


def test_an_empty_map_prefers_no_place():
    tally = Tally()
    nothing = np.zeros((6, 8))
    mask = np.zeros((6, 8), np.uint8)
    mask[:3] = 1
    tally.add(tally.look(nothing, nothing), Truth(np.zeros((0, 4)), mask), 0, 0.5)
    row = tally.rows[0]
    assert row.mask_area == 0.5
    assert row.energy_in_mask == pytest.approx(0.5, rel=1e-12)
    assert row.pointing == 0 and math.isnan(row.iou) and math.isnan(row.box_area)
    with pytest.raises(ValueError, match="neither a box nor a mask"):
        tally.add(tally.look(nothing, nothing), Truth(np.zeros((0, 4)), None), 0, 0.5)


@pytest.mark.parametrize("spot, far, hit", [((5, 5), 3.0, 1), ((5, 5), 2.9, 0)])
def test_pointing_reaches_as_far_as_the_tolerance(spot, far, hit):
    score = np.zeros((12, 12))
    score[spot] = 1
    mask = np.zeros((12, 12), np.uint8)
    mask[5, 8] = 1
    tally = Tally(tolerance=far)
    tally.add(tally.look(score, score), Truth(np.zeros((0, 4)), mask), 0, 0.5)
    assert tally.rows[0].pointing == hit


def slow_two_by_two(score, true, thresholds):
    """Corner cases of the reference evaluator in plain Python, without OpenCV."""
    height, width = len(score), len(score[0])
    image = [[int(value * 255) for value in row] for row in score]
    top = max(map(max, image))
    found = []
    for threshold in thresholds:
        cut = int(threshold * top)
        spots = {
            (y, x) for y in range(height) for x in range(width) if image[y][x] > cut
        }
        boxes = []
        while spots:
            region, edge = set(), [spots.pop()]
            while edge:
                y, x = edge.pop()
                region.add((y, x))
                near = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & spots
                spots -= near
                edge += near
            ys, xs = zip(*region, strict=True)
            boxes.append(
                (
                    min(xs),
                    min(ys),
                    min(max(xs) + 1, width - 1),
                    min(max(ys) + 1, height - 1),
                )
            )
        boxes = boxes or [(0, 0, 0, 0)]
        ious = []
        for x0, y0, x1, y1 in boxes:
            for a0, b0, a1, b1 in true:
                across = max(min(x1, a1) - max(x0, a0) + 1, 0)
                down = max(min(y1, b1) - max(y0, b0) + 1, 0)
                union = (x1 - x0 + 1) * (y1 - y0 + 1) + (a1 - a0 + 1) * (b1 - b0 + 1)
                ious.append(across * down / (union - across * down))
        found.append(max(ious))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_best_of_all_regions_equals_a_flood_fill(seed):
    rng = np.random.default_rng(seed)
    # No holes: every value of a row is below those of the row above.
    score = np.sort(rng.random((9, 11)), axis=0)[::-1]
    true = [[2, 1, 7, 6], [0, 0, 3, 3]]
    thresholds = [0.0, 0.2, 0.5, 0.77, 0.99]
    tally = Tally(thresholds=thresholds)
    tally.add(tally.look(score, score), Truth(np.array(true), None), 0, 0.0)
    slow = slow_two_by_two(score.tolist(), true, thresholds)
    for row, wanted in enumerate((0.3, 0.5, 0.7)):
        assert tally.boxes.best[0, row].tolist() == [int(s >= wanted) for s in slow]
