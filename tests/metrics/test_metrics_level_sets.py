"""Regions and holes of all levels at once: by hand, from labels, and as traced."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hiercam_keras.metrics import level_boxes, level_sets

EIGHT = np.ones((3, 3))


def pieces_at(found, level):
    """(box, area) of each piece at a level, sorted."""
    rows = found.level == level
    return sorted(
        zip(
            map(tuple, found.box[rows].tolist()), found.area[rows].tolist(), strict=True
        )
    )


def box(mask):
    y, x = np.nonzero(mask)
    return tuple(map(int, (x.min(), y.min(), x.max(), y.max())))


def twice_the_area(mask):
    """Of the squares between four pixels: 2 where all are in, 1 where three are."""
    count = mask[1:, 1:].astype(int) + mask[1:, :-1] + mask[:-1, 1:] + mask[:-1, :-1]
    return int(2 * (count == 4).sum() + (count == 3).sum())


def slow_regions(image, level):
    labels, count = scipy.ndimage.label(image > level, EIGHT)
    masks = [labels == i for i in range(1, count + 1)]
    return sorted((box(mask), twice_the_area(mask)) for mask in masks)


def slow_holes(image, level):
    labels, count = scipy.ndimage.label(np.pad(image <= level, 1, constant_values=True))
    masks = [
        (labels == i)[1:-1, 1:-1] for i in range(1, count + 1) if i != labels[0, 0]
    ]
    return sorted((box(mask), 0) for mask in masks)


def maps(largest):
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=9)
    return hnp.arrays(np.uint8, shapes, elements=st.integers(0, largest))


@settings(max_examples=100, deadline=None)
@given(st.one_of(maps(3), maps(12), maps(255)))
def test_pieces_are_those_of_labels(image):
    outer, inner = level_sets.regions_and_holes(image, image.astype(float))
    for level in [*np.unique(image), *range(0, 255, 40)]:
        if level < 255:
            assert pieces_at(outer, level) == slow_regions(image, level)
            assert pieces_at(inner, level) == slow_holes(image, level)


def smooth(seed, side=5, zoom=8):
    """An enlarged map of noise, as a cam is, and its bytes."""
    drawn = np.random.default_rng(seed).normal(size=(side, side))
    score = np.maximum(scipy.ndimage.zoom(drawn, zoom, order=1), 0)
    score /= max(score.max(), 1e-9)
    return score, (score * 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 7), st.booleans())
def test_boxes_and_the_largest_are_those_of_contours(seed, side, bytes_only):
    score, image = smooth(seed, side)
    levels = np.unique(image)
    boxes, starts, largest = level_boxes.boxes_of_levels(
        image, image if bytes_only else score, levels
    )
    ends = np.append(starts, len(boxes))[1:]
    for number, level in enumerate(levels[:-1]):
        expected, pick = level_boxes._traced(image, int(level))
        own = boxes[starts[number] : ends[number]]
        assert sorted(own.tolist()) == sorted(expected.tolist())
        assert boxes[largest[number]].tolist() == expected[pick].tolist()
    assert boxes[largest[-1]].tolist() == [0, 0, 0, 0]


def test_two_peaks_with_a_pass_and_a_hole_by_hand():
    image = np.zeros((6, 9), np.uint8)
    image[1:5, 1:5] = 90  # a ring around 20
    image[2, 2] = image[2, 3] = 20
    image[3, 5] = 40  # the pass
    image[3, 6:8] = 200
    outer, inner = level_sets.regions_and_holes(image, image.astype(float))
    # 9 squares of the filled ring, and a triangle above and below the first step out.
    assert pieces_at(outer, 0) == [((1, 1, 7, 4), 2 * 9 + 2)]
    ring = twice_the_area(image == 90)
    assert pieces_at(outer, 39) == [((1, 1, 7, 4), ring + 2)]
    assert pieces_at(outer, 40) == [((1, 1, 4, 4), ring), ((6, 3, 7, 3), 0)]
    assert pieces_at(outer, 89) == pieces_at(outer, 40)
    assert pieces_at(outer, 90) == [((6, 3, 7, 3), 0)] == pieces_at(outer, 199)
    assert pieces_at(outer, 200) == pieces_at(inner, 19) == pieces_at(inner, 90) == []
    assert pieces_at(inner, 20) == [((2, 2, 3, 2), 0)] == pieces_at(inner, 89)


def test_nothing_is_traced_where_bounds_decide(monkeypatch):
    traced = []
    inner = level_boxes._traced

    def counted(image, cut):
        traced.append(cut)
        return inner(image, cut)

    monkeypatch.setattr(level_boxes, "_traced", counted)
    for seed in range(5):
        score, image = smooth(seed, side=7, zoom=32)
        level_boxes.boxes_of_levels(image, score, np.unique(image))
    assert len(traced) <= 5
    # Two equal ones: only the contours show which is the first of the largest.
    twins = np.zeros((8, 8), np.uint8)
    twins[1:3, 1:3] = twins[5:7, 5:7] = 9
    level_boxes.boxes_of_levels(twins, twins, np.array([0, 9]))
    assert traced[-1] == 0


def test_too_many_plateaus_are_traced():
    image = (np.indices((70, 70)).sum(0) % 4).astype(np.uint8)
    image[::2] = 0
    assert level_sets.regions_and_holes(image, image.astype(float)) is None
    levels = np.array([0, 1])
    boxes, starts, largest = level_boxes.boxes_of_levels(image, image, levels)
    expected, pick = level_boxes._traced(image, 0)
    assert boxes[: starts[1]].tolist() == expected.tolist()
    assert boxes[largest[0]].tolist() == expected[pick].tolist()


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float16, np.float32, np.float64])
def test_scores_of_any_type(kind):
    score = np.zeros((6, 7), kind)
    score[1:4, 2:6] = 1
    score[2, 3] = 0
    image = (score.astype(float) * 255).astype(np.uint8)
    boxes, _, largest = level_boxes.boxes_of_levels(image, score, np.array([0]))
    assert sorted(boxes.tolist()) == [[2, 1, 5, 4], [2, 1, 6, 4]]
    assert boxes[largest[0]].tolist() == [2, 1, 6, 4]


def test_maps_that_were_bytes_before_are_climbed_by_their_blur(monkeypatch):
    _, image = smooth(3, side=9, zoom=28)
    plain = level_sets._Basins(-image.astype(float), 255 - image, diagonal=False)
    assert plain.count > level_sets._MOST_BASINS
    monkeypatch.setattr(level_boxes, "_traced", None)  # nothing may be traced
    boxes, *_ = level_boxes.boxes_of_levels(image, image, np.unique(image))
    assert len(boxes) > 255
