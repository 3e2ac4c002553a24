"""One rule for maps that show nothing: at chance, be they plain or steps."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import geometry
from hiercam_keras.modes import compare_steps


def test_a_step_without_energy_is_at_chance_and_one_that_asks_nothing_is_left_out(
    tmp_path,
):
    parts = np.zeros((64, 64), np.uint8)
    parts[:16] = 1  # a quarter of the picture
    Image.fromarray(parts).save(tmp_path / "parts.png")
    records = [SimpleNamespace(example_id="a", parts_path=tmp_path / "parts.png")]
    cam = np.zeros((3, 4, 4), np.float32)
    cam[0, 0] = 2  # on the part, but for what the resizing spreads
    cam[1] = -1  # evidence against it only
    row = geometry.of(64, 64, 64, "localization").to_row()
    entry = SimpleNamespace(cam=cam, trivial=np.array([0, 0, 1], bool), geometry=row)
    held = compare_steps._on_parts(
        {"a": entry}, records, {"family": ("bill", 1)}
    )  # rank -> (pictures, steps)
    assert held["family"].shape == (1, 3)
    assert held["family"][0, 0] > 0.7
    assert held["family"][0, 1] == pytest.approx(0.25)
    assert np.isnan(held["family"][0, 2])
