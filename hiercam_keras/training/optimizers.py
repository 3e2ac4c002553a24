"""Keras' optimizers and learning rate schedules, selected by the config."""

from typing import Any

import keras
from absl import logging
from ml_collections import ConfigDict

from hiercam_keras import wording
from hiercam_keras.errors import UserError


def make_schedule(train: Any, steps_per_epoch: int) -> Any:
    """Learning rate as a number or as a Keras schedule of the step.

    Args:
      train: `config.train`, with `schedule`, `learning_rate`, `epochs` and
        `warmup_epochs`.
      steps_per_epoch: batches in an epoch.

    Raises:
      UserError: the schedule is unknown, or the warm-up is as long as the training.
    """
    if train.schedule == "constant" and not train.warmup_epochs:
        return train.learning_rate
    warmup = round(train.warmup_epochs * steps_per_epoch)
    decay = train.epochs * steps_per_epoch - warmup
    if decay < 1:
        raise UserError(
            f"config.train.warmup_epochs={train.warmup_epochs} leaves nothing of "
            f"config.train.epochs={train.epochs}: make it shorter."
        )
    floors = {"cosine": 0.0, "constant": 1.0}  # share of the peak at the end
    if train.schedule not in floors:
        raise UserError(
            f"config.train.schedule is {train.schedule!r}, expected one of "
            f"{', '.join(sorted(floors))}."
        )
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else train.learning_rate,
        decay_steps=decay,
        alpha=floors[train.schedule],
        warmup_target=train.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def log_other_schedule(train: Any, begun: int, steps_per_epoch: int, step: int) -> None:
    """Logs the change of the learning rate by further epochs of a resumed training.

    Args:
      train: `config.train`, with the new number of epochs.
      begun: planned epochs of the checkpoint's training.
      steps_per_epoch: batches in an epoch.
      step: next step of the whole training.
    """
    if begun == train.epochs:
        return
    if train.schedule == "constant":
        logging.info("the learning rate stays constant")
        return
    before = ConfigDict({**train.to_dict(), "epochs": begun})
    old, new = (make_schedule(options, steps_per_epoch) for options in (before, train))
    logging.warning(
        "from here the schedule (%s) is that of %d epochs: the next learning rate is "
        "%.3g, where that of %s has %.3g. The result differs from that of %d epochs "
        "in one training",
        train.schedule,
        train.epochs,
        float(new(step)),
        wording.count(begun, "epoch"),
        float(old(step)),
        train.epochs,
    )


def make_optimizer(train: Any, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer of `config.train`.

    Raises:
      UserError: the name is unknown.
    """
    rate = make_schedule(train, steps_per_epoch)
    common = {"global_clipnorm": train.clip_norm or None}
    if train.ema_momentum:
        common.update(use_ema=True, ema_momentum=train.ema_momentum)
    if train.optimizer == "adam":
        return keras.optimizers.Adam(rate, **common)
    if train.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=train.weight_decay, **common)
    if train.optimizer == "sgd":
        decay = train.weight_decay or None
        return keras.optimizers.SGD(
            rate, momentum=0.9, nesterov=True, weight_decay=decay, **common
        )
    raise UserError(
        f"config.train.optimizer is {train.optimizer!r}, expected adam, adamw or sgd."
    )
