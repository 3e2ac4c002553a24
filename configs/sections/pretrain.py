"""`config.pretrain`, the fields of --mode=pretrain."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the defaults."""
    pretrain = ConfigDict()
    pretrain.num_trees = 16  # random trees of birds that are learned at once
    pretrain.phases = ((80, 2600), (128, 700))  # (image size in px, batches)
    pretrain.batch_size = 32  # images
    pretrain.learning_rate = 2e-3  # at its peak; cosine with a short warm-up
    pretrain.checkpoint_minutes = 5.0
    return pretrain
