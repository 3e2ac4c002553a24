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

    Computes in float64 on shifted values, so finite logits give finite scores. A taxon
    without descendants at `fine`, as beyond a gap, has the score -inf.

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
    values, parents, present = _having(values, taxonomy, fine, coarse)
    if len(parents) == taxonomy.num_labels(coarse) == len(present):
        return values.astype(dtype)
    # Labels are sorted prefixes, so the descendants of a taxon are contiguous.
    starts = np.searchsorted(parents, present)
    peak = np.maximum.reduceat(values, starts, axis=-1)
    peak = np.where(np.isfinite(peak), peak, 0.0)  # if all logits are masked (-inf)
    of_fine = peak[..., np.searchsorted(present, parents)]
    total = np.add.reduceat(np.exp(values - of_fine), starts, axis=-1)
    with np.errstate(divide="ignore"):  # log(0) = -inf where all were -inf
        scores = np.log(total) + peak
    return _among_all(scores, present, taxonomy.num_labels(coarse), -np.inf, dtype)


def marginal_probabilities(
    probabilities: Any, taxonomy: "Taxonomy", fine: str, coarse: str
) -> np.ndarray:
    """Probabilities at a coarser rank: sums over the descendants of each taxon.

    Arguments, shapes and errors as for `marginal_logits`. If some taxa have none at
    `coarse`, the sums lack their probability.
    """
    values, dtype = _as_float64(probabilities, taxonomy, fine)
    values, parents, present = _having(values, taxonomy, fine, coarse)
    sums = np.add.reduceat(values, np.searchsorted(parents, present), axis=-1)
    return _among_all(sums, present, taxonomy.num_labels(coarse), 0.0, dtype)


def rank_scores(
    logits: Mapping[str, np.ndarray], taxonomy: "Taxonomy"
) -> dict[str, np.ndarray]:
    """Scores at every rank that a model can predict, coarse to fine.

    A rank with its own head uses the logits of that head. Other ranks above the finest
    head use its marginal logits. Ranks with a single taxon are excluded. At a rank that
    not all taxa have, marginal logits are logarithms of probabilities.

    Args:
      logits: (N, labels) by rank of the head.
      taxonomy: the tree.

    Returns:
      (N, labels) by rank.
    """
    finest = max(logits, key=taxonomy.ranks.index)

    def marginal(rank: str) -> np.ndarray:
        values = logits[finest]
        if taxonomy.has_gaps(finest, rank):
            values = log_softmax(values)
        return marginal_logits(values, taxonomy, finest, rank)

    return {
        rank: logits[rank] if rank in logits else marginal(rank)
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


def _having(
    values: np.ndarray, taxonomy: "Taxonomy", fine: str, coarse: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of the labels that have a taxon at `coarse`, its label (sorted), and the
    coarse labels with descendants."""
    parents = taxonomy.parents(fine, coarse)
    if (parents < 0).any():
        values, parents = values[..., parents >= 0], parents[parents >= 0]
    return values, parents, np.unique(parents)


def _among_all(
    values: np.ndarray, present: np.ndarray, count: int, absent: float, dtype: type
) -> np.ndarray:
    """The values of the labels `present` at their places among all of a rank."""
    if len(present) == count:
        return values.astype(dtype)
    found = np.full((*values.shape[:-1], count), absent, dtype)
    found[..., present] = values
    return found


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
