"""Filters of the last convolution that fire for one part (Zhang, Wu and Zhu 2018).

    python main.py --config=configs/interpretable.py --mode=train --rank=species

Starts from another config, by name after the colon (default synthetic_birds), and adds
the filter loss of arXiv:1710.00935 on the layer that CAMs explain: the weight times the
sum over the filters. With 0.3 on small drawn birds (docs/filter_loss/STUDY.md, one
seed) the weighted term was 0.23 of the cross-entropy in the second epoch, and the maps
were more on the birds; 10 ruined the training. Nothing between was tried, and the right
weight hangs on the layer: look at `filter_loss` and `filter_information` in log.csv.
Without it, the same run is that of the config that it starts from.
"""

from . import experiment


def get_config(base: str = "synthetic_birds"):
    """Returns the experiment."""
    config = experiment(base)
    config.name = f"{base}_interpretable"
    config.train.filter_loss = 0.3
    return config
