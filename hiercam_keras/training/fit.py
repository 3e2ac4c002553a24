"""Trains a model with one or several heads, resumable at every step."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
from absl import logging

from hiercam_keras import malloc, wording
from hiercam_keras.errors import Stopped, explain_out_of_memory
from hiercam_keras.models import batchnorm
from hiercam_keras.progress import progress
from hiercam_keras.training import callbacks, optimizers, rates
from hiercam_keras.training.checkpoint import Checkpoints, Saved
from hiercam_keras.training.compiling import compile_model, freeze, training_batch
from hiercam_keras.training.filter_information import FilterInformation
from hiercam_keras.training.saving import Saving
from hiercam_keras.training.stopping import StopSignals

__all__ = ["compile_model", "freeze", "train"]


def train(
    model: keras.Model,
    train_loader: Any,
    val_loader: Any,
    num_labels: dict[str, int],
    config: Any,
    folder: Path,
    resume: bool = False,
    statistics: Iterable[Any] = (),
    begun_epochs: int = 0,
    spaces: Mapping[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Trains `model` in place and writes log.csv and checkpoints below `folder`.

    Args:
      model: gives float32 logits, one head per rank; of `compile_model`.
      train_loader, val_loader: `data.loader.Loader`s with labels by rank.
      num_labels: number of labels by rank, one for each head, in their order.
      config: the whole config, of which `config.train` is used.
      folder: the run folder.
      resume: whether to start from the last checkpoint.
      statistics: batches without augmentation, for the final statistics of batch norm
        (`batchnorm.reestimate`); none: those of the training.
      begun_epochs: planned epochs of a resumed training, if its checkpoints lack them;
        0: those of the config.
      spaces: labels of the training by rank, if they are also of coarser ranks than the
        heads'.

    Returns:
      One row per epoch: epoch, loss, accuracy, val_loss, val_accuracy and, with several
      heads, each of them per rank.

    Raises:
      Stopped: a signal arrived; the state is saved.
      UserError: a loss is NaN, a checkpoint cannot be read or written, or memory is
        exhausted.
    """
    options, ranks = config.train, tuple(num_labels)
    label_counts = {rank: spaces[rank].size for rank in ranks} if spaces else num_labels
    with (
        StopSignals() as signals,  # until the last checkpoint is on disk
        Checkpoints(folder / "checkpoints", options.checkpoint_keep) as checkpoints,
    ):
        saved = checkpoints.latest() if resume else None
        if saved is not None:
            saved.assign(model)
        saving = Saving(checkpoints, train_loader.num_batches, options, signals, saved)
        information = _information(model, train_loader, options, new=saved is None)
        every = _callbacks(config, saving, val_loader, ranks, information, folder)
        _log_resumed(saving, saved, folder / "log.csv", options, begun_epochs)
        if saving.epoch < options.epochs:
            _log_left_out(train_loader)
            _log_too_few(options, val_loader)
        try:
            with explain_out_of_memory(train_loader.batch_size, "data.batch_size"):
                while saving.epoch < options.epochs:
                    _fit_epoch(
                        model, train_loader, label_counts, options, saving, every
                    )
            checkpoints.wait()
            if keeps_best(options, val_loader):
                _load_best(checkpoints, model)
            saving.check_stop()
        except Stopped as stop:
            where = saving.save_at_stop()
            raise Stopped(
                f"{stop}, {where}. All is saved: continue with --resume and the "
                "same flags.",
                stop.status,
            ) from None
    rates.use_averages(model)
    _take_statistics(model, statistics, val_loader, ranks)
    return saving.rows


def _callbacks(
    config: Any,
    saving: Saving,
    val_loader: Any,
    ranks: tuple[str, ...],
    information: list,
    folder: Path,
) -> list[keras.callbacks.Callback]:
    """The callbacks of every epoch; `Saving` requires this order."""
    options = config.train
    return [
        callbacks.EpochSeed(config.seed),
        callbacks.Pace(),
        callbacks.FirstStep(),
        saving.watch,
        saving,
        callbacks.Validation(val_loader, ranks, saving.check_stop),
        *information,
        callbacks.EpochLog(folder / "log.csv", saving.rows, options.epochs),
        saving.end,
        *callbacks.tensorboard(folder, options.tensorboard),
    ]


def keeps_best(options: Any, val_loader: Any) -> bool:
    """Whether the validation chooses the epoch that is kept; else it is the last one.

    A few images choose by chance, and may choose a network that has learned nothing:
    the loss of the first epoch is near the logarithm of the number of taxa, and that of
    a few images varies by more than a training gains on them.

    Args:
      options: the config's `train`, with keep_best and keep_best_images.
      val_loader: of the validation images, None where there are none.
    """
    if not options.keep_best or val_loader is None:
        return False
    return val_loader.num_examples >= options.get("keep_best_images", 0)


def _take_statistics(
    model: keras.Model, statistics: Iterable[Any], val_loader: Any, ranks: tuple
) -> None:
    """Computes batch norm's statistics from some batches, if there are any."""
    batches = (batch.images for batch in statistics)
    first = next(batches, None)
    if first is None:
        return
    count = batchnorm.reestimate(model, itertools.chain([first], batches))
    images = wording.count(count, "image")
    logging.info("batch norm now has the statistics of %s", images)
    if val_loader is not None:
        found = callbacks.validate(model, val_loader, ranks)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
        logging.info("with them: %s", shown)


def _information(model: keras.Model, loader: Any, options: Any, new: bool) -> list:
    """The callback of the filter loss, if it is used."""
    if not options.filter_loss:
        return []
    found = FilterInformation(loader, model.cam_layer)
    if new:
        found.log_initial(model)
    return [found]


def _log_resumed(
    saving: Saving, saved: Saved | None, log: Path, options: Any, begun: int
) -> None:
    """Logs the position of a resumed training, and restores log.csv."""
    if saving.rows:
        callbacks.write_log(log, saving.rows)
    if saved is not None:
        logging.info(
            "resuming after step %d of epoch %d, from %s",
            saving.step,
            saving.epoch + 1,
            saved.path,
        )
        step = saving.epoch * saving.num_batches + saving.step
        begun = saved.meta.get("epochs", begun or options.epochs)
        optimizers.log_other_schedule(options, begun, saving.num_batches, step)


def _fit_epoch(
    model: keras.Model,
    loader: Any,
    label_counts: dict[str, int],
    options: Any,
    saving: Saving,
    every: list[keras.callbacks.Callback],
) -> None:
    """Runs the remaining steps of an epoch, and the callbacks at its end.

    Each epoch is one call of Keras' `fit`, because a resumed epoch has fewer steps than
    the others.
    """
    epoch, first = saving.epoch, saving.step
    if first == loader.num_batches:  # only the validation remains
        ends = keras.callbacks.CallbackList(every, model=model)
        ends.on_epoch_end(epoch, dict(saving.figures))
        return
    model.fit(
        _training_batches(loader, label_counts, epoch, options, first),
        epochs=epoch + 1,
        initial_epoch=epoch,
        steps_per_epoch=loader.num_batches - first,
        shuffle=False,  # the loader shuffles
        callbacks=every,
        verbose=0,
    )


def _load_best(checkpoints: Checkpoints, model: keras.Model) -> None:
    """Loads the weights of the epoch with the lowest val loss into the model."""
    meta = checkpoints.load_best(model)
    if meta is None:
        logging.warning(
            "the best epoch is not in %s: the last one is kept", checkpoints.folder
        )
    else:
        logging.info("kept epoch %d, the best on val", meta["epoch"])


def _training_batches(
    loader: Any, counts: dict[str, int], epoch: int, options: Any, first: int = 0
) -> Iterator[tuple[Any, ...]]:
    """(images, labels) of an epoch from its batch `first` on.

    Weights of the losses are the third element, if there are any.
    """
    batches = progress(
        loader.epoch(epoch, first),
        (loader.num_batches - first) * loader.batch_size,
        f"epoch {epoch + 1}/{options.epochs}",
        count=lambda batch: len(batch.images),
    )
    for batch in batches:
        yield malloc.complete(training_batch(batch, counts, options, epoch))


def _log_too_few(options: Any, val_loader: Any) -> None:
    if options.keep_best and val_loader and not keeps_best(options, val_loader):
        logging.info(
            "%s too few to choose an epoch by (train.keep_best_images=%d): the last "
            "epoch is kept",
            wording.count(val_loader.num_examples, "val image")
            + (" is" if val_loader.num_examples == 1 else " are"),
            options.keep_best_images,
        )


def _log_left_out(loader: Any) -> None:
    left_out = loader.num_examples - loader.num_batches * loader.batch_size
    if left_out:
        logging.info(
            "each epoch leaves out %s of an incomplete last batch, drawn again",
            wording.count(left_out, "image"),
        )
