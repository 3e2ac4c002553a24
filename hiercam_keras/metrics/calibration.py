"""Calibration: whether predictions with probability 0.8 are right in 80 % of cases.

Steps between ranks use probabilities, so calibration is measured at every rank, and a
temperature can be fitted on the validation split (Guo et al. 2017, arXiv:1706.04599).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hiercam_keras.metrics.classification import wilson_interval
from hiercam_keras.taxonomy.scores import log_softmax, softmax

TEMPERATURE_RANGE = (0.05, 20.0)  # limits of the search of `fit_temperature`


def reliability(
    confidence: Any, correct: Any, bins: int = 15, equal_counts: bool = False
) -> dict[str, np.ndarray]:
    """The bins of a reliability diagram.

    Args:
      confidence: (N,) probabilities of the predicted labels, 0 .. 1.
      correct: (N,) bool, whether the prediction is right.
      bins: number of bins.
      equal_counts: bins with equally many images instead of equal width.

    Returns:
      low, high (edges; a bin holds low < p <= high, the first one 0 too), count,
      confidence and accuracy (means, NaN in an empty bin), each (bins,).

    Raises:
      ValueError: shapes differ, confidences are not probabilities, or bins < 1.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    correct = np.asarray(correct, dtype=np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise ValueError(
            f"confidence {confidence.shape} and correct {correct.shape}, expected "
            "(N,) twice"
        )
    # Float32 softmax may give 1 + 1e-7.
    if confidence.size and (confidence.min() < 0 or confidence.max() > 1 + 1e-5):
        raise ValueError("confidence must be in 0 .. 1: pass probabilities, not logits")
    if bins < 1:
        raise ValueError(f"bins is {bins}, expected at least 1")
    confidence = np.minimum(confidence, 1.0)
    edges = np.linspace(0, 1, bins + 1)
    if equal_counts and confidence.size:
        edges = np.quantile(confidence, edges)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, v, minlength=bins) for v in (confidence, correct)]
    means = [
        np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums
    ]
    return {
        "low": edges[:-1],
        "high": edges[1:],
        "count": count,
        "confidence": means[0],
        "accuracy": means[1],
    }


def points(table: Mapping[str, np.ndarray], least: int = 10) -> dict[str, np.ndarray]:
    """The points of a reliability curve: bins with at least `least` images.

    Neighboring bins are joined, from the low end on; a remainder of fewer images joins
    the last point.

    Args:
      table: of `reliability`.
      least: images of a point.

    Returns:
      count, confidence and accuracy (means), and low and high (the accuracy's 95 %
      Wilson interval), each (points,); no points for fewer images in all.
    """
    count = table["count"]
    starts, held = [], least
    for place, number in enumerate(count):
        if held >= least:
            starts.append(place)
            held = 0
        held += number
    if held < least:
        starts.pop()
    if not starts:
        none = np.array([])
        return dict.fromkeys(("count", "confidence", "accuracy", "low", "high"), none)
    total = np.add.reduceat(count, starts)
    confidence, right = (
        np.add.reduceat(np.where(count > 0, count * table[name], 0.0), starts)
        for name in ("confidence", "accuracy")
    )
    right = np.rint(right)
    low, high = wilson_interval(right, total)
    accuracy = right / total
    return {
        "count": total,
        "confidence": confidence / total,
        "accuracy": accuracy,
        # Rounding may put an end on the other side of an accuracy of 0 or 1.
        "low": np.minimum(low, accuracy),
        "high": np.maximum(high, accuracy),
    }


def expected_calibration_error(
    confidence: Any, correct: Any, bins: int = 15, equal_counts: bool = False
) -> float:
    """Mean gap between confidence and accuracy, bins weighted by images: 0 .. 1.

    Guo et al. 2017 (arXiv:1706.04599), equation 3. NaN without images.
    """
    table = reliability(confidence, correct, bins, equal_counts)
    used = table["count"] > 0
    if not used.any():
        return float("nan")
    gaps = np.abs(table["accuracy"] - table["confidence"])[used]
    return float(np.average(gaps, weights=table["count"][used]))


def confidence_and_correct(logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the best label, and whether it is right: (N,) float64, bool."""
    logits = np.asarray(logits, dtype=np.float64)
    probabilities = softmax(logits)
    return probabilities.max(axis=-1), logits.argmax(axis=-1) == np.asarray(labels)


def negative_log_likelihood(logits: Any, labels: Any) -> float:
    """Mean -log p(true label) in nats; NaN without images."""
    logs = log_softmax(np.asarray(logits, dtype=np.float64))
    labels = np.asarray(labels)
    if not labels.size:
        return float("nan")
    return float(-np.take_along_axis(logs, labels[:, None], axis=-1).mean())


def brier_score(logits: Any, labels: Any) -> float:
    """Mean squared distance of probabilities to the truth, summed over labels: 0 .. 2.

    Brier 1950, its original form. NaN without images.
    """
    probabilities = softmax(np.asarray(logits, dtype=np.float64))
    labels = np.asarray(labels)
    if not labels.size:
        return float("nan")
    own = np.take_along_axis(probabilities, labels[:, None], axis=-1)[:, 0]
    return float(np.mean((probabilities**2).sum(axis=-1) - 2 * own + 1))


def fit_temperature(logits: Any, labels: Any) -> float:
    """The T that minimizes the negative log-likelihood of logits / T.

    Guo et al. 2017, temperature scaling. The loss is convex in 1/T, so one bounded
    search finds the minimum. If every image is right the loss has no minimum, and the
    result is the lower limit of `TEMPERATURE_RANGE`; for logits that are no better than
    random ones it is the upper limit. `at_limit` recognizes both.

    Args:
      logits: (N, labels) of the validation split; never the split that is reported.
      labels: (N,).

    Returns:
      T in `TEMPERATURE_RANGE`.

    Raises:
      ValueError: there are no images.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    logits = np.asarray(logits, dtype=np.float64)
    labels = np.asarray(labels)
    if not labels.size:
        raise ValueError("no images to fit a temperature on")
    low, high = (1 / TEMPERATURE_RANGE[1], 1 / TEMPERATURE_RANGE[0])

    def loss(log_scale: float) -> float:
        return negative_log_likelihood(logits * np.exp(log_scale), labels)

    bounds = (float(np.log(low)), float(np.log(high)))
    found = minimize_scalar(
        loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}
    )
    # A bounded search only approaches its limits. They come first, and win ties: on a
    # plateau of zero loss there is no minimum.
    candidates = [(loss(end), end) for end in bounds]
    candidates.append((float(found.fun), float(found.x)))
    _, best = min(candidates, key=lambda candidate: candidate[0])
    return float(np.exp(-best))


def at_limit(temperature: float) -> bool:
    """Whether a fitted temperature is a limit of the search, not a minimum."""
    return any(np.isclose(temperature, limit, rtol=1e-6) for limit in TEMPERATURE_RANGE)


def temperature_text(temperature: float) -> str:
    """`1.37`, or `20.00 (limit of the search)`."""
    return f"{temperature:.2f}" + " (limit of the search)" * at_limit(temperature)
