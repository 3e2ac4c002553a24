"""`config.causes`: fields of --mode=causes, on birds with one part exchanged."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    causes = ConfigDict()
    causes.ranks = ("species", "family")  # a model of each
    causes.seeds = (0, 1, 2)  # and of each; all on the split of config.seed
    causes.other_seeds = ()  # of the ranks after the first one; (): as seeds
    causes.images_per_species = 1  # of the split that is reported; -1: all
    causes.val_images_per_species = 1  # of val, on which methods are chosen
    causes.methods = (  # of the maps; those that a network cannot be asked are left out
        *("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"),
        *("gradcam_elementwise", "eigencam", "eigengradcam"),
        *("random", "center_gaussian"),
    )
    causes.layers = ("", "block5c_add", "block4c_add")  # "": the last activation
    causes.kinds = ("label", "step")  # of the targets of maps: also contrast
    causes.chosen = 3  # methods and layers that val chooses for the test
    return causes
