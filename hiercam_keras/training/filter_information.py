"""How much the filters' maps tell of their templates, before and after a training."""

from typing import Any

import keras
import numpy as np
from absl import logging

from hiercam_keras.models.layers import layer_output
from hiercam_keras.training.filter_loss import filter_loss
from hiercam_keras.training.forward import predict_batch


class FilterInformation(keras.callbacks.Callback):
    """Adds `filter_information` to the logs: MI of maps and templates, nats a filter.

    It is computed for the first batch of the training at each epoch, with the moving
    statistics of evaluation; the term that is minimized is of each batch while the
    weights change. Each of several processes sees its own images, and the log has the
    figure of the first one.
    """

    def __init__(self, loader: Any, layer: str):
        super().__init__()
        self.loader = loader
        self.layer = layer
        self._images = None
        self._maps = None

    def measure(self) -> float:
        """The mean over the filters now, in nats; 0 where maps tell nothing."""
        if self._images is None:
            batches = self.loader.epoch(0)
            self._images = next(iter(batches)).images
            batches.close()
            maps = layer_output(self.model, self.layer)
            self._maps = keras.Model(self.model.input, maps)
        maps = np.asarray(predict_batch(self._maps, self._images))
        return -float(filter_loss(maps)) / maps.shape[-1]

    def tell_before(self, model: keras.Model) -> None:
        """Tells it of a model that is about to be trained."""
        self.set_model(model)
        logging.info(
            "mutual information of maps and templates before the training: %.3g nats "
            "a filter",
            self.measure(),
        )

    def on_epoch_end(self, epoch, logs=None):
        """Adds the figure."""
        logs["filter_information"] = self.measure()
