"""CUB-200-2011: real birds with boxes and masks, downloaded by this command.

    python main.py --config=configs/cub200_2011.py --mode=train --rank=family

1.2 GB come from data.caltech.edu through TFDS (`caltech_birds2011`) into
~/tensorflow_datasets, with resume; where there is no network, put CUB_200_2011.tgz and
segmentations.tgz into ~/tensorflow_datasets/downloads/manual. --data_dir names another
TFDS folder, one of a bucket too. Lineages are our own table (191 of 200 classes; the
other 9 name no single species and are left out). The official test split is kept;
val is carved out of train.

The recipe is iNat2021's, for fewer images: more epochs, a cosine. Not measured here:
the data cannot be had in the build environment.
"""

from configs import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "cub200_2011"
    config.data.source = "cub200"
    config.train.epochs = 30
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.5
    return config
