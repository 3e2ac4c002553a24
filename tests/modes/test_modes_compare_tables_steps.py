"""One rule for maps that show nothing: at chance, be they plain or steps."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hiercam_keras.data import geometry
from hiercam_keras.data.records import Record
from hiercam_keras.evaluation.tabulate import stored, tabulate
from hiercam_keras.taxonomy.lineage import Lineage
from hiercam_keras.taxonomy.tree import Taxonomy


def test_a_map_without_energy_is_at_chance_and_one_that_asks_nothing_is_left_out(
    tmp_path,
):
    parts = np.zeros((64, 64), np.uint8)
    parts[:16] = 1  # a quarter of the picture
    Image.fromarray(parts).save(tmp_path / "parts.png")
    lineage = Lineage(("Anatidae", "Anas crecca"), ("family", "species"))
    record = Record("a", tmp_path / "a.jpg", lineage, parts_path=tmp_path / "parts.png")
    cam = np.zeros((3, 4, 4), np.float32)
    cam[0, 0] = 2  # on the part, but for what the resizing spreads
    cam[1] = -1  # evidence against it only
    entry = SimpleNamespace(
        cam=cam,
        label=np.zeros(3, int),
        degenerate=np.array([0, 1, 1], bool),
        trivial=np.array([0, 0, 1], bool),
        score=np.zeros(3),
        probability=np.ones(3),
        geometry=geometry.of(64, 64, 64, "localization").to_row(),
    )
    maps = {name: ({"a": entry}, k) for k, name in enumerate(("one", "two", "three"))}
    table = tabulate(
        stored(maps, [record], parts=True),
        Taxonomy([lineage]),
        dict.fromkeys(maps, "family"),
        {"part_family": 1},
    )
    assert table.values["part_family"].shape == (1, 3)
    assert table.of("part_family", "one")[0] > 0.7
    assert table.of("part_family", "two")[0] == pytest.approx(0.25)
    assert np.isnan(table.of("part_family", "three")[0])
    assert table.pictures["part_family_area"] == pytest.approx(0.25)
    assert np.isnan(table.of("energy_on_object", "one")[0])  # neither mask nor box
