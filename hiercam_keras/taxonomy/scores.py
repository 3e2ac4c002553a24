"""Converts scores of a fine head to scores at coarser ranks.

The score of a node n is s_n = logsumexp of the logits of its descendants, so softmax
over the nodes of a rank gives the sums of the descendants' probabilities.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hiercam_keras.taxonomy.tree import Taxonomy


def marginal_logits(
    logits: Any, taxonomy: "Taxonomy", fine: str, coarse: str
) -> np.ndarray:
    """Scores at a coarser rank: logsumexp over the descendants of each taxon.

    Computes in float64 on shifted values, so finite logits give finite scores.

    Args:
      logits: (..., num_fine), of the labels at `fine`.
      taxonomy: the tree.
      fine, coarse: ranks; `coarse` may equal `fine`.

    Returns:
      (..., num_coarse), float32 for float32 or narrower logits, else float64.

    Raises:
      ValueError: the last axis is not num_fine long.
    """
    values, dtype = _as_float64(logits, taxonomy, fine)
    parents = taxonomy.parents(fine, coarse)
    if len(parents) == taxonomy.num_labels(coarse):
        return values.astype(dtype)
    # Labels are sorted prefixes, so the descendants of a taxon are contiguous.
    starts = np.searchsorted(parents, np.arange(taxonomy.num_labels(coarse)))
    peak = np.maximum.reduceat(values, starts, axis=-1)
    peak = np.where(np.isfinite(peak), peak, 0.0)  # if all logits are masked (-inf)
    total = np.add.reduceat(np.exp(values - peak[..., parents]), starts, axis=-1)
    with np.errstate(divide="ignore"):  # log(0) = -inf where all were -inf
        return (np.log(total) + peak).astype(dtype)


def marginal_probabilities(
    probabilities: Any, taxonomy: "Taxonomy", fine: str, coarse: str
) -> np.ndarray:
    """Probabilities at a coarser rank: sums over the descendants of each taxon.

    Arguments, shapes and errors as for `marginal_logits`.
    """
    values, dtype = _as_float64(probabilities, taxonomy, fine)
    parents = taxonomy.parents(fine, coarse)
    starts = np.searchsorted(parents, np.arange(taxonomy.num_labels(coarse)))
    return np.add.reduceat(values, starts, axis=-1).astype(dtype)


def rank_scores(
    logits: Mapping[str, np.ndarray], taxonomy: "Taxonomy"
) -> dict[str, np.ndarray]:
    """Scores at every rank that a model can predict, coarse to fine.

    A rank with its own head uses the logits of that head. Other ranks above the finest
    head use its marginal logits. Ranks with a single taxon are excluded.

    Args:
      logits: (N, labels) by rank of the head.
      taxonomy: the tree.

    Returns:
      (N, labels) by rank.
    """
    finest = max(logits, key=taxonomy.ranks.index)
    return {
        rank: logits[rank]
        if rank in logits
        else marginal_logits(logits[finest], taxonomy, finest, rank)
        for rank in taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
        if taxonomy.num_labels(rank) > 1
    }


def log_softmax(logits: Any, axis: int = -1) -> np.ndarray:
    """Numerically stable log-probabilities along `axis`; same shape as `logits`."""
    values, dtype = _float64(logits)
    shifted = values - values.max(axis=axis, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return (shifted - total).astype(dtype)


def softmax(logits: Any, axis: int = -1) -> np.ndarray:
    """Numerically stable probabilities along `axis`, which sum to 1; same shape."""
    values, dtype = _float64(logits)
    weights = np.exp(values - values.max(axis=axis, keepdims=True))
    return (weights / weights.sum(axis=axis, keepdims=True)).astype(dtype)


def _float64(values: Any) -> tuple[np.ndarray, type]:
    """The values in float64, and the dtype of the result."""
    values = np.asarray(values)
    single = values.dtype in (np.float16, np.float32)
    return values.astype(np.float64), np.float32 if single else np.float64


def _as_float64(
    values: Any, taxonomy: "Taxonomy", fine: str
) -> tuple[np.ndarray, type]:
    values, dtype = _float64(values)
    count = taxonomy.num_labels(fine)
    if values.ndim == 0 or values.shape[-1] != count:
        raise ValueError(
            f"scores have shape {values.shape}, expected (..., {count}): one per "
            f"label at rank {fine!r}"
        )
    return values, dtype
