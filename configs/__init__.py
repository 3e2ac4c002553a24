"""Config files: one experiment each. Installed as `hiercam_keras.configs`."""

import importlib

from ml_collections import ConfigDict


def experiment(name: str) -> ConfigDict:
    """The config of another experiment: one of this folder, else a user's `configs`."""
    try:
        module = importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError:
        module = importlib.import_module(f"configs.{name}")
    return module.get_config()
