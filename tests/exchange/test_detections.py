"""Boxes and scores of detections, as every reader checks them."""

import math

import pytest

from hiercam_keras.exchange import detections


def test_a_box_is_cut_at_the_edge_and_given_in_pixels():
    box = detections.box_from_corner([0.25, -0.004, 0.5, 1.008])
    assert box == (0.25, 0.0, 0.75, 1.0)
    one = detections.Detection("a.jpg", box, "animal", 0.9, 1)
    assert one.box_in(400, 200) == (100, 0, 300, 200)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([0.1, 0.1, 0.5], "4 numbers .3"),
        ([0.1, 0.1, 0.0, 0.5], "no area"),
        ([0.6, 0.1, 0.5, 0.5], "beyond its edge"),
        ([-0.2, 0.1, 0.5, 0.5], "beyond its edge"),
        ([100, 20, 300, 40], "beyond its edge"),
        ([1.0, 0.1, 0.005, 0.5], "no area inside"),
        ([0.1, "0.1", 0.5, 0.5], "number is expected .'0.1'"),
        ([0.1, math.nan, 0.5, 0.5], "finite number"),
        ([0.1, True, 0.5, 0.5], "number is expected .True"),
    ],
)
def test_what_is_no_box_is_refused_with_the_reason(numbers, why):
    with pytest.raises(detections.Fault, match=why):
        detections.box_from_corner(numbers)


def test_scores_are_between_0_and_1():
    assert detections.confidence_of(1.0005) == 1.0
    assert detections.confidence_of(1) == 1.0
    for wrong in (1.2, -0.1, "0.5", None, math.inf):
        with pytest.raises(detections.Fault):
            detections.confidence_of(wrong)


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("animal", "animal"),
        ("Ardea cinerea", "animal"),
        ("person", "human"),
        ("Homo_sapiens", "human"),
        ("EMPTY", "blank"),
        ("unclassified", "unknown"),
        ("vehicle", "vehicle"),
    ],
)
def test_categories_of_all_sources_are_of_a_few_kinds(category, kind):
    assert detections.kind_of(category) == kind
