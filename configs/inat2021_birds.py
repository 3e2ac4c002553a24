"""The recipe of the original study on its own data: iNat2021 birds, 1,486 species.

    python main.py --config=configs/inat2021_birds.py --mode=train --rank=family \
        --data_dir=/path/to/folder

The folder holds `bird_train/` (the Kaggle archive inat2021birds), or `train_mini/` or
`train/` and `val/` (the official archives; all but birds is passed by), or is one of
them. docs/DATA.md says where they come from.

EfficientNetB0 at 224 px, Adam 1e-3, 14 epochs, flips, resize 256, center crop 224 and
random erasing at 0.2, from ImageNet weights (16 MB, downloaded by Keras). The color
jitter of the original changed nothing (its defaults are 0); ours does. Not measured
here: the data cannot be had in the build environment.
"""

from . import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "inat2021_birds"
    config.data.source = "inat2021"
    config.data.noun = "bird"
    config.data.keep_lineage = "Animalia/Chordata/Aves"
    config.augment.crop_jitter = 0.0  # the original crops the center
    return config
