"""One network with a head at every rank, trained so that its heads agree.

    python main.py --config=configs/multi_rank.py --mode=train --rank=all
    python main.py --config=configs/multi_rank.py --mode=eval --rank=all
    python main.py --config=configs/multi_rank.py:inat2021_birds --mode=train --rank=all
    python main.py --config=configs/multi_rank.py --mode=curves

Starts from another config, by name after the colon (default synthetic_birds). The head
of each rank has 64 features of its own and sees the next coarser one's, in training
without a gradient through them (Chang et al. 2021, arXiv:2011.09040); the heads and the
finest one's marginals are kept together by their Jensen-Shannon divergence. Bertinetto
et al. 2020's losses are `--config.train.hierarchical=hxe` or `soft_labels`. None of
these settings was tuned. `--mode=curves` compares this model with one for each rank,
which have none of what several heads share; configs/curves.py compares variants of it.
"""

from . import experiment


def get_config(base: str = "synthetic_birds"):
    """Returns the experiment."""
    config = experiment(base)
    config.name = f"{base}_multi_rank"
    config.model.head_features = 64
    config.model.head_chain = "stop_gradient"
    config.train.consistency = 1.0
    return config
