"""The default experiment for TPUs: one host, or with --multihost every host of a slice.

    python main.py --config=configs/tpu.py --mode=train --data_dir=/path

bfloat16 activations with float32 weights and logits. The batch is that of all chips
together: 1,024 are 256 for each of a v5e-4, or 128 for each of a v5e-8, the least
without padding. Scale the learning rate with the batch. Checkpoints are counted in
steps, as hosts may not go by their own clocks. `tpu.apply(config)` makes the same of
another experiment's config.

Compiled, with 256 images for each chip of a v5e-8 (EfficientNetB0 at 224 px, 1,486
species): the train step takes 3,588 MiB of the 16,128 of a chip, the forward pass of
eval 473, and cam with 64 images 153. Nothing was run or timed on a TPU.
"""

from ml_collections import ConfigDict

from . import default


def apply(config: ConfigDict) -> ConfigDict:
    """Changes an experiment's config for TPUs, in place."""
    config.model.dtype = "mixed_bfloat16"
    config.data.batch_size = 1024  # images on all devices together
    config.data.cache_mb = 65536
    config.cam.batch_size = 1024  # of one host
    config.train.checkpoint_steps = 500
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 1.0
    return config


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = apply(default.get_config())
    config.name = "tpu"
    return config
