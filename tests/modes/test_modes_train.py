"""Training at several ranks, and the run folder that it leaves."""

import json

import numpy as np

from hiercam_keras.report import tables


def test_run_folder_is_complete(trained):
    path = trained.path("family")
    names = {entry.name for entry in path.iterdir()}
    wanted = "config.json split taxonomy.json model.keras checkpoints log.csv"
    assert set(wanted.split()) <= names
    record = json.loads((path / "config.json").read_text())
    assert record["state"] == "finished"
    assert record["ranks"] == ["family"]
    assert record["data_dir"] is None
    assert record["config"]["data"]["image_size"] == 48
    assert record["versions"]["keras"]
    log = tables.read_log(path / "log.csv")
    assert log["epoch"] == [1, 2]
    assert np.isfinite(log["loss"]).all() and np.isfinite(log["val_accuracy"]).all()
