"""Hierarchical losses on the softmax over the leaves (Bertinetto et al. 2020).

"Making Better Mistakes" (arXiv:1912.09393). The tree is given as `parents`: for each
rank above the leaves, coarse to fine, the label of every leaf at that rank, int (L,).
Ranks with a single taxon change nothing. The root is above the coarsest rank.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def lca_heights(parents: Sequence[np.ndarray], num_leaves: int) -> np.ndarray:
    """Height of the lowest common ancestor of each pair of leaves, in ranks: int (L,
    L). A leaf that has no taxon at a rank (-1) shares none there."""
    levels = [*parents, np.arange(num_leaves)]
    heights = np.full((num_leaves, num_leaves), len(levels))
    for depth, level in enumerate(map(np.asarray, levels), start=1):
        same = np.equal.outer(level, level) & (level >= 0)
        heights = np.where(same, len(levels) - depth, heights)
    return heights


def soft_labels(
    parents: Sequence[np.ndarray], num_leaves: int, beta: float
) -> np.ndarray:
    """Soft labels in place of one-hot ones: float32 (L, L), rows sum to 1.

    Row A, column C is exp(-beta d(A, C)) / sum_B exp(-beta d(A, B)), with d the height
    of the lowest common ancestor over the largest one of the tree (section 3.2). Large
    beta gives one-hot labels, beta 0 uniform ones.
    """
    heights = lca_heights(parents, num_leaves)
    weights = np.exp(-beta * heights / max(1, heights.max()))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def marginal_log_probabilities(log_p: Any, parents: np.ndarray) -> Any:
    """Log-probabilities (B, N) of the taxa of a coarser rank, from the leaves' (B, L).

    The logsumexp over the leaves of each taxon; stable. Leaves without a taxon there
    (-1) are left out; each of the N taxa needs a leaf.
    """
    parents = np.asarray(parents, np.int32)
    if (parents < 0).any():
        log_p = ops.take(log_p, np.flatnonzero(parents >= 0), axis=1)
        parents = parents[parents >= 0]
    count = int(parents.max()) + 1
    by_leaf = ops.transpose(log_p)
    peak = ops.stop_gradient(ops.segment_max(by_leaf, parents, count))
    shifted = ops.exp(by_leaf - ops.take(peak, parents, axis=0))
    return ops.transpose(ops.log(ops.segment_sum(shifted, parents, count)) + peak)


def _distribution(y_true, num_leaves, smoothing):
    """Labels as (B, L) distributions: integer labels (B,) or (B, 1), or these."""
    if len(y_true.shape) == 1 or (y_true.shape[-1] == 1 != num_leaves):
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        y_true = ops.one_hot(labels, num_leaves, dtype="float32")
    return (1.0 - smoothing) * ops.cast(y_true, "float32") + smoothing / num_leaves


class _TreeLoss(keras.losses.Loss):
    """Base class of both losses; y_true is labels (B,) or distributions (B, L)."""

    def __init__(self, parents, num_leaves, label_smoothing=0.0, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.parents = [np.asarray(level, np.int32) for level in parents]
        self.num_leaves = num_leaves
        self.label_smoothing = label_smoothing

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {
            **super().get_config(),
            "parents": [level.tolist() for level in self.parents],
            "num_leaves": self.num_leaves,
            "label_smoothing": self.label_smoothing,
        }


@keras.saving.register_keras_serializable("hiercam_keras")
class HierarchicalCrossEntropy(_TreeLoss):
    """Cross-entropy of each step down the tree, with smaller weights for coarser ones
    (section 3.1).

    The log-probability of a leaf is the sum of those of its steps, log P(child|parent).
    HXE weighs them: -sum_l exp(-alpha l) log P(C_l | C_l+1), where C_0 is the leaf, C_1
    its parent and so on up to the root. alpha = 0 is the plain cross-entropy of the
    leaf; with a large alpha only the choice among siblings counts.
    """

    def __init__(self, parents, num_leaves, alpha, name="hxe", **kwargs):
        super().__init__(parents, num_leaves, name=name, **kwargs)
        self.alpha = alpha

    def call(self, y_true, y_pred):
        """Loss of each image, (B,), in nats; y_pred are logits (B, L)."""
        truth = _distribution(y_true, self.num_leaves, self.label_smoothing)
        log_p = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        steps, below = 0.0, log_p  # of each leaf, (B, L)
        for height, level in enumerate([*self.parents[::-1], None]):
            if level is None:
                above = ops.zeros_like(log_p)  # the root
            else:
                at_rank = marginal_log_probabilities(log_p, level)
                above = ops.take(at_rank, level, axis=1)
            steps = steps + np.exp(-self.alpha * height) * (above - below)
            below = above
        return ops.sum(truth * steps, axis=-1)

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable("hiercam_keras")
class SoftLabelCrossEntropy(_TreeLoss):
    """Cross-entropy against soft labels, by distance in the tree (section 3.2)."""

    def __init__(self, parents, num_leaves, beta, name="soft_labels", **kwargs):
        super().__init__(parents, num_leaves, name=name, **kwargs)
        self.beta = beta
        self.rows = soft_labels(self.parents, num_leaves, beta)

    def call(self, y_true, y_pred):
        """Loss of each image, (B,), in nats; y_pred are logits (B, L)."""
        truth = _distribution(y_true, self.num_leaves, self.label_smoothing)
        log_p = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        return -ops.sum(ops.matmul(truth, self.rows) * log_p, axis=-1)

    def get_config(self):
        """Constructor arguments, for serialization."""
        return {**super().get_config(), "beta": self.beta}


def disagreement(coarse_logits: Any, fine_logits: Any, parents: np.ndarray) -> Any:
    """Jensen-Shannon divergence of a coarse head and the finer one's marginal, (B,).

    0 .. log 2 nats, 0 if the heads agree; symmetric, with gradients for both heads. The
    marginal is that of the leaves that have a taxon at the coarser rank.

    Args:
      coarse_logits: (B, N).
      fine_logits: (B, L).
      parents: int (L,), the coarse label of each fine one.
    """
    log_p = ops.log_softmax(ops.cast(coarse_logits, "float32"), axis=-1)
    fine = ops.log_softmax(ops.cast(fine_logits, "float32"), axis=-1)
    log_q = marginal_log_probabilities(fine, parents)
    if (np.asarray(parents) < 0).any():
        log_q = ops.log_softmax(log_q, axis=-1)
    log_m = ops.logaddexp(log_p, log_q) - np.log(2.0)
    kl_p = ops.sum(ops.exp(log_p) * (log_p - log_m), axis=-1)
    kl_q = ops.sum(ops.exp(log_q) * (log_q - log_m), axis=-1)
    return (kl_p + kl_q) / 2
