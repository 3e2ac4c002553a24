"""The training objective: a loss for each head, and terms between heads or on maps.

The tree is given as `parents`: it maps every rank down to the finest head's to the
label of each of its leaves at that rank, int (L,), coarse to fine. If some images are
identified only to a coarser rank than a head's, `spaces` has the labels of each head, a
`taxonomy.partial.LabelSpace` by rank.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from hiercam_keras.errors import UserError
from hiercam_keras.models.layers import layer_output
from hiercam_keras.training import filter_loss, hierarchy_losses, marginal_losses

HIERARCHICAL = ("none", "hxe", "soft_labels")
FILTER_TARGETS = ("all", "category")


def is_soft(options: Any) -> bool:
    """Whether training labels are distributions: one-hot, or mixed, float (B, N)."""
    return bool(options.label_smoothing or options.mixup or options.cutmix)


def check(options: Any, num_labels: Mapping[str, int], parents: Any) -> None:
    """Raises UserError for invalid values of `config.train`."""
    if not 0 <= options.label_smoothing < 1:
        raise UserError(
            f"config.train.label_smoothing is {options.label_smoothing}, expected "
            "0 <= label_smoothing < 1."
        )
    for name, known in (
        ("hierarchical", HIERARCHICAL),
        ("filter_targets", FILTER_TARGETS),
    ):
        if options[name] not in known:
            raise UserError(
                f"config.train.{name} is {options[name]!r}, expected one of "
                f"{', '.join(known)}."
            )
    for name in ("consistency", "filter_loss", "hxe_alpha", "soft_labels_beta"):
        if options[name] < 0:
            raise UserError(
                f"config.train.{name} is {options[name]}, expected 0 or more."
            )
    weights = tuple(options.loss_weights)
    if weights and (len(weights) != len(num_labels) or min(weights) < 0):
        raise UserError(
            f"config.train.loss_weights is {weights}, expected () or one weight of 0 "
            f"or more for each of {','.join(num_labels)}."
        )
    if options.consistency and len(num_labels) < 2:
        raise UserError(
            "config.train.consistency is a term between heads, but this model has one. "
            "Train several, as in --rank=family,species or --rank=all."
        )
    if (options.hierarchical != "none" or options.consistency) and not parents:
        raise ValueError("a hierarchical loss needs `parents`")


def head_losses(
    options: Any,
    num_labels: Mapping[str, int],
    parents: Mapping[str, np.ndarray],
    spaces: Mapping[str, Any] | None = None,
) -> dict[str, keras.losses.Loss]:
    """The loss of each head by rank.

    Args:
      options: `config.train`; `hierarchical` is the loss of the finest rank.
      num_labels: number of labels by rank, one for each head.
      parents: see the module; used by hierarchical losses only.
      spaces: labels of the heads if they are also of coarser ranks.
    """
    if spaces:
        return _marginal_losses(options, num_labels, spaces)
    losses = {rank: _plain(options) for rank in num_labels}
    if options.hierarchical != "none":
        finest = finest_rank(num_labels, parents)
        above = [level for rank, level in parents.items() if rank != finest]
        tree = above, num_labels[finest]
        smoothing = options.label_smoothing
        losses[finest] = (
            hierarchy_losses.HierarchicalCrossEntropy(
                *tree, options.hxe_alpha, label_smoothing=smoothing
            )
            if options.hierarchical == "hxe"
            else hierarchy_losses.SoftLabelCrossEntropy(
                *tree, options.soft_labels_beta, label_smoothing=smoothing
            )
        )
    return losses


def _marginal_losses(options, num_labels, spaces):
    losses = {}
    finest = max(num_labels, key=lambda rank: len(spaces[rank].ranks))
    for rank in num_labels:
        space = spaces[rank]
        tree = {"parents": space.parents, "sizes": space.sizes}
        tree["label_smoothing"] = options.label_smoothing
        kind = options.hierarchical if rank == finest else "none"
        if kind == "hxe":
            losses[rank] = marginal_losses.MarginalHierarchicalCrossEntropy(
                **tree, alpha=options.hxe_alpha
            )
        elif kind == "soft_labels":
            losses[rank] = marginal_losses.MarginalSoftLabels(
                **tree, beta=options.soft_labels_beta
            )
        else:
            losses[rank] = marginal_losses.MarginalCrossEntropy(**tree)
    return losses


def accuracies(
    num_labels: Mapping[str, int], spaces: Mapping[str, Any] | None = None
) -> dict[str, list]:
    """The metric `accuracy` of each head by rank.

    With `spaces` an image without a label at a head's rank does not count there.
    """
    if not spaces:
        return {rank: ["accuracy"] for rank in num_labels}
    return {
        rank: [marginal_losses.KnownAccuracy(count)]
        for rank, count in num_labels.items()
    }


def _plain(options):
    if is_soft(options):
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=options.label_smoothing
        )
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def finest_rank(
    num_labels: Mapping[str, int], parents: Mapping[str, np.ndarray]
) -> str:
    """The finest of the heads' ranks, by the tree's order.

    Numbers of labels do not determine it: if every genus has one species, both ranks
    have the same number.
    """
    return [rank for rank in parents if rank in num_labels][-1]


def add_terms(
    model: keras.Model,
    options: Any,
    num_labels: Mapping[str, int],
    parents: Mapping[str, np.ndarray],
    partial: bool = False,
) -> None:
    """Adds the terms between heads and on the maps to the training loss.

    `config.train.consistency` weights the mean over the images, summed over the coarser
    heads, of `hierarchy_losses.disagreement`; `config.train.filter_loss` weights
    `filter_loss.filter_loss` of the layer `model.cam_layer`, with the labels of the
    first rank if `filter_targets` is "category". Each is logged under its name, without
    its weight. The model's class and its saved file do not change. With `partial`
    labels may be of coarser ranks than a head's.

    Raises:
      UserError: the model has no such layer, or its output is not a map.
    """
    terms = {}
    if options.consistency:
        terms["consistency"] = options.consistency, _consistency(num_labels, parents)
    if options.filter_loss:
        category = options.filter_targets == "category"
        term = _filters(model, num_labels, category, partial)
        terms["filter_loss"] = options.filter_loss, term
    if not terms:
        return
    plain = type(model).compute_loss.__get__(model)
    trackers = {name: keras.metrics.Mean(name=name) for name in terms}
    model.term_trackers = list(trackers.values())  # an attribute that Keras tracks

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, training=True):
        total = plain(x, y, y_pred, sample_weight, training=training)
        if not training:
            return total
        for name, (weight, term) in terms.items():
            value = term(y, y_pred)
            trackers[name].update_state(value)
            total = total + weight * value
        return total

    model.compute_loss = compute_loss


def _consistency(num_labels, parents):
    finest = finest_rank(num_labels, parents)

    def term(y, y_pred):
        found = 0.0
        for rank in num_labels:
            if rank != finest:
                pair = y_pred[rank], y_pred[finest]
                found += ops.mean(hierarchy_losses.disagreement(*pair, parents[rank]))
        return found

    return term


def _filters(model, num_labels, category, partial):
    name = getattr(model, "cam_layer", None)
    maps = None if name is None else layer_output(model, name)
    if maps is None or len(maps.shape) != 4:
        raise UserError(
            f"config.train.filter_loss needs a layer that outputs maps once, found "
            f"{name!r}: the model's attribute cam_layer names it, one of model.layers."
        )
    tap = filter_loss.Tap(model.get_layer(name))
    first = next(iter(num_labels))

    def term(y, y_pred):
        maps = tap.take()
        if not category:
            return filter_loss.filter_loss(maps)
        labels = y[first] if isinstance(y, Mapping) else y
        if partial:
            labels = marginal_losses.known_labels(labels, num_labels[first])
        return filter_loss.filter_loss(maps, labels, num_labels[first])

    return term
