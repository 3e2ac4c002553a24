"""Energy on the part that carries a rank, by hand and against chance."""

import numpy as np
import pytest

from hiercam_keras.metrics import planted

EVIDENCE = {"order": ("body", 1), "family": ("bill", 3)}


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
    found = planted.planted_evidence(maps, parts, EVIDENCE)
    assert found.energy["family"].tolist() == [0.5, 0]
    assert found.energy["order"].tolist() == [0.25, 1]
    assert found.area["family"].tolist() == [0.125, 0]
    assert found.background.tolist() == [0.25, 0]
    assert found.background_area.tolist() == [10 / 16, 12 / 16]
    assert found.lift("family")[0] == 4 and np.isnan(found.lift("family")[1])
    assert found.mean_lift("family") == 4
    assert found.mean_lift("order") == pytest.approx(0.625 / 0.25)
    assert found.background_lift()[0] == pytest.approx(0.4)


def test_a_map_without_energy_is_at_chance(parts):
    found = planted.planted_evidence(np.zeros((2, 4, 4)), parts, EVIDENCE)
    assert found.lift("order") == pytest.approx([1, 1])
    assert found.background_lift() == pytest.approx([1, 1])


def test_random_maps_are_at_chance_on_average():
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 4, (400, 6, 6))
    found = planted.planted_evidence(rng.random((400, 6, 6)), parts, EVIDENCE)
    assert found.mean_lift("order") == pytest.approx(1, abs=0.03)
    assert found.background.mean() == pytest.approx(0.25, abs=0.01)


def test_a_part_that_no_picture_shows(parts):
    found = planted.planted_evidence(np.ones((2, 4, 4)), parts, {"genus": ("wing", 7)})
    assert np.isnan(found.mean_lift("genus"))
    with pytest.raises(ValueError, match="expected"):
        planted.planted_evidence(np.ones((2, 5, 5)), parts, EVIDENCE)


def test_background_where_the_habitat_tells_the_truth():
    found = planted.background_by_habitat([0.6, 0.4, 0.1, 0.3], [True, True, 0, 0])
    assert found == pytest.approx((0.5, 0.2, 0.3))
    inside, outside, difference = planted.background_by_habitat([0.6], [True])
    assert inside == 0.6 and np.isnan([outside, difference]).all()
    with pytest.raises(ValueError, match=r"expected \(N,\)"):
        planted.background_by_habitat([0.6], [True, False])
