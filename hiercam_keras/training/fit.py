"""Compile and fit: one or several heads, resumable at the end of every epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from hiercam_keras.models import batchnorm
from hiercam_keras.progress import progress
from hiercam_keras.training import callbacks, checkpoint, rates
from hiercam_keras.training.compiling import compile_model, freeze, training_batch

__all__ = ["compile_model", "freeze", "train"]


def train(
    model: keras.Model,
    train_loader: Any,
    val_loader: Any,
    num_labels: dict[str, int],
    config: Any,
    folder: Path,
    resume: bool = False,
) -> list[dict[str, float]]:
    """Trains `model` in place and writes log.csv and checkpoints below `folder`.

    Args:
      model: gives float32 logits, one head per rank; of `compile_model`.
      train_loader, val_loader: `data.loader.Loader`s whose labels are by rank.
      num_labels: number of labels by rank, one for each head, in their order.
      config: the whole config; `config.train` counts here.
      folder: the run folder.
      resume: go on after the last epoch that is complete.

    Returns:
      One row of figures per epoch: epoch, loss, accuracy, val_loss, val_accuracy and,
      with several heads, each of them per rank.
    """
    options, ranks = config.train, tuple(num_labels)
    state = checkpoint.Checkpoints(folder / "checkpoints", ranks)
    rows = state.restore(model) if resume else []
    if rows:
        logging.info("going on after epoch %d", len(rows))
    if len(rows) < options.epochs:
        _tell_left_out(train_loader)
        model.fit(
            _training_batches(train_loader, num_labels, len(rows), options),
            epochs=options.epochs,
            initial_epoch=len(rows),
            steps_per_epoch=train_loader.num_batches,
            shuffle=False,  # the loader's business
            callbacks=[
                callbacks.EpochSeed(config.seed),
                callbacks.Pace(),
                callbacks.Validation(val_loader, ranks),
                callbacks.EpochLog(folder / "log.csv", rows, options.epochs),
                state.callback(rows),
                *callbacks.tensorboard(folder, options.tensorboard),
            ],
            verbose=0,
        )
    if options.keep_best and val_loader is not None:
        state.load_best(model)
    rates.use_averages(model)
    if options.reestimate_batches:
        batches = _images(train_loader, options.epochs, options.reestimate_batches)
        batchnorm.reestimate(model, batches)
    return rows


def _training_batches(
    loader: Any, counts: dict[str, int], first_epoch: int, options: Any
) -> Iterator[tuple[Any, ...]]:
    """(images, labels) of all epochs that are left, each in an order of its own.

    Weights follow where the losses have some.
    """
    for epoch in range(first_epoch, options.epochs):
        batches = progress(
            loader.epoch(epoch),
            loader.num_batches * loader.batch_size,
            f"epoch {epoch + 1}/{options.epochs}",
            count=lambda batch: len(batch.images),
        )
        for batch in batches:
            yield training_batch(batch, counts, options, epoch)


def _images(loader: Any, epoch: int, count: int) -> Iterator[np.ndarray]:
    for number, batch in enumerate(loader.epoch(epoch)):
        if number == count:
            return
        yield batch.images


def _tell_left_out(loader: Any) -> None:
    left_out = loader.num_examples - loader.num_batches * loader.batch_size
    if left_out:
        logging.info(
            "each epoch leaves out %d images of an incomplete last batch, drawn anew",
            left_out,
        )
