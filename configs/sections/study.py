"""`config.study`, the fields of --mode=study."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    study = ConfigDict()
    study.ranks = ("species", "family")  # a model of each
    study.seeds = (0, 1, 2)  # and of each; all on the split of config.seed
    study.habitats = ()  # data.synthetic.habitat_correlation; (): as it is
    study.weights = ()  # model.weights to train from; (): as it is
    study.overrides = ()  # (field, value) pairs, each tried at the first habitat
    study.strides = (32, 16, 8)  # strides of the maps, from the same weights
    study.layers = ("", "block5c_add")  # explained; "": the last activation
    study.close = ("block5c_add", "hirescam")  # layer, method of a 2nd table; (): none
    study.methods = ("gradcam", "layercam", "hirescam", "gradcam++")
    return study
