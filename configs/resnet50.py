"""ResNet50 (V1), the network of Cole et al. 2022 (arXiv:2207.10225).

    python main.py --config=configs/resnet50.py --mode=train --rank=family
    python main.py --config=configs/resnet50.py:cub200_2011 --mode=granularity

Starts from another config, by name after the colon (default synthetic_birds), with
ImageNet weights (94 MB, downloaded by Keras); `--config.model.weights=none` starts from
scratch, as the synthetic birds' own weights are EfficientNetB0's. Output stride 16 is
the paper's high-resolution variant. SGD, with a tenth of the head's learning rate for
the backbone, as the evaluation of Choe et al. 2020 (arXiv:2001.07437) trains.
"""

from . import experiment


def get_config(base: str = "synthetic_birds"):
    """Returns the experiment."""
    config = experiment(base)
    config.name = f"{base}_resnet50"
    config.model.backbone = "resnet50"
    config.model.weights = "imagenet"
    config.train.optimizer = "sgd"
    config.train.learning_rate = 0.01
    config.train.weight_decay = 1e-4
    config.train.backbone_rate = 0.1
    return config
