"""Localization figures: by hand, and equal to a loop over every threshold."""

import math

import cv2
import numpy as np
import pytest

from hiercam_keras.metrics import boxes
from hiercam_keras.metrics import localization as loc


def smooth_maps(count, size=40, seed=0):
    """Maps like those of a network: coarse noise, bilinear, 0 .. 1, float32."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(count):
        coarse = np.maximum(rng.normal(0.3, 1, (5, 5)), 0).astype(np.float32)
        fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
        maps.append((fine - fine.min()) / (fine.max() - fine.min()))
    return maps


def slow_localize(score_map, true_boxes, thresholds):
    """A reference in plain loops over thresholds, contours and pairs of boxes."""
    height, width = score_map.shape
    image = (score_map.astype(np.float64) * 255).astype(np.uint8)
    largest, best = [], []
    for threshold in thresholds:
        cut = int(threshold * int(image.max()))
        above = (image > cut).astype(np.uint8)
        contours = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        scores, areas = [], []
        for contour in contours:
            x, y = contour[:, 0, 0], contour[:, 0, 1]
            x1, y1 = min(x.max() + 1, width - 1), min(y.max() + 1, height - 1)
            scores.append(slow_iou((x.min(), y.min(), x1, y1), true_boxes))
            areas.append(cv2.contourArea(contour))
        if not contours:
            scores, areas = [slow_iou((0, 0, 0, 0), true_boxes)], [0]
        largest.append(scores[areas.index(max(areas))])
        best.append(max(scores))
    return largest, best


def slow_iou(box, true_boxes):
    values = []
    for other in true_boxes:
        across = min(box[2], other[2]) - max(box[0], other[0]) + 1
        down = min(box[3], other[3]) - max(box[1], other[1]) + 1
        both = max(across, 0) * max(down, 0)
        sizes = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
        values.append(both / (sum(sizes) - both))
    return max(values)


def test_counts_equal_the_loop_over_a_thousand_thresholds():
    rng = np.random.default_rng(1)
    counts = loc.BoxCounts()
    expected = np.zeros((2, 3, 1000), int)
    maps = smooth_maps(6)
    for score_map in maps:
        corner = rng.integers(0, 20, (2, 2))
        true = np.hstack([corner, corner + rng.integers(5, 20, (2, 2))])
        found = counts.add(score_map, true)
        slow = slow_localize(score_map, true, loc.THRESHOLDS)
        assert found.largest.tolist() == slow[0]
        assert found.best.tolist() == slow[1]
        for i, wanted in enumerate((0.3, 0.5, 0.7)):
            expected[0, i] += np.array(slow[0]) >= wanted
            expected[1, i] += np.array(slow[1]) >= wanted
    assert (counts.largest[0] == expected[0]).all()
    assert (counts.best[0] == expected[1]).all()
    assert 0 < expected[0, 1].max() < 6  # the case decides something
    assert counts.max_box_acc()[0] == expected[0, 1].max() / 6
    by_iou = [expected[1, i].max() / 6 for i in range(3)]
    assert counts.max_box_acc_v2()[0] == np.average(by_iou)


def blob(x0, y0, x1, y1, value=1.0):
    score = np.zeros((20, 20))
    score[y0:y1, x0:x1] = value
    return score


def test_max_box_acc_by_hand():
    # Box 5 .. 15 of 11 x 11 is the truth. Map A: exact at every threshold. Map B: a
    # second region of 0.6 widens nothing but is largest below 0.6: right above only.
    counts = loc.BoxCounts(thresholds=[0.0, 0.5, 0.7], num_groups=3)
    true = [[5, 5, 15, 15]]
    counts.add(blob(5, 5, 15, 15), true, group=0)
    two = blob(0, 0, 4, 20, 0.6) + blob(5, 5, 13, 13)
    found = counts.add(two, true, group=2)
    # Box 5 .. 13 is 9 x 9 of 11 x 11 pixels.
    assert found.largest.tolist() == pytest.approx([0, 0, 81 / 121])
    assert found.best.tolist() == pytest.approx([81 / 121] * 3)
    assert counts.curve(0.5).tolist() == [0.5, 0.5, 1]
    assert counts.max_box_acc() == (1, 0.7)
    assert counts.max_box_acc(0.7) == (0.5, 0)
    assert counts.max_box_acc(0.5, multi=True) == (1, 0)
    value, thresholds = counts.max_box_acc_v2()
    assert value == pytest.approx((1 + 1 + 0.5) / 3) and thresholds == (0, 0, 0)
    assert counts.accuracy_at(0.48) == 0.5


def test_counts_add_up():
    maps, true = smooth_maps(4, seed=2), [[8, 8, 30, 30]]
    whole, parts = loc.BoxCounts(), [loc.BoxCounts(), loc.BoxCounts()]
    for i, score_map in enumerate(maps):
        whole.add(score_map, true)
        parts[i % 2].add(score_map, true)
    total = parts[0] + parts[1]
    assert (total.largest == whole.largest).all() and (total.best == whole.best).all()
    assert total.max_box_acc_v2() == whole.max_box_acc_v2()
    with pytest.raises(ValueError, match="count again"):
        whole + loc.BoxCounts(thresholds=[0.5])


def test_wrong_questions_are_refused():
    counts = loc.BoxCounts()
    with pytest.raises(ValueError, match="no map was counted"):
        counts.max_box_acc()
    with pytest.raises(ValueError, match="with a box"):
        counts.add(np.ones((4, 4)), np.zeros((0, 4)))
    counts.add(np.ones((4, 4)), [[0, 0, 3, 3]])
    with pytest.raises(ValueError, match="expected one of"):
        counts.max_box_acc(0.4)


def slow_pxap(maps, masks, thresholds):
    """Precision and recall counted pixel by pixel above each threshold."""
    scores, truth = np.ravel(maps), np.ravel(masks)
    total, last, sums = int((truth == 1).sum()), 0.0, 0.0
    for place, threshold in enumerate([2.0, 1.0, *thresholds[::-1]]):
        taken = scores >= threshold
        right = int((taken & (truth == 1)).sum())
        wrong = int((taken & (truth == 0)).sum())
        recall = right / total
        if place and right + wrong:
            sums += right / (right + wrong) * (recall - last)
        last = recall
    return sums


def test_pxap_equals_the_slow_count():
    rng = np.random.default_rng(5)
    maps = np.stack(smooth_maps(3, 16))
    masks = rng.choice([0, 1, 255], size=maps.shape, p=[0.6, 0.3, 0.1])
    counts = loc.PixelCounts()
    for score_map, mask in zip(maps, masks, strict=True):
        counts.add(score_map, mask)
    assert counts.pxap() == pytest.approx(
        slow_pxap(maps, masks, loc.THRESHOLDS.tolist()), rel=1e-12
    )
    known = masks != 255
    assert counts.prevalence() == pytest.approx((masks[known] == 1).mean())
    # Bins as numpy's own histogram has them, float32 scores against float64 edges.
    edges = np.append(loc.THRESHOLDS, [1.0, 2.0, 3.0])
    assert (counts.inside == np.histogram(maps[masks == 1], edges)[0]).all()
    assert (counts.outside == np.histogram(maps[masks == 0], edges)[0]).all()


def test_pxap_by_hand():
    # Scores 1, .8, .6, 0 with truth 1 0 1 0: precision 1 at recall .5, 2/3 at 1.
    counts = loc.PixelCounts([0.0, 0.25, 0.5, 0.75])
    counts.add([[1.0, 0.8, 0.6, 0.0]], [[1, 0, 1, 0]])
    assert counts.pxap() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    perfect = loc.PixelCounts()
    perfect.add([[1.0, 0.9, 0.2, 0.0]], [[True, True, False, False]])
    assert perfect.pxap() == 1


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_constant_map_scores_the_prevalence(value):
    counts = loc.PixelCounts()
    mask = np.zeros((10, 10), np.uint8)
    mask[:3] = 1
    counts.add(np.full((10, 10), value), mask)
    assert counts.pxap() == pytest.approx(0.3)
    assert counts.prevalence() == 0.3


def test_pixel_counts_add_up_and_check():
    maps = np.stack(smooth_maps(2, 12, seed=6))
    masks = (maps[::-1] > 0.5).astype(np.uint8)
    whole, one, other = (loc.PixelCounts() for _ in range(3))
    whole.add(maps, masks)
    one.add(maps[0], masks[0])
    other.add(maps[1], masks[1])
    assert (one + other).pxap() == whole.pxap()
    with pytest.raises(ValueError, match="leave 0 .. 1"):
        whole.add(maps * 2, masks)
    with pytest.raises(ValueError, match="differ in shape"):
        whole.add(maps, masks[0])
    with pytest.raises(ValueError, match="no pixel of an object"):
        loc.PixelCounts().pxap()
    with pytest.raises(ValueError, match="count again"):
        whole + loc.PixelCounts([0.0, 0.5])


def test_pointing_game():
    maps = np.zeros((4, 40, 40))
    maps[0, 10, 10] = 1  # on the object
    maps[1, 10, 30] = 1  # 15 off its last column
    maps[2, 10, 31] = 1  # 16 off
    mask = boxes.box_mask([[5, 5, 15, 15]], (40, 40))
    masks = np.broadcast_to(mask, maps.shape)
    assert loc.pointing_game(maps, masks).tolist() == [True, True, False, False]
    strict = loc.pointing_game(maps, masks, tolerance=0)
    assert strict.tolist() == [True, False, False, False]
    # Off a corner the distance is straight: (25, 25) is 14.1 from (15, 15).
    maps[0] = 0
    maps[0, 25, 25] = 1
    assert loc.pointing_game(maps[:1], masks[:1])[0]
    maps[0, 26, 26] = 2  # 15.6
    assert not loc.pointing_game(maps[:1], masks[:1])[0]
    with pytest.raises(ValueError, match="twice"):
        loc.pointing_game(maps[0], mask)


def test_mean_by_group():
    # Groups: (1 + 0 + 0)/3 and 1.
    assert loc.mean_by_group([1, 0, 0, 1], ["a", "a", "a", "b"]) == pytest.approx(2 / 3)
    assert math.isnan(loc.mean_by_group([], []))
