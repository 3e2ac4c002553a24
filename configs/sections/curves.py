"""`config.curves`: fields of --mode=curves, which uses the first of study.habitats."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    curves = ConfigDict()
    curves.ranks = ("order", "family", "genus", "species")  # a model of each
    curves.seeds = (0, 1, 2)
    curves.multi_rank = True  # and a model with a head for each of these ranks
    curves.multi_seeds = ()  # of that model; (): as seeds
    curves.multi_overrides = ()  # variants of it: (field, value), or several of these
    curves.weights = ()  # model.weights to train from, as "none"; (): as it is
    return curves
