"""iNatLoc500 (Cole et al. 2022, arXiv:2207.10225): localization at any granularity.

    python main.py --config=configs/inatloc500.py --mode=train --rank=family
    python main.py --config=configs/inatloc500.py --mode=localize --rank=family

A real run needs the data set's images (18.9 GB; 138,000 for training, without boxes,
and 12,500 for validation and for test, each with one box) and its metadata (32 MB) from
the Caltech Research Data Repository, record 20229, unpacked to

    data/inatloc500/images/     train/, val/ and test/ with their folders of species
    data/inatloc500/metadata/   train/, val/, test/, class_names*.txt

or elsewhere: --data_dir names the images, --config.data.choe.metadata the lists. It
has labels at seven ranks, so the same training can be done at each of them (the paper's
question is which granularity localizes best). Its README lists height before width and
x_min,x_max,y_min,y_max; what the files hold is found out and checked against the boxes
and the images. On a CPU this is days for each rank: use a GPU.

Localization looks at whole images resized without a crop; training crops as usual.
"""

from configs import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "inatloc500"

    data = config.data
    data.source = "choe"
    data.root = "data/inatloc500/images"
    data.choe.metadata = "data/inatloc500/metadata"
    data.image_size = 224
    data.cache_mb = 0  # 138,000 windows do not fit

    config.augment.brightness = 0.0
    config.augment.contrast = 0.0
    config.augment.saturation = 0.0
    config.augment.erasing_probability = 0.0

    config.model.weights = "imagenet"
    config.model.output_stride = 16  # 14 x 14 cells

    config.train.epochs = 10
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.01
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.5
    config.train.weight_decay = 1e-4
    return config
