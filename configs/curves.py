"""Learning curves by rank, with four variants of the model with a head for each rank.

    python main.py --mode=curves --config=configs/curves.py
    python main.py --mode=curves --config=configs/curves.py:cub200_2011

Starts from another config, by name after the colon (default synthetic_birds), and keeps
its name, so that trainings which `--mode=curves` alone has done are kept. Besides the
plain sum of losses it has hierarchical cross-entropy and soft labels (Bertinetto et al.
2020, arXiv:1912.09393), a consistency term, and chained heads (Chang et al. 2021,
arXiv:2011.09040): 27 trainings with four ranks and three seeds. None of the values was
tuned. `--config.curves.weights="('synthetic','none')"` does all of it from our starting
weights and from scratch.
"""

from . import experiment


def get_config(base: str = "synthetic_birds"):
    """Returns the experiment."""
    config = experiment(base)
    config.curves.multi_overrides = (
        ("train.hierarchical", "hxe"),
        ("train.hierarchical", "soft_labels"),
        ("train.consistency", 1.0),
        (("model.head_features", 64), ("model.head_chain", "stop_gradient")),
    )
    return config
