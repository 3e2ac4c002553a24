"""Compile and fit: one or several heads, resumable at the end of every epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from hiercam_keras.errors import UserError
from hiercam_keras.models import batchnorm
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.progress import progress
from hiercam_keras.training import callbacks, checkpoint
from hiercam_keras.training.optimizers import make_optimizer


def compile_model(
    model: keras.Model, num_labels: dict[str, int], options: Any, steps_per_epoch: int
) -> None:
    """Freezes layers and compiles, as `options` (`config.train`) say.

    Raises:
      UserError: a value that no training can have.
    """
    if options.epochs < 1:
        raise UserError(f"config.train.epochs is {options.epochs}, expected 1 or more.")
    if not 0 <= options.label_smoothing < 1:
        raise UserError(
            f"config.train.label_smoothing is {options.label_smoothing}, expected "
            "0 <= label_smoothing < 1."
        )
    freeze(model, options.freeze_through)
    ranks = tuple(num_labels)
    model.compile(
        optimizer=make_optimizer(options, steps_per_epoch),
        loss=_per_head(_loss(options.label_smoothing), ranks),
        metrics=_per_head(lambda: ["accuracy"], ranks),
    )
    with numpy_initializers():
        model.optimizer.build(model.trainable_variables)


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
    if options.reestimate_batches:
        batches = _images(train_loader, options.epochs, options.reestimate_batches)
        batchnorm.reestimate(model, batches)
    return rows


def freeze(model: keras.Model, through: str) -> None:
    """Freezes every layer up to and with the one named `through`; "" freezes none.

    Raises:
      UserError: the model has no such layer.
    """
    if not through:
        return
    names = [layer.name for layer in model.layers]
    if through not in names:
        raise UserError(
            f"config.train.freeze_through names no layer of the model: {through!r}. "
            f"Its layers are {', '.join(names[:3])} ... {', '.join(names[-3:])}."
        )
    for layer in model.layers[: names.index(through) + 1]:
        layer.trainable = False


def _loss(smoothing):
    if smoothing:
        return lambda: keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=smoothing
        )
    return lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _per_head(make, ranks):
    return make() if len(ranks) == 1 else {rank: make() for rank in ranks}


def _training_batches(
    loader: Any, counts: dict[str, int], first_epoch: int, options: Any
) -> Iterator[tuple[np.ndarray, Any]]:
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
            labels = {rank: batch.labels[rank] for rank in counts}
            if options.label_smoothing:
                labels = {
                    rank: np.eye(counts[rank], dtype=np.float32)[values]
                    for rank, values in labels.items()
                }
            one = next(iter(labels.values()))
            targets = labels if len(labels) > 1 else one
            if batch.weights is None:
                yield batch.images, targets
                continue
            weights = {rank: batch.weights[rank] for rank in counts}
            one = next(iter(weights.values()))
            yield batch.images, targets, weights if len(weights) > 1 else one


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
