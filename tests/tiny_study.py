"""A study of a tiny network: two ranks, two seeds, two habitats, eighty birds each."""

from pathlib import Path

import tiny_birds
from ml_collections import ConfigDict, FrozenConfigDict

from hiercam_keras.modes.settings import Settings


def make_config(folder: Path) -> ConfigDict:
    """The config; runs and birds lie in `folder`."""
    config = tiny_birds.make_config(folder, folder / "birds")
    config.train.epochs = 1
    config.study.seeds = config.curves.seeds = config.sweep.seeds = (0, 1)
    config.study.strides = (32,)
    config.study.layers = ("", "activation2")
    config.study.close = ("activation2", "hirescam")
    config.study.methods = ("gradcam", "layercam")
    config.curves.ranks = ("family", "species")
    config.curves.multi_seeds = (1,)
    config.sweep.ranks = ("family", "species")
    config.sweep.strides = (32,)
    return config


def make_settings(config: ConfigDict, mode: str = "study", **flags) -> Settings:
    """Settings as main.py would make them."""
    return Settings(mode=mode, config=FrozenConfigDict(config), **flags)


def train_here(settings: Settings, work=None) -> None:
    """Trains, or does other work, in this process, where the tiny backbone is known."""
    from hiercam_keras.modes import train

    (work or train.run)(settings)
