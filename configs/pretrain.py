"""Our own starting weights, from an endless stream of procedural birds.

    make pretrain        # python main.py --mode=pretrain --config=configs/pretrain.py

EfficientNetB0 at 128 px and output stride 16 learns the four traits of birds from
random trees: looks, seeds and the part that carries each rank are drawn again for every
tree, and the habitat carries no information. The figures of the shipped file are in its
model card, hiercam_keras/assets/README.md.
"""

from . import synthetic_birds


def get_config():
    """Returns the experiment."""
    config = synthetic_birds.get_config()
    config.name = "pretrain"
    config.seed = 20210  # not the embedded data's
    config.model.weights = "none"
    config.model.bn_momentum = 0.98
    config.model.dropout = 0.1
    config.model.drop_connect = 0.0
    return config
