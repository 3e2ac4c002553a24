"""Mutual information of the filters' maps and their templates during a training."""

from typing import Any

import keras
import numpy as np
from absl import logging

from hiercam_keras.models.layers import layer_output
from hiercam_keras.training.filter_loss import filter_loss
from hiercam_keras.training.forward import predict_batch


class FilterInformation(keras.callbacks.Callback):
    """Adds `filter_information` to the logs: MI of maps and templates, nats a filter.

    It is computed after each epoch on the first batch of the training, with the moving
    statistics of evaluation, whereas the loss term uses each training batch. With
    several processes the log has the value of the first one.
    """

    def __init__(self, loader: Any, layer: str):
        super().__init__()
        self.loader = loader
        self.layer = layer
        self._images = None
        self._maps = None

    def measure(self) -> float:
        """Present mean over the filters, in nats; 0 if maps and templates are
        independent."""
        if self._images is None:
            batches = self.loader.epoch(0)
            self._images = next(iter(batches)).images
            batches.close()
            maps = layer_output(self.model, self.layer)
            self._maps = keras.Model(self.model.input, maps)
        maps = np.asarray(predict_batch(self._maps, self._images))
        return -float(filter_loss(maps)) / maps.shape[-1]

    def log_initial(self, model: keras.Model) -> None:
        """Logs the value of a model before its training."""
        self.set_model(model)
        logging.info(
            "mutual information of maps and templates before the training: %.3g nats "
            "a filter",
            self.measure(),
        )

    def on_epoch_end(self, epoch, logs=None):
        """Adds the value to the logs."""
        logs["filter_information"] = self.measure()
