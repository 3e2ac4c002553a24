"""Runs of a tiny network, trained once for all tests of the modes."""

from pathlib import Path
from typing import NamedTuple

import keras
import pytest
import tiny_birds
from ml_collections import ConfigDict
from tiny_networks import lineages

from hiercam_keras.data import sources


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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, birds) -> Path:
    """The class folders of the birds, which no model was trained on."""
    config = tiny_birds.make_config(tmp_path_factory.mktemp("drawn"), birds)
    sources.load(config.data, name="mini")
    return birds / "images"


@pytest.fixture
def species(drawn) -> list[dict[str, str]]:
    """Their taxa by rank, one a species."""
    return lineages(drawn)


@pytest.fixture
def new_process():
    """Keras' registry as it is where nothing of the user's has been imported."""
    known = keras.saving.get_custom_objects()
    before = dict(known)
    known.clear()
    yield known
    known.clear()
    known.update(before)
