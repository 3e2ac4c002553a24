"""The whole study on procedural birds: every rank, three seeds, three habitats.

    make study         # --mode=study --config=configs/study.py --out=docs
    make study-small   # the default config: two ranks, three seeds, two habitats

72 trainings, from our starting weights and from scratch. What is finished is kept, so
the command may be stopped and given again; on a GPU nothing has to be changed.
"""

from . import synthetic_birds


def get_config():
    """Returns the experiment."""
    config = synthetic_birds.get_config()
    config.study.ranks = ("species", "genus", "family", "order")
    config.study.seeds = (0, 1, 2)
    config.study.habitats = (0.0, 0.5, 1.0)
    config.study.weights = ("synthetic", "none")
    return config
