"""Runs of a tiny network, trained once for all tests of the modes."""

from pathlib import Path
from typing import NamedTuple

import pytest
import tiny_birds
from ml_collections import ConfigDict


class Trained(NamedTuple):
    """Finished runs: their config and folders by ranks."""

    config: ConfigDict
    runs: Path

    def path(self, *ranks: str) -> Path:
        return self.runs / "mini" / "+".join(ranks) / "seed0"


@pytest.fixture(scope="session", autouse=True)
def tiny_backbone():
    """Makes model.backbone=tiny known."""
    tiny_birds.register()


@pytest.fixture(scope="session")
def birds(tmp_path_factory) -> Path:
    """Folder of the drawn birds; the first training draws them."""
    return tmp_path_factory.mktemp("birds") / "mini"


@pytest.fixture
def config(tmp_path, birds) -> ConfigDict:
    """An experiment with runs of its own on the shared birds."""
    return tiny_birds.make_config(tmp_path, birds)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, birds) -> Trained:
    """Runs at family, at species, and at order + species, trained with seed 0."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_birds.make_config(folder, birds)
    for rank in (("family",), ("species",), ("order", "species")):
        tiny_birds.run("train", config, rank=rank)
    return Trained(config, folder / "runs")


@pytest.fixture(scope="session")
def image_folder(trained, birds) -> Path:
    """The class folders of the birds."""
    return birds / "images"
