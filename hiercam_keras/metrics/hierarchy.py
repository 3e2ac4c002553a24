"""Severity of mistakes in the tree, and consistency of answers at several ranks.

Heights count ranks up to the lowest common ancestor: 0 for the same taxon, 1 for
siblings, one more per rank (`Taxonomy.lca_height`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hiercam_keras.taxonomy.tree import Taxonomy


def mistake_severity(
    labels: Any, predicted: Any, taxonomy: Taxonomy, rank: str
) -> float:
    """Mean height over the mistakes (Bertinetto et al. 2020, arXiv:1912.09393).

    Args:
      labels, predicted: (N,) labels at `rank`.

    Returns:
      1 .. depth of the rank; NaN without mistakes. It may decrease while the accuracy
      decreases, too: report it together with the accuracy.
    """
    height = taxonomy.lca_height(rank, labels, predicted)
    wrong = height[height > 0]
    return float(wrong.mean()) if wrong.size else float("nan")


def severity_counts(
    labels: Any, predicted: Any, taxonomy: Taxonomy, rank: str
) -> np.ndarray:
    """Number of images by height of the answer, right ones at 0: (depth + 1,)."""
    height = taxonomy.lca_height(rank, labels, predicted)
    return np.bincount(height.ravel(), minlength=taxonomy.ranks.index(rank) + 2)


def lca_distance_at_k(
    logits: Any, labels: Any, taxonomy: Taxonomy, rank: str, k: int = 5
) -> np.ndarray:
    """Mean height of the k best answers, per image: float64 (N,).

    Bertinetto et al. 2020, "average hierarchical distance of top-k". Even a perfect
    model cannot reach 0 for k > 1; see `best_lca_distance_at_k`. Equal logits are
    taken in the order of their labels.

    Args:
      logits: (N, num_labels) at `rank`.
      labels: (N,).
      k: number of answers; no more than there are labels.

    Raises:
      ValueError: the shape of the logits or k does not fit the rank.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    count = taxonomy.num_labels(rank)
    if logits.ndim != 2 or logits.shape[1] != count:
        raise ValueError(f"logits have shape {logits.shape}, expected (N, {count})")
    if not 1 <= k <= count:
        raise ValueError(f"k is {k}, expected 1 .. {count} at rank {rank!r}")
    best = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    return taxonomy.lca_height(rank, labels[:, None], best).mean(axis=-1)


def best_lca_distance_at_k(
    labels: Any, taxonomy: Taxonomy, rank: str, k: int = 5
) -> np.ndarray:
    """The smallest distance that k answers can have, per image: float64 (N,)."""
    every = np.arange(taxonomy.num_labels(rank))
    heights = taxonomy.lca_height(rank, np.asarray(labels)[:, None], every)
    return np.sort(heights, axis=-1)[:, :k].mean(axis=-1)


def hierarchical_precision_recall(
    labels: Any,
    rank: str,
    predictions: Mapping[str, Any],
    taxonomy: Taxonomy,
    ranks: Sequence[str] | None = None,
) -> dict[str, float]:
    """Hierarchical precision, recall and F (Silla and Freitas 2011, section 5).

    hP = sum |P n T| / sum |P|, hR = sum |P n T| / sum |T| over the images, where T is
    the true taxon with its ancestors, and P the predicted ones with theirs. The root
    is excluded, and by default every rank with a single taxon, which is always right.

    Args:
      labels: (N,) true labels at `rank`.
      predictions: rank -> (N,) labels. One rank for a model with one head; several
        when each has its own, and then P is the union of their paths. A coarser
        rank than `rank` costs recall, a finer one precision.
      ranks: the ranks that count; default `taxonomy.trainable_ranks()`.

    Returns:
      {"precision", "recall", "f1"}; NaN where a sum is empty, f1 0 where both are 0.
    """
    counted = taxonomy.trainable_ranks() if ranks is None else tuple(ranks)
    labels = np.asarray(labels)
    both = guessed = true = 0
    for level in counted:
        answers = _answers_at(predictions, taxonomy, level)
        if len(answers):  # the first taxon, and each that differs from the one before
            answers = np.sort(answers, axis=0)
            new = np.diff(answers, axis=0, prepend=-1) != 0
            guessed += int((new & (answers >= 0)).sum())
        if _reaches(taxonomy, rank, level):
            truth = taxonomy.parents(rank, level)[labels]
            known = truth >= 0
            true += int(known.sum())
            if len(answers):
                both += int(((answers == truth) & known).any(axis=0).sum())
    precision = both / guessed if guessed else float("nan")
    recall = both / true if true else float("nan")
    total = precision + recall
    f1 = 2 * precision * recall / total if total else total
    return {"precision": precision, "recall": recall, "f1": f1}


def path_consistency(predictions: Mapping[str, Any], taxonomy: Taxonomy) -> np.ndarray:
    """Whether the answers at all ranks are on one path of the tree: bool (N,).

    A rank that the taxon at the finest rank does not have (a gap) is left out.

    Args:
      predictions: rank -> (N,) labels, at least one rank.
    """
    finest, answers = _finest(predictions, taxonomy)
    consistent = np.ones(answers.shape, bool)
    for rank, predicted in predictions.items():
        above = taxonomy.parents(finest, rank)[answers]
        consistent &= (above == np.asarray(predicted)) | (above < 0)
    return consistent


def full_path_correct(
    predictions: Mapping[str, Any], labels: Any, rank: str, taxonomy: Taxonomy
) -> np.ndarray:
    """Whether the answers at all ranks are right: bool (N,).

    A rank that the true taxon does not have (a gap) is left out.

    Args:
      predictions: rank -> (N,) labels, none finer than `rank`.
      labels: (N,) true labels at `rank`.
    """
    labels = np.asarray(labels)
    right = np.ones(labels.shape, bool)
    for coarse, predicted in predictions.items():
        truth = taxonomy.parents(rank, coarse)[labels]
        right &= (truth == np.asarray(predicted)) | (truth < 0)
    return right


def _finest(
    predictions: Mapping[str, Any], taxonomy: Taxonomy
) -> tuple[str, np.ndarray]:
    if not predictions:
        raise ValueError("predictions are empty, expected at least one rank")
    finest = max(predictions, key=taxonomy.ranks.index)
    return finest, np.asarray(predictions[finest])


def _reaches(taxonomy: Taxonomy, fine: str, coarse: str) -> bool:
    return taxonomy.ranks.index(coarse) <= taxonomy.ranks.index(fine)


def _answers_at(
    predictions: Mapping[str, Any], taxonomy: Taxonomy, level: str
) -> np.ndarray:
    """What each prediction implies at `level`: (predictions that reach it, N).

    -1 is no taxon, at a gap.
    """
    answers = [
        taxonomy.parents(rank, level)[np.asarray(predicted)]
        for rank, predicted in predictions.items()
        if _reaches(taxonomy, rank, level)
    ]
    count = len(_finest(predictions, taxonomy)[1])
    return np.array(answers).reshape(len(answers), count)
