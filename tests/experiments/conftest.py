"""A study of a tiny network, run once for all tests of the experiments."""

from pathlib import Path

import pytest
import tiny_birds
import tiny_study
from ml_collections import ConfigDict


@pytest.fixture(scope="session", autouse=True)
def tiny_backbone():
    """Registers model.backbone=tiny."""
    tiny_birds.register()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> ConfigDict:
    """The config of the study."""
    return tiny_study.make_config(tmp_path_factory.mktemp("study"))


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs trainings of experiments in the process of the tests."""
    from hiercam_keras.experiments import runs

    monkeypatch.setattr(runs, "in_own_process", tiny_study.train_here)


@pytest.fixture(scope="session")
def studied(tiny) -> tuple[ConfigDict, Path]:
    """The finished study: its config and the folder of its page."""
    from hiercam_keras.experiments import runs, study

    folder = Path(tiny.runs_dir) / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "in_own_process", tiny_study.train_here)
        study.run(tiny_study.make_settings(tiny, out=str(folder)))
    return tiny, folder
