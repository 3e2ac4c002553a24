"""Filters of the last convolution that fire for one part (Zhang, Wu and Zhu 2018).

    python main.py --config=configs/interpretable.py --mode=train --rank=species

Starts from another config, by name after the colon (default synthetic_birds), and adds
the filter loss of arXiv:1710.00935 on the layer that CAMs explain. The weight was
chosen so that the term moves within two epochs; it was not tuned. Without it, the same
run is that of the config that it starts from.
"""

import importlib


def get_config(base: str = "synthetic_birds"):
    """Returns the experiment."""
    config = importlib.import_module(f"configs.{base}").get_config()
    config.name = f"{base}_interpretable"
    config.train.filter_loss = 10.0
    return config
