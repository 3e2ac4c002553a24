"""Losses of objects that are identified only to a coarser rank than a head's.

Labels are those of a `taxonomy.partial.LabelSpace`: taxa of the head's rank, and of the
ranks above it. The loss of an object of the taxon n at any rank is

    -log P(n),   P(n) = sum of the probabilities of its descendants,

with the gradient P(c) - P(c | n) for the logit of a leaf c, where P(c | n) is 0 beyond
n: the descendants of n gain together, in the proportions that they have. It is 0 for an
object without a label. The hierarchical losses are those of `hierarchy_losses` on the
tree cut at the rank of n. All are linear in the labels, so distributions over the
labels mix objects of different ranks; label smoothing spreads over the taxa of an
object's rank.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from hiercam_keras.training.hierarchy_losses import (
    marginal_log_probabilities,
    soft_labels,
)


class _MarginalLoss(keras.losses.Loss):
    """Base class of the losses.

    Args:
      parents: for each rank above the head's, coarse to fine, the label of each leaf
        there, int (L,); -1 at a gap.
      sizes: number of taxa of each rank, the head's last.
      label_smoothing: share of a label that is spread over the taxa of its rank.
    """

    def __init__(self, parents, sizes, label_smoothing=0.0, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.parents = [np.asarray(level, np.int32) for level in parents]
        self.sizes = [int(size) for size in sizes]
        self.label_smoothing = label_smoothing

    def by_rank(self, y_true, y_pred) -> tuple[list, list]:
        """Smoothed labels and log-probabilities (B, N) by rank, coarse to fine.

        Args:
          y_true: labels (B,) or distributions over the labels (B, size).
          y_pred: logits (B, L).
        """
        log_p = ops.log_softmax(_as_float(y_pred), axis=-1)
        above = [
            _marginals(log_p, level, size)
            for level, size in zip(self.parents, self.sizes, strict=False)
        ]
        return self._truth(y_true, log_p.dtype), [*above, log_p]

    def _truth(self, y_true, dtype) -> list:
        """Smoothed distributions (B, N) over the taxa of each rank, coarse to fine."""
        size = sum(self.sizes)
        if len(y_true.shape) == 1 or (y_true.shape[-1] == 1 != size):
            labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
            y_true = ops.one_hot(labels, size, dtype=dtype)  # -1 gives zeros
        ends = np.cumsum([self.sizes[-1], *self.sizes[:-1]])
        leaves, *above = ops.split(ops.cast(y_true, dtype), ends[:-1].tolist(), axis=-1)
        smoothing = self.label_smoothing
        return [
            (1.0 - smoothing) * part
            + smoothing / part.shape[-1] * ops.sum(part, axis=-1, keepdims=True)
            for part in (*above, leaves)
        ]

    def _above(self, rank: int, coarser: int) -> np.ndarray:
        """Label at a coarser rank of each taxon of a rank (numbers, coarse to fine)."""
        if rank == len(self.parents):
            return self.parents[coarser]
        found = np.full(self.sizes[rank], -1, np.int32)
        known = self.parents[rank] >= 0
        found[self.parents[rank][known]] = self.parents[coarser][known]
        return found

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {
            **super().get_config(),
            "parents": [level.tolist() for level in self.parents],
            "sizes": self.sizes,
            "label_smoothing": self.label_smoothing,
        }


@keras.saving.register_keras_serializable("hiercam_keras")
class MarginalCrossEntropy(_MarginalLoss):
    """-log P(n)."""

    def __init__(self, parents, sizes, name="marginal", **kwargs):
        super().__init__(parents, sizes, name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Loss of each image, (B,), in nats; see `by_rank`."""
        pairs = zip(*self.by_rank(y_true, y_pred), strict=True)
        return -sum(ops.sum(y * own, axis=-1) for y, own in pairs)


@keras.saving.register_keras_serializable("hiercam_keras")
class MarginalHierarchicalCrossEntropy(_MarginalLoss):
    """The steps from the root down to n, as `HierarchicalCrossEntropy` weighs them.

    The step to a taxon goes from the next coarser rank that it has.
    """

    def __init__(self, parents, sizes, alpha, name="hxe", **kwargs):
        super().__init__(parents, sizes, name=name, **kwargs)
        self.alpha = alpha

    def call(self, y_true, y_pred):
        """Loss of each image, (B,), in nats; see `by_rank`."""
        truth, log_p = self.by_rank(y_true, y_pred)
        # Columns: the root, then the taxa of each rank, coarse to fine.
        reached = costs = ops.zeros_like(log_p[0][:, :1])
        starts = np.cumsum([1, *self.sizes])
        total = 0.0
        for rank, (y, own) in enumerate(zip(truth, log_p, strict=True)):
            parent = np.zeros(self.sizes[rank], np.int32)
            for coarser in range(rank):
                label = self._above(rank, coarser)
                parent = np.where(label >= 0, starts[coarser] + label, parent)
            weight = float(np.exp(-self.alpha * (len(log_p) - 1 - rank)))
            step = weight * (ops.take(reached, parent, axis=1) - own)
            cost = ops.take(costs, parent, axis=1) + step
            reached = ops.concatenate([reached, own], axis=1)
            costs = ops.concatenate([costs, cost], axis=1)
            total = total + ops.sum(y * cost, axis=-1)
        return total

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable("hiercam_keras")
class MarginalSoftLabels(_MarginalLoss):
    """Soft labels by distance in the tree among the taxa of the rank of n."""

    def __init__(self, parents, sizes, beta, name="soft_labels", **kwargs):
        super().__init__(parents, sizes, name=name, **kwargs)
        self.beta = beta
        self.rows = [
            soft_labels([self._above(rank, one) for one in range(rank)], size, beta)
            for rank, size in enumerate(self.sizes)
        ]

    def call(self, y_true, y_pred):
        """Loss of each image, (B,), in nats; see `by_rank`."""
        truth, log_p = self.by_rank(y_true, y_pred)
        return -sum(
            ops.sum(ops.matmul(y, ops.cast(rows, y.dtype)) * own, axis=-1)
            for y, rows, own in zip(truth, self.rows, log_p, strict=True)
        )

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "beta": self.beta}


@keras.saving.register_keras_serializable("hiercam_keras")
class KnownAccuracy(keras.metrics.MeanMetricWrapper):
    """Share of right answers among the objects that have a label at the head's rank.

    Of a distribution the largest label counts.

    Args:
      num_taxa: of the head; larger labels are of coarser ranks.
    """

    def __init__(self, num_taxa, name="accuracy", dtype=None):
        super().__init__(fn=_hits, name=name, dtype=dtype)
        self.num_taxa = num_taxa

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch: labels (B,) or distributions (B, size), and logits (B, L)."""
        labels = known_labels(y_true, self.num_taxa)
        weight = ops.cast(labels >= 0, self.dtype)
        if sample_weight is not None:
            weight = weight * ops.cast(sample_weight, self.dtype)
        return super().update_state(labels, y_pred, sample_weight=weight)

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {"name": self.name, "dtype": self.dtype, "num_taxa": self.num_taxa}


def known_labels(y_true: Any, num_taxa: int) -> Any:
    """Labels at the head's own rank, -1 for none: int32 (B,).

    Args:
      y_true: labels (B,) or (B, 1) of a head, or distributions (B, size) over them, of
        which the largest counts.
      num_taxa: of the head, above 1; larger labels are of coarser ranks.
    """
    if len(y_true.shape) > 1 and y_true.shape[-1] > 1:
        none = ops.logical_not(ops.any(y_true > 0, axis=-1))
        labels = ops.where(none, -1, ops.cast(ops.argmax(y_true, axis=-1), "int32"))
    else:
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    return ops.where(labels < num_taxa, labels, -1)


def _hits(labels, logits):
    answers = ops.argmax(logits, axis=-1)
    return ops.cast(ops.equal(ops.cast(labels, answers.dtype), answers), "float32")


def _marginals(log_p: Any, owner: np.ndarray, size: int) -> Any:
    """Log-probabilities (B, size) of a coarser rank's taxa; 0 for one without leaves,
    which no object has as a label."""
    present, places = np.unique(owner[owner >= 0], return_inverse=True)
    compact = np.full(len(owner), -1, np.int32)
    compact[owner >= 0] = places
    found = marginal_log_probabilities(log_p, compact)
    if len(present) == size:
        return found
    nothing = ops.zeros_like(found[:, :1])
    index = np.full(size, len(present), np.int32)
    index[present] = np.arange(len(present))
    return ops.take(ops.concatenate([found, nothing], axis=1), index, axis=1)


def _as_float(logits: Any) -> Any:
    """The logits in float32, or float64 if they are."""
    double = keras.backend.standardize_dtype(logits.dtype) == "float64"
    return ops.cast(logits, "float64" if double else "float32")
