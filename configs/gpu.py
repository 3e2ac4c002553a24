"""The default experiment for a machine with GPUs; all of them share each batch.

    python main.py --config=configs/gpu.py --data_dir=/path --mode=train --rank=species

bfloat16 activations with float32 weights and logits, decoding on many cores.
`gpu.apply(config)` makes the same of another experiment's config.

Compiled, with 256 images on one card (EfficientNetB0 at 224 px, 1,486 species): the
train step takes 6.7 GiB, of the 59 that JAX takes of an H100 or A100 of 80 GB and of
the 16 of an L4, and eval and cam 1.2. The workspace of cuDNN comes on top. Nothing was
run or timed on a GPU.
"""

from ml_collections import ConfigDict

from . import default


def apply(config: ConfigDict) -> ConfigDict:
    """Changes an experiment's config for GPUs, in place."""
    config.model.dtype = "mixed_bfloat16"
    config.data.batch_size = 256  # images on all devices together
    config.data.cache_mb = 16384
    config.cam.batch_size = 256
    config.train.checkpoint_minutes = 5.0  # a machine may be taken away
    config.train.checkpoint_steps = 500  # hosts may not go by their own clocks
    config.train.learning_rate = 1e-3
    config.train.schedule = "cosine"
    config.train.warmup_epochs = 1.0
    return config


def get_config() -> ConfigDict:
    """Returns the experiment."""
    config = apply(default.get_config())
    config.name = "gpu"
    return config
