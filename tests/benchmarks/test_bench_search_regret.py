"""The losses of several searches in one table."""

import json

import numpy as np
import pytest

from benchmarks import search_network, search_regret
from hiercam_keras.cam import stages
from hiercam_keras.errors import UserError
from hiercam_keras.evaluation import ranking, table
from hiercam_keras.evaluation.table import Table

CHOICE = {"name": "b", "method": "b", "layer": "top"}


def search(folder, energies, chosen, gain=None, measure="lift"):
    """What a search leaves, of two questions about twelve pictures."""
    folder.mkdir()
    count = len(energies)
    table.save(
        folder / "report_test.npz",
        Table(
            np.array([f"{i}.jpg" for i in range(count)]),
            np.arange(count).astype(str),
            ("a", "b"),
            ("species",) * 2,
            {ranking.ENERGY: np.asarray(energies, float)},
            {ranking.AREA: np.full(count, 0.5)},
        ),
    )
    lost = {"value": 0.2, "low": None, "high": None, "n": 12, "groups": 12, "p": None}
    about = {
        "run": folder.name,
        "measure": measure,
        "chosen": {**CHOICE, "name": chosen},
        "test": {"best": CHOICE, "regret": lost, "own": CHOICE, "gain": gain},
    }
    (folder / "search.json").write_text(json.dumps(about))
    return str(folder)


def test_one_row_a_search_and_one_of_all(tmp_path):
    one = search(tmp_path / "one", [[0.6, 0.7]] * 12, "a")
    gain = {"value": 0.3, "low": 0.1, "high": 0.5, "n": 12, "groups": 12, "p": 0.01}
    two = search(tmp_path / "two", [[0.5, 0.7]] * 12, "b", gain)
    said = search_regret.main([one, two]).splitlines()
    assert said[2].split("  ")[:2] == ["one", "a"] and "0.2, n = 12 in 12" in said[2]
    assert said[3].endswith("0.3 (0.1 to 0.5), n = 12 in 12 groups")
    assert "all" in said[4] and "0.1 (0 to 0.2), n = 24 in 12 groups" in said[4]


def test_what_is_refused(tmp_path):
    one = search(tmp_path / "one", [[0.6, 0.7]] * 12, "a")
    two = search(tmp_path / "two", [[0.6, 0.7]] * 12, "a", measure="other")
    with pytest.raises(UserError, match="are by lift and other"):
        search_regret.main([one, two])
    about = json.loads((tmp_path / "one" / "search.json").read_text())
    del about["test"]
    (tmp_path / "one" / "search.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="search with --config.search.report=test"):
        search_regret.main([one])


def test_the_small_network_has_four_stages():
    model = search_network.build(64)
    assert model.output_shape == (None, 8, 8, 96)
    assert stages.ends(model) == ("top", "stage3_add", "stage2_add", "stage1_add")
