"""Photographs of your own, in class folders or in a table: the default for --data_dir.

    python main.py --data_dir=/path/to/folders --mode=train --rank=species
    python main.py --data_dir=/path/to/table.csv --mode=train --rank=species

EfficientNetB0 at 224 px and output stride 32 (maps of 7 x 7 cells), from ImageNet's
weights (16 MB, downloaded once by Keras). Where they cannot be had it starts from the
weights that this program brings, which were learned from drawn birds, and a warning
says so; `--config.model.weights=imagenet` makes that an error.

Meant for some dozens to some thousands of photographs: the backbone learns at a tenth
of the head's rate, as in the evaluation of Choe et al. 2020 (arXiv:2001.07437), so that
a few photographs do not undo what ImageNet taught; small batches give more steps; batch
norm follows within tens of steps; no residual block is dropped; random crops, flips,
colors and erased rectangles are those of the original study. None of the values was
tuned, as no such collection was at hand. With tens of thousands of photographs use
fewer epochs, or the recipe of the original study, --config=default.
"""

from . import default


def get_config():
    """Returns the experiment."""
    config = default.get_config()
    config.name = "photos"
    config.data.source = "auto"
    config.data.batch_size = 16

    config.model.weights = "auto"
    config.model.bn_momentum = 0.9
    config.model.drop_connect = 0.0

    config.train.epochs = 30
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 0.5  # so that a try of one epoch works
    config.train.backbone_rate = 0.1
    return config
