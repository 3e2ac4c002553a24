"""Layer-wise learning rates, a warm-up with a frozen backbone, and averaged weights."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras import ops

from hiercam_keras.errors import UserError

_HEAD = ("logits_", "features_")  # prefixes of the names of the heads' layers


def check(options: Any) -> None:
    """Raises UserError for invalid values of `config.train`."""
    for name in ("backbone_rate", "depth_rate", "warmup_frozen_epochs", "clip_norm"):
        if options[name] < 0:
            raise UserError(
                f"config.train.{name} is {options[name]}, expected 0 or more."
            )
    if not 0 <= options.ema_momentum < 1:
        raise UserError(
            f"config.train.ema_momentum is {options.ema_momentum}, expected "
            "0 <= ema_momentum < 1."
        )
    if options.warmup_frozen_epochs >= options.epochs and options.warmup_frozen_epochs:
        raise UserError(
            f"config.train.warmup_frozen_epochs={options.warmup_frozen_epochs} leaves "
            f"nothing of config.train.epochs={options.epochs}: make it shorter, or "
            "freeze the backbone for good with config.train.freeze_through."
        )


def layer_rates(
    model: keras.Model, backbone_rate: float, depth_rate: float
) -> dict[int, float]:
    """Share of the learning rate for each trainable variable of the backbone, by `id`.

    `backbone_rate` for the last layer with weights, `backbone_rate` * `depth_rate` for
    the first one, geometrically between them (Howard and Ruder 2018, arXiv:1801.06146,
    section 3.2). Heads have the whole rate and are not in the result. The keys are not
    paths, because two nested models may both have a "conv/kernel".
    """
    layers = [
        layer
        for layer in model.layers
        if layer.trainable_variables and not layer.name.startswith(_HEAD)
    ]
    last = len(layers) - 1
    return {
        id(variable): backbone_rate * depth_rate ** ((last - number) / max(1, last))
        for number, layer in enumerate(layers)
        for variable in layer.trainable_variables
    }


def scale(
    optimizer: keras.optimizers.Optimizer,
    rates: Mapping[int, float],
    frozen_steps: int,
) -> None:
    """Makes an optimizer scale the learning rate of each variable, in place.

    For the first `frozen_steps` steps the variables of `rates` are not updated and do
    not decay, while Adam's moments are accumulated and batch normalization uses the
    statistics of the batch. It works with any schedule; only the rate is scaled, so the
    optimizer's state and config stay those of Keras.

    Args:
      optimizer: its update methods are replaced.
      rates: share of the learning rate by `id` of a variable; 1 for all others.
      frozen_steps: steps without updates of the variables of `rates`.
    """
    update, use_decay = optimizer.update_step, optimizer._use_weight_decay

    def rate_of(variable, rate):
        share = rates.get(id(variable))
        if share is None:
            return rate
        if frozen_steps:
            waits = optimizer.iterations < frozen_steps
            share = ops.where(waits, 0.0, share)
        return rate * ops.cast(share, rate.dtype)

    def update_step(gradient, variable, learning_rate):
        return update(gradient, variable, rate_of(variable, learning_rate))

    def apply_weight_decay(variables):
        if optimizer.weight_decay is None:
            return
        for variable in filter(use_decay, variables):
            rate = rate_of(variable, ops.cast(optimizer.learning_rate, variable.dtype))
            variable.assign(variable - variable * optimizer.weight_decay * rate)

    optimizer.update_step = update_step
    optimizer._apply_weight_decay = apply_weight_decay


def keep_averages_apart(optimizer: keras.optimizers.Optimizer) -> None:
    """Prevents Keras from writing the averages into the model after each `fit`.

    The training continues with the weights themselves; `averaged` and `use_averages`
    load the averages where they are needed.
    """
    optimizer.finalize_variable_values = lambda variables: None


def _pairs(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.use_ema or not optimizer.built:
        return []
    averages = optimizer._model_variables_moving_average
    return list(zip(optimizer._trainable_variables, averages, strict=True))


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """A context in which the model has its averaged weights, if there are any."""
    pairs = _pairs(model)
    before = [ops.copy(variable.value) for variable, _ in pairs]
    try:
        use_averages(model)
        yield
    finally:
        for (variable, _), value in zip(pairs, before, strict=True):
            variable.assign(value)


def use_averages(model: keras.Model) -> None:
    """Loads the averaged weights into the model, if there are any."""
    for variable, average in _pairs(model):
        # A copy, because Keras donates the model's buffers to compiled functions.
        variable.assign(ops.copy(average.value))
