"""Boxes at thresholds: the reference evaluator's corner cases, and slow references."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics import boxes

EIGHT = np.ones((3, 3))


def at(score_map, threshold):
    """All boxes and the largest region's box at one threshold, as lists."""
    found = boxes.boxes_at_thresholds(score_map, [threshold])
    return found.boxes.tolist(), found.boxes[found.largest[0]].tolist()


def test_rectangle():
    score = np.zeros((8, 10))
    score[2:5, 3:7] = 1
    # 4 columns from 3 on end at 7: one past the last pixel, as the reference has it.
    assert at(score, 0.5) == ([[3, 2, 7, 5]], [3, 2, 7, 5])


def test_box_is_cut_at_the_last_pixel():
    assert at(np.ones((8, 10)), 0.5)[1] == [0, 0, 9, 7]
    corner = np.zeros((8, 10))
    corner[7, 9] = 1
    assert at(corner, 0.5)[1] == [9, 7, 9, 7]


def test_empty_map_gives_the_zero_box():
    assert at(np.zeros((8, 10)), 0.5) == ([[0, 0, 0, 0]], [0, 0, 0, 0])
    # A map that never reaches 1/255 is empty too, after 8 bits.
    assert at(np.full((8, 10), 0.003), 0.5)[1] == [0, 0, 0, 0]


def test_threshold_is_cut_and_strictly_exceeded():
    # Bytes 0, 100 and 200; thresholds are int(t * 200).
    score = np.array([[0, 0, 0, 0], [0, 100, 200, 0], [0, 0, 0, 0]]) / 255 + 1e-9
    assert at(score, 0.499)[1] == [1, 1, 3, 2]  # int(99.8) = 99 < 100
    assert at(score, 0.5)[1] == [2, 1, 3, 2]  # 100 is not above 100
    assert at(score, 0.504)[1] == [2, 1, 3, 2]  # int(100.8) = 100
    assert at(score, 0.0)[1] == [1, 1, 3, 2]


def test_hole_gives_a_contour_of_its_own():
    score = np.zeros((12, 12))
    score[2:9, 2:9] = 1
    score[4:6, 4:7] = 0  # its border in the region: one pixel around
    every, largest = at(score, 0.5)
    assert sorted(every) == [[2, 2, 9, 9], [3, 3, 8, 7]]
    assert largest == [2, 2, 9, 9]


def test_largest_is_by_polygon_area_in_which_lines_are_nothing():
    score = np.zeros((12, 20))
    score[1, 0:20] = 1  # 20 pixels in a line: area 0
    score[5:7, 5:7] = 1  # 4 pixels: area 1
    every, largest = at(score, 0.5)
    assert sorted(every) == [[0, 1, 19, 2], [5, 5, 7, 7]]
    assert largest == [5, 5, 7, 7]


def test_corners_touch():
    score = np.zeros((6, 6))
    score[1, 1] = score[2, 2] = 1
    assert at(score, 0.5)[0] == [[1, 1, 3, 3]]


def test_equal_thresholds_share_a_level():
    found = boxes.boxes_at_thresholds(np.random.default_rng(0).random((9, 9)))
    assert found.level.shape == (1000,)
    assert len(found.starts) <= 255
    assert (np.diff(found.level) >= 0).all() and found.level[0] == 0


def test_bytes_are_cut_in_float64():
    every = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # 0 .. 1
    expected = [int(float(value) * 255) for value in every]
    assert boxes.to_bytes(every[None])[0].tolist() == expected
    assert ((every * np.float16(255)).astype(np.uint8) != expected).any()


@pytest.mark.parametrize(
    "wrong", [np.full((4, 4), 1.1), np.full((4, 4), -0.1), np.full((4, 4), np.nan)]
)
def test_maps_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected 0 .. 1"):
        boxes.to_bytes(wrong)
    with pytest.raises(ValueError, match="expected"):
        boxes.to_bytes(wrong[None])


def test_box_iou_by_hand():
    # 0 .. 9 is 10 pixels: 100; 5 .. 14 too; they share 5 x 5.
    one = [[0, 0, 9, 9]]
    others = [[5, 5, 14, 14], [0, 0, 9, 9], [20, 20, 30, 30], [10, 0, 19, 9]]
    np.testing.assert_allclose(boxes.box_iou(one, others), [[25 / 175, 1, 0, 0]])
    # Corners 9 and 9 meet in one pixel.
    assert boxes.box_iou(one, [[9, 9, 9, 9]])[0, 0] == 1 / 100
    assert boxes.box_iou([[5, 5, 4, 4]], [[5, 5, 4, 4]])[0, 0] == 0
    with pytest.raises(ValueError, match="expected"):
        boxes.box_iou([0, 0, 1, 1], one)


def test_resize_boxes_cuts_to_integers():
    # 100 x 50 to 224 x 224: x times 2.24, y times 4.48.
    found = boxes.resize_boxes([[10, 10, 99, 49]], (100, 50))
    assert found.tolist() == [[22, 44, 221, 219]]  # 22.4 44.8 221.76 219.52


def test_box_mask():
    mask = boxes.box_mask([[1, 0, 2, 1], [-3, 3, 0, 9]], (4, 4))
    expected = [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert mask.astype(int).tolist() == expected


def outline_area(region):
    """Area within the outer border of an 8-connected region: trace, then shoelace."""
    padded = np.pad(region, 1)
    start = tuple(np.argwhere(padded)[0])  # topmost, then leftmost
    if padded.sum() == 1:
        return 0.0
    ring = [(0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1)]
    points, here, back, first = [start], start, 0, None
    while True:
        for turn in range(1, 9):
            way = (back + turn) % 8
            there = (here[0] + ring[way][0], here[1] + ring[way][1])
            if padded[there]:
                break
        if first is None:
            first = (here, way)
        elif (here, way) == first:
            break
        points.append(there)
        here, back = there, (way + 4) % 8
    y, x = np.array(points, float).T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def slow_boxes(above):
    """Boxes of all regions and holes, and those of the largest ones, without OpenCV."""
    height, width = above.shape
    regions, count = scipy.ndimage.label(above, EIGHT)
    if not count:
        return {(0, 0, 0, 0)}, {(0, 0, 0, 0)}

    def box(mask, around):
        y, x = np.nonzero(mask)
        x1, y1 = x.max() + 1 + around, y.max() + 1 + around
        corner = (x.min() - around, y.min() - around)
        return tuple(map(int, (*corner, min(x1, width - 1), min(y1, height - 1))))

    outer = [box(regions == i, 0) for i in range(1, count + 1)]
    areas = [outline_area(regions == i) for i in range(1, count + 1)]
    holes, hole_count = scipy.ndimage.label(np.pad(~above, 1, constant_values=True))
    inner = [
        box((holes == i)[1:-1, 1:-1], 1)
        for i in range(1, hole_count + 1)
        if i != holes[0, 0]
    ]
    top = {b for b, area in zip(outer, areas, strict=True) if area == max(areas)}
    return set(outer) | set(inner), top


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.sampled_from([0, 60, 130, 255]),
    ),
    st.sampled_from([0.0, 0.3, 0.7]),
)
@settings(deadline=None, max_examples=120)
def test_boxes_equal_a_slow_search_without_opencv(image, threshold):
    score = image / 255.0
    every, largest = at(score, threshold)
    cut = int(threshold * boxes.to_bytes(score).max())
    expected, tops = slow_boxes(boxes.to_bytes(score) > cut)
    assert {tuple(box) for box in every} == expected
    assert tuple(largest) in tops
