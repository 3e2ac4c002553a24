"""Classification metrics at a rank, and at every coarser one.

Functions of logits return one value per image, so they can be used on batches; tables
and means take label arrays of the whole split.
"""

import dataclasses
from typing import Any

import numpy as np
import scipy.special


def accuracy(labels: Any, predicted: Any) -> float:
    """Share of equal labels; NaN if there are none.

    Args:
      labels, predicted: integers of the same shape.

    Raises:
      ValueError: the shapes differ.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.shape != predicted.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predicted.shape} differ in shape"
        )
    return float(np.mean(labels == predicted)) if labels.size else float("nan")


def true_label_place(logits: Any, labels: Any) -> np.ndarray:
    """Position of the true label in the sorted logits, 0 for the best: int64 (N,).

    Among equal logits the smaller label comes first, as with argmax, and NaN comes
    last. The top-k accuracy is mean(place < k).
    """
    logits = np.asarray(logits)
    labels = _labels(labels, logits.shape[-1])
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    # A NaN of the true label is behind all others, as NaN is larger than nothing.
    return (ahead | np.isnan(own)).sum(axis=-1)


def top_k_accuracy(logits: Any, labels: Any, k: int = 5) -> float:
    """Share of images with the true label among the k best; NaN without images.

    Args:
      logits: (N, num_labels).
      labels: (N,).
      k: number of answers.
    """
    place = true_label_place(logits, labels)
    return float(np.mean(place < k)) if place.size else float("nan")


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The nonzero cells of a confusion matrix, sorted by true label.

    1,486 species have 2.2 million cells, nearly all zero. The sum of two is the matrix
    of both splits together.

    Attributes:
      true, predicted, count: int64 (cells,).
      num_labels: labels at this rank.
    """

    true: np.ndarray
    predicted: np.ndarray
    count: np.ndarray
    num_labels: int

    def __add__(self, other: "Confusion") -> "Confusion":
        if other.num_labels != self.num_labels:
            raise ValueError(
                f"matrices of {self.num_labels} and {other.num_labels} labels"
            )
        cells = [one.true * one.num_labels + one.predicted for one in (self, other)]
        counts = [self.count, other.count]
        return _confusion(
            np.concatenate(cells), np.concatenate(counts), self.num_labels
        )

    def dense(self) -> np.ndarray:
        """(num_labels, num_labels) counts: rows are true, columns predicted."""
        matrix = np.zeros((self.num_labels, self.num_labels), np.int64)
        matrix[self.true, self.predicted] = self.count
        return matrix


def confusion(labels: Any, predicted: Any, num_labels: int) -> Confusion:
    """Confusion matrix of label arrays (N,) as sparse rows.

    Raises:
      ValueError: the shapes differ, or a label is not in 0 .. num_labels - 1.
    """
    labels, predicted = _labels(labels, num_labels), _labels(predicted, num_labels)
    if labels.shape != predicted.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predicted.shape} differ in shape"
        )
    ones = np.ones(len(labels), np.int64)
    return _confusion(labels * num_labels + predicted, ones, num_labels)


def per_taxon(matrix: Confusion) -> dict[str, np.ndarray]:
    """One row per label: support, predicted, correct, precision, recall, f1.

    Counts are int64. Precision is NaN for a taxon that was never predicted, recall
    for one without images, f1 for one with neither; a mean leaves those out.
    """
    count, size = matrix.count, matrix.num_labels
    right = matrix.true == matrix.predicted
    support = _bincount(matrix.true, count, size)
    predicted = _bincount(matrix.predicted, count, size)
    correct = _bincount(matrix.true[right], count[right], size)
    return {
        "support": support,
        "predicted": predicted,
        "correct": correct,
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, support),
        "f1": _ratio(2 * correct, support + predicted),
    }


def balanced_accuracy(matrix: Confusion) -> float:
    """Mean recall over the taxa that have images; NaN if none has."""
    recall = per_taxon(matrix)["recall"]
    known = recall[~np.isnan(recall)]
    return float(known.mean()) if known.size else float("nan")


def majority_chance(train_labels: Any, test_labels: Any, num_labels: int) -> float:
    """Accuracy of always answering with the commonest label of the training split.

    The mean over equally common labels: each would do. NaN without images in either
    split. Images with a test label of -1, a taxon that the model does not know, are
    not counted.

    Args:
      train_labels, test_labels: integers (N,) and (M,).
      num_labels: number of labels at the rank.
    """
    train = _labels(train_labels, num_labels)
    test = np.asarray(test_labels)
    test = _labels(test[test >= 0], num_labels)
    if not (train.size and test.size):
        return float("nan")
    counts = np.bincount(train, minlength=num_labels)
    commonest = counts == counts.max()
    return float(np.mean(commonest[test]) / commonest.sum())


def wilson_interval(
    successes: Any, total: Any, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share: (low, high), each in 0 .. 1.

    Wilson 1927 (JASA 22, 209-212), without continuity correction. Broadcasts. No
    trials give (0, 1).

    Args:
      successes, total: counts.
      confidence: coverage, 0 .. 1.

    Raises:
      ValueError: successes are not between 0 and the total.
    """
    successes = np.asarray(successes, dtype=np.float64)
    total = np.asarray(total, dtype=np.float64)
    if (successes < 0).any() or (successes > total).any():
        raise ValueError("successes must be between 0 and the total")
    z = scipy.special.ndtri((1 + confidence) / 2)
    share = np.where(total > 0, successes / np.maximum(total, 1e-300), 0.5)
    return score_interval(share, total, z)


def score_interval(share: Any, trials: Any, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share of `trials`, not necessarily a whole number.

    Args:
      share: 0 .. 1.
      trials: at least 0; effective number for a sample with a design effect.
      z: quantile, of the normal or of another distribution.
    """
    z2 = z**2
    center = (share * trials + z2 / 2) / (trials + z2)
    spread = np.sqrt(z2 * (share * (1 - share) * trials + z2 / 4)) / (trials + z2)
    known = np.asarray(trials) > 0
    low = np.where(known & (np.asarray(share) == 0), 0.0, center - spread)
    high = np.where(known & (np.asarray(share) == 1), 1.0, center + spread)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def _labels(labels: Any, count: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}, expected integers")
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        raise ValueError(
            f"labels are {labels.min()} .. {labels.max()}, expected 0 .. {count - 1}"
        )
    return labels.astype(np.int64)


def _confusion(cells: np.ndarray, counts: np.ndarray, size: int) -> Confusion:
    kept, place = np.unique(cells, return_inverse=True)
    total = _bincount(place, counts, len(kept))
    return Confusion(kept // size, kept % size, total, size)


def _bincount(labels: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    total = np.zeros(size, np.int64)
    np.add.at(total, labels, counts)
    return total


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    out = np.full(part.shape, np.nan)
    return np.divide(part, whole, out=out, where=whole > 0)
