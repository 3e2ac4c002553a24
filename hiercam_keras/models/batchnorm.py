"""Re-estimates the moving statistics of batch normalization.

After a short run the moving averages still reflect their initial values or earlier
weights. "Precise" statistics are the mean and variance over all values that the final
weights produce (Wu and Johnson 2021, arXiv:2105.07576, section 3).
"""

import contextlib
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from hiercam_keras.models.layers import all_layers
from hiercam_keras.models.xla_layers import shards
from hiercam_keras.models.xla_layers.forward import batch_statistics


class _Pooled:
    """Running float64 mean and variance over several batches.

    Batches are combined by differences of means (Chan et al. 1979), which avoids the
    cancellation of E[x^2] - m^2.
    """

    def __init__(self):
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def add(self, count: int, mean: np.ndarray, variance: np.ndarray) -> None:
        total = self.count + count
        share = count / total
        step = np.asarray(mean, "float64") - self.mean
        within = (1 - share) * self.variance + share * np.asarray(variance, "float64")
        self.variance = within + share * (1 - share) * np.square(step)
        self.mean = self.mean + share * step
        self.count = total


@contextlib.contextmanager
def _statistics_of_one_batch(norms: list, dropouts: list) -> Iterator[None]:
    """Makes a training pass store the statistics of its batch alone.

    Sets momentum to 0. Dropout is off, as in inference, where the statistics are used.
    """
    momenta = [layer.momentum for layer in norms]
    rates = [layer.rate for layer in dropouts]
    try:
        for layer in norms:
            layer.momentum = 0.0
        for layer in dropouts:
            layer.rate = 0.0
        yield
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate


def reestimate(model: keras.Model, batches: Iterable[np.ndarray]) -> int:
    """Recomputes the moving statistics of all batch normalizations, in place.

    The new statistics are the mean and the (biased) variance over all images. The
    forward pass normalizes each batch by its own statistics, as in training. Frozen
    layers and all other weights are unchanged. Compiles once for each batch shape.

    Under a distribution all processes call it, each with its own part of every batch (a
    multiple of its devices). The statistics cover the whole batches and are equal in
    all processes.

    Args:
      model: built; it takes the batches as they are.
      batches: images (B, H, W, 3). A few dozen shuffled batches of the training size,
        with the preprocessing of the evaluation, are enough.

    Returns:
      Number of images over all processes.

    Raises:
      ValueError: `batches` is empty.
    """
    layers = all_layers(model)
    norms = [
        layer
        for layer in layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    position = {id(v): i for i, v in enumerate(model.non_trainable_variables)}
    pooled = [_Pooled() for _ in norms]
    images_seen = 0
    with _statistics_of_one_batch(norms, dropouts):
        forward = batch_statistics(model)
        for images in batches:
            images = shards.place(images)
            state = forward(images)
            images_seen += len(images)
            for layer, pool in zip(norms, pooled, strict=True):
                mean = state[position[id(layer.moving_mean)]]
                variance = state[position[id(layer.moving_variance)]]
                pool.add(len(images), mean, variance)
    if not images_seen:
        raise ValueError("reestimate got no batch, expected at least one.")
    for layer, pool in zip(norms, pooled, strict=True):
        layer.moving_mean.assign(pool.mean.astype("float32"))
        layer.moving_variance.assign(pool.variance.astype("float32"))
    return images_seen
