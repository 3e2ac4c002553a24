"""Degenerate maps and energy: hand-worked values, NumPy and JAX, all callers."""

import jax.numpy as jnp
import numpy as np
import pytest

from hiercam_keras import maps
from hiercam_keras.cam import heatmaps
from hiercam_keras.metrics import agreement, concentration
from hiercam_keras.metrics.localization_accumulator import Tally
from hiercam_keras.report import overlay

RAMP = np.arange(16.0).reshape(4, 4)
SHOWS_NOTHING = {
    "zero": np.zeros((4, 4)),
    "constant": np.full((4, 4), 0.3),
    "negative": -RAMP,
    "rounding on a constant": 0.3 + 1e-8 * np.eye(4),
    "tiny constant": np.full((4, 4), 5e-324),
}
NOT_FINITE = {
    "nan": np.full((4, 4), np.nan),
    "infinite": np.where(np.eye(4) > 0, np.inf, 0),
}


@pytest.mark.parametrize("kind", [*SHOWS_NOTHING, *NOT_FINITE])
def test_degenerate_on_both_kinds_of_arrays(kind):
    both = np.stack([(SHOWS_NOTHING | NOT_FINITE)[kind], RAMP])
    assert maps.is_degenerate(both).tolist() == [True, False]
    found = maps.is_degenerate(jnp.asarray(both, jnp.float32), jnp)
    assert found.tolist() == [True, False]
    energy = heatmaps.energy(both, 4)
    np.testing.assert_allclose(energy[0], 1 / 16)
    np.testing.assert_allclose(energy.sum((1, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", SHOWS_NOTHING)
def test_what_shows_nothing_prefers_no_place(kind):
    """A degenerate map is uniform in every measure and has no heatmap on an overlay."""
    one = SHOWS_NOTHING[kind]
    np.testing.assert_allclose(maps.energy(one), 1 / 16)
    assert not maps.minmax(one).any()
    assert concentration.energy_inside(one, np.eye(4) > 0) == pytest.approx(1 / 4)
    assert agreement.containment(one, RAMP, 0.25) == pytest.approx(0.25)
    assert Tally().look(RAMP / 15, one).energy == pytest.approx(1 / 16)
    image = np.zeros((4, 4, 3), np.uint8)
    shown = overlay.overlay(image, np.clip(one, 0, 1))
    np.testing.assert_array_equal(shown, overlay.hatched(image))


def test_forms_of_a_map():
    assert maps.energy(np.eye(3))[1, 1] == pytest.approx(1 / 3)
    np.testing.assert_allclose(maps.energy([[-5.0, 1.0, 3.0]]), [[0, 0.25, 0.75]])
    np.testing.assert_allclose(maps.minmax([[2.0, 3.0, 6.0]]), [[0, 0.25, 1]])
    for wrong in (np.zeros(3), np.zeros((2, 0, 3)), [[np.nan]], [[np.inf]]):
        with pytest.raises(ValueError):
            maps.energy(wrong)
