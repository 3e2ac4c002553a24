"""Measures of maps on objects and parts, by hand and against chance."""

import numpy as np
import pytest

from hiercam_keras.evaluation import measures
from hiercam_keras.evaluation.measures import MEASURES, Maps
from hiercam_keras.evaluation.regions import Regions
from hiercam_keras.maps import SIDE
from hiercam_keras.metrics import resampling

LABELS = {"part_order": 1, "part_family": 3}


def regions_of(cells):
    """Regions of pictures drawn as part labels (N, 4, 4); the object is any part."""
    parts = np.kron(cells, np.ones((SIDE // 4,) * 2, int))
    return Regions((parts > 0).astype(float), np.full(len(cells), "mask"), parts)


@pytest.fixture
def regions():
    """4 cells of body, 2 of bill, the rest background; one picture without a bill."""
    cells = np.zeros((2, 4, 4), int)
    cells[:, 1:3, 1:3] = 1
    cells[0, 0, 1:3] = 3
    return regions_of(cells)


def maps_of(cams, regions):
    """Maps as large as the regions, so that resizing does not spread them."""
    cams = np.kron(np.asarray(cams, float), np.ones((SIDE // 4,) * 2))
    flat = cams.reshape(len(cams), -1)
    return Maps(cams, flat.max(1) <= 0, regions)


def test_shares_and_lifts_by_hand(regions):
    cams = np.zeros((2, 4, 4))
    cams[0, 0, 1], cams[0, 1, 1], cams[0, 3, 3], cams[0, 2, 2] = 2, 1, 1, -5
    cams[1, 1, 1] = 3
    found = measures.part_energy(maps_of(cams, regions), LABELS)
    area = measures.part_area(regions, LABELS)
    assert found["part_family"] == pytest.approx([0.5, 0])
    assert found["part_order"] == pytest.approx([0.25, 1])
    assert area["part_family"].tolist() == [0.125, 0]
    assert area["part_order"].tolist() == [0.25, 0.25]
    on_object = MEASURES["energy_on_object"].compute(maps_of(cams, regions))
    assert on_object == pytest.approx([0.75, 1])
    # A picture without the part adds nothing to either sum.
    lift = resampling.lift(found["part_family"], area["part_family"]).value
    assert lift == pytest.approx(4)
    lift = resampling.lift(found["part_order"], area["part_order"]).value
    assert lift == pytest.approx(0.625 / 0.25)


def test_a_degenerate_map_is_at_chance(regions):
    maps = maps_of(np.full((2, 4, 4), -1), regions)
    found = measures.part_energy(maps, LABELS)
    for name, area in measures.part_area(regions, LABELS).items():
        assert found[name] == pytest.approx(area)
    on_object = MEASURES["energy_on_object"].compute(maps)
    assert on_object == pytest.approx(regions.object_area())
    assert MEASURES["heatmap_area"].compute(maps).tolist() == [0, 0]


def test_random_maps_are_at_chance_on_average():
    rng = np.random.default_rng(0)
    regions = regions_of(rng.integers(0, 4, (200, 4, 4)))
    maps = maps_of(rng.random((200, 4, 4)), regions)
    labels = {"none": 0, **LABELS}
    found, area = (
        measures.part_energy(maps, labels),
        measures.part_area(regions, labels),
    )
    for name in labels:
        lift = resampling.lift(found[name], area[name]).value
        assert lift == pytest.approx(1, abs=0.04)


def test_what_is_not_known_is_nan(regions):
    bare = Regions(np.full((2, SIDE, SIDE), np.nan), np.array(["", ""]), None)
    maps = maps_of(np.ones((2, 4, 4)), bare)
    assert np.isnan(MEASURES["energy_on_object"].compute(maps)).all()
    assert np.isnan(measures.part_energy(maps, LABELS)["part_order"]).all()
    assert np.isnan(measures.part_area(bare, LABELS)["part_order"]).all()
    found = measures.part_energy(maps_of(np.ones((2, 4, 4)), regions), {"wing": 7})
    assert found["wing"].tolist() == [0, 0]  # a part that no picture shows


def test_every_measure_gives_one_number_for_each_map(regions):
    """Also one that is registered elsewhere: the tables list what is registered."""
    maps = maps_of(np.random.default_rng(0).normal(size=(2, 4, 4)), regions)
    for name, measure in MEASURES.items():
        values = measure.compute(maps)
        assert values.shape == (2,) and np.isfinite(values).all(), name
        assert measure.title.format(noun="bird")


def test_the_entropy_of_the_softmax_by_hand():
    """Two cells of 1 and 0 in every unit; a constant map has the entropy of uniform."""
    regions = Regions(np.full((3, SIDE, SIDE), np.nan), np.array([""] * 3), None)
    cams = np.array([[[1.0, 0.0]], [[20.0, 0.0]], [[5.0, 5.0]]])
    maps = Maps(cams, np.zeros(3, bool), regions)
    share = np.e / (np.e + 1)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) / np.log(2)
    found = MEASURES["softmax_entropy"].compute(maps)
    assert found == pytest.approx([entropy, entropy, 1])
