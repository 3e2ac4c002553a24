"""`config.sweep`: fields of --mode=granularity, which uses the first study.habitats."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    sweep = ConfigDict()
    sweep.ranks = ()  # that models are trained at; (): all with two taxa or more
    sweep.seeds = (0, 1, 2)
    sweep.train_strides = ()  # output strides to train at; (): model.output_stride
    sweep.strides = ()  # to view at besides; (): half of that, if no train_strides
    sweep.target = "true"  # true (what WSOL asks: the class is known) | predicted
    return sweep
