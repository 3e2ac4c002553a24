"""Energy on the part that carries a rank, by hand and against chance."""

import numpy as np
import pytest

from hiercam_keras.metrics import planted, resampling

LABELS = {"body": 1, "bill": 3}


@pytest.fixture
def parts():
    """4 x 4: 4 cells of body, 2 of bill, the rest background; one without a bill."""
    parts = np.zeros((2, 4, 4), np.uint8)
    parts[:, 1:3, 1:3] = 1
    parts[0, 0, 1:3] = 3
    return parts


def test_shares_and_lifts_by_hand(parts):
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 1], maps[0, 1, 1], maps[0, 3, 3], maps[0, 2, 2] = 2, 1, 1, -5
    maps[1, 1, 1] = 3
    found = planted.part_shares(maps, parts, LABELS)
    assert found.energy["bill"].tolist() == [0.5, 0]
    assert found.energy["body"].tolist() == [0.25, 1]
    assert found.area["bill"].tolist() == [0.125, 0]
    assert found.area["body"].tolist() == [0.25, 0.25]
    # A picture without the part adds nothing to either sum.
    assert resampling.lift(found.energy["bill"], found.area["bill"]).value == 4
    lift = resampling.lift(found.energy["body"], found.area["body"]).value
    assert lift == pytest.approx(0.625 / 0.25)


def test_a_map_without_energy_is_at_chance(parts):
    found = planted.part_shares(np.zeros((3, 2, 4, 4)), parts, LABELS)
    for name in LABELS:
        assert found.energy[name].shape == (3, 2)
        assert found.energy[name] == pytest.approx(np.tile(found.area[name], (3, 1)))


def test_random_maps_are_at_chance_on_average():
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 4, (400, 6, 6))
    found = planted.part_shares(rng.random((400, 6, 6)), parts, {"none": 0, **LABELS})
    for name in found.area:
        lift = resampling.lift(found.energy[name], found.area[name]).value
        assert lift == pytest.approx(1, abs=0.03)


def test_a_part_that_no_picture_shows_and_maps_of_another_size(parts):
    found = planted.part_shares(np.ones((2, 4, 4)), parts, {"wing": 7})
    assert found.energy["wing"].tolist() == found.area["wing"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="expected"):
        planted.part_shares(np.ones((2, 5, 5)), parts, LABELS)
