"""Compiles a model for training: frozen layers, optimizer, losses and metrics."""

import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from hiercam_keras import trace_cache
from hiercam_keras.errors import UserError
from hiercam_keras.models import model_digest
from hiercam_keras.models.initializers import numpy_initializers
from hiercam_keras.training import mixing, objective, rates, wide_sums
from hiercam_keras.training.optimizers import make_optimizer


def compile_model(
    model: keras.Model,
    num_labels: dict[str, int],
    options: Any,
    steps_per_epoch: int,
    parents: Mapping[str, np.ndarray] | None = None,
    spaces: Mapping[str, Any] | None = None,
) -> None:
    """Freezes layers and compiles the model.

    Args:
      model: gives float32 logits, a dict of them with several heads; its attribute
        `cam_layer` names the layer of the filter loss.
      num_labels: number of labels by rank, one for each head.
      options: `config.train`.
      steps_per_epoch: batches in an epoch.
      parents: for hierarchical losses: the label of each of the finest head's leaves,
        int (L,), at every rank down to its own, coarse to fine.
      spaces: labels by rank of the head, if they are also of coarser ranks.

    Raises:
      UserError: a field of the config has an invalid value.
    """
    if options.epochs < 1:
        raise UserError(f"config.train.epochs is {options.epochs}, expected 1 or more.")
    parents = parents or {}
    objective.check(options, num_labels, parents)
    mixing.check(options)
    rates.check(options)
    wide_sums.check(options)
    freeze(model, options.freeze_through)
    optimizer = make_optimizer(options, steps_per_epoch)
    frozen_steps = round(options.warmup_frozen_epochs * steps_per_epoch)
    if frozen_steps or (options.backbone_rate, options.depth_rate) != (1.0, 1.0):
        own = rates.layer_rates(model, options.backbone_rate, options.depth_rate)
        rates.scale(optimizer, own, frozen_steps)
    if options.ema_momentum:
        rates.keep_averages_apart(optimizer)
    losses = objective.head_losses(options, num_labels, parents, spaces)
    weights = dict(zip(num_labels, options.loss_weights, strict=False)) or None
    metrics = objective.accuracies(num_labels, spaces)
    if len(num_labels) == 1:
        (rank,) = num_labels
        losses, metrics = losses[rank], metrics[rank]
        weights = weights and weights[rank]
    model.compile(optimizer, loss=losses, loss_weights=weights, metrics=metrics)
    build_by_shapes(model)
    objective.add_terms(model, options, num_labels, parents, bool(spaces))
    if options.get("reduce", "auto") == "float32":
        wide_sums.sum_in_float32(model)
    with numpy_initializers():
        model.optimizer.build(model.trainable_variables)
    if not spaces:
        shapes = {rank: np.asarray(level) for rank, level in parents.items()}
        keep_step(model, options, list(num_labels.items()), steps_per_epoch, shapes)


def build_by_shapes(model: keras.Model) -> None:
    """Makes `fit` build losses and metrics without a pass through the model.

    Keras passes symbolic images through all layers to find the shapes of the outputs,
    before each training. A model that is a graph of layers states them, so in place of
    that pass it gives zeros of these shapes.
    """
    kind = type(model)
    if kind.__name__ != "Functional" or not kind.__module__.startswith("keras."):
        return
    if any(None in one.shape[1:] for one in model.outputs):
        return
    own = model._symbolic_build

    def zeros(inputs, training=None, mask=None):
        count = keras.tree.flatten(inputs)[0].shape[0]
        return keras.tree.map_structure(
            lambda one: keras.ops.zeros((count, *one.shape[1:]), one.dtype),
            model.output,
        )

    def build(*args, **kwargs):
        if "call" in vars(model) or not all(one.built for one in model.layers):
            return own(*args, **kwargs)
        # Bypasses Keras' __setattr__, which would track the attribute.
        object.__setattr__(model, "call", zeros)
        try:
            return own(*args, **kwargs)
        finally:
            object.__delattr__(model, "call")

    object.__setattr__(model, "_symbolic_build", build)


def keep_step(model: keras.Model, *about: Any) -> None:
    """Makes `fit` take the train step from the cache of traced programs.

    Keras traces `train_step` only if there is no `train_function`. Several devices are
    left to Keras, which states the sharding of the results.

    Args:
      model: compiled.
      about: with the model, all that losses, metrics and optimizer depend on.
    """
    if model.run_eagerly or not model.jit_compile or model.steps_per_execution > 1:
        return
    if keras.distribution.distribution() is not None:
        return
    layer = getattr(model, "cam_layer", None)
    try:  # now: losses are made of it, and changes that follow have no effect on them
        made_of = trace_cache.digest(layer, *about)
    except TypeError:
        return

    def key() -> str | None:
        own = model_digest.of_model(model)
        optimizer = _about_optimizer(model.optimizer)
        return own and trace_cache.digest("train", own, optimizer, made_of)

    step = trace_cache.jit(model.train_step, key, donate_argnums=(0,))
    model.train_function = lambda state, batches: step(state, next(batches))


def _about_optimizer(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """What may have been changed since it was made: numbers that a trace contains."""
    values = model_digest.attributes(optimizer)
    variables = [[one.path, list(one.shape)] for one in optimizer.variables]
    return [type(optimizer).__qualname__, values, variables]


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


def training_batch(
    batch: Any, num_labels: Mapping[str, int], options: Any, epoch: int
) -> tuple[Any, ...]:
    """Converts a batch of the loader to the input of `fit` and of our losses.

    Args:
      batch: a `data.loader.Batch`, which may have labels of further ranks.
      num_labels: number of labels by rank, one for each head; with labels of coarser
        ranks all of them.
      options: `config.train`.
      epoch: number of the epoch, from 0.

    Returns:
      The images (B, S, S, 3), mixed if configured; labels by rank, or those of the only
      rank: int32 (B,), or float32 (B, labels) if they are smoothed or mixed; weights of
      the images' losses in the same form, float32 (B,), if the batch has weights.
    """
    images = batch.images
    # JAX computes in 32 bits, and Keras requests the dtype of the labels.
    labels = {rank: np.asarray(batch.labels[rank], np.int32) for rank in num_labels}
    weights = batch.weights and {rank: batch.weights[rank] for rank in num_labels}
    if objective.is_soft(options):
        labels = {
            rank: mixing.one_hot(values, num_labels[rank])
            for rank, values in labels.items()
        }
        # The seed determines the images and their order.
        drawn = zlib.crc32("\n".join(batch.example_ids).encode())
        key = drawn, epoch
        images, labels, weights = mixing.mix(images, labels, options, key, weights)
    found = (labels, weights) if weights else (labels,)
    one = len(num_labels) == 1
    return images, *(next(iter(each.values())) if one else each for each in found)
