"""Faithfulness figures from curves of scores. NumPy only.

P(order) is never below P(species), so raw drops cannot be compared across ranks. A
curve is therefore normalized to 1 for the whole picture and 0 for the blank one. If
these two hardly differ (or the blank picture scores higher) there is no evidence to
remove, and the values are NaN: report their number, never replace them by 0.
"""

from typing import Any

import numpy as np

# Least difference between the whole and the blank picture, by kind of score: shares of
# probability, and nats of log-odds.
MIN_RANGE = {"probability": 0.1, "log_odds": 0.5}


def probability(log_odds: Any) -> np.ndarray:
    """The logistic function in float64; never overflows."""
    log_odds = np.asarray(log_odds, np.float64)
    return 0.5 * (1 + np.tanh(0.5 * log_odds))


def normalized(
    scores: Any, whole: Any, blank: Any, min_range: float = MIN_RANGE["probability"]
) -> np.ndarray:
    """(f(x) - f(blank))/(f(whole) - f(blank)): 1 for the whole picture, 0 for none.

    Values in between may be outside of 0 .. 1.

    Args:
      scores: (..., S) along a curve.
      whole, blank: (...) scores of the whole and of the blank picture.
      min_range: smallest f(whole) - f(blank); below it the curve is NaN.
    """
    scores = np.asarray(scores, np.float64)
    whole, blank = (np.asarray(v, np.float64)[..., None] for v in (whole, blank))
    with np.errstate(invalid="ignore"):
        span = whole - blank
        usable = np.isfinite(span) & (span >= min_range)
        shifted = scores - blank
    out = np.full(np.broadcast_shapes(scores.shape, span.shape), np.nan)
    return np.divide(shifted, span, out=out, where=np.broadcast_to(usable, out.shape))


def area_under(scores: Any, shares: Any) -> np.ndarray:
    """Area under a curve by trapezoids: (...), the mean score along the way.

    Petsiuk et al. 2018 (RISE, arXiv:1806.07421, section 3.2): lower is better for
    deletion, higher for insertion.

    Args:
      scores: (..., S).
      shares: (S,) removed or inserted shares of the picture, strictly increasing.

    Raises:
      ValueError: the shares do not fit the scores, or do not increase.
    """
    scores, shares = np.asarray(scores, np.float64), np.asarray(shares, np.float64)
    if shares.shape != scores.shape[-1:] or (np.diff(shares) <= 0).any():
        raise ValueError(f"shares {shares}, expected {scores.shape[-1]} rising values")
    return np.trapezoid(scores, shares, axis=-1) / (shares[-1] - shares[0])


def aopc(scores: Any) -> np.ndarray:
    """Area over the perturbation curve: mean of f(x_0) - f(x_k), k = 0 .. L: (...).

    Samek et al. 2015 (arXiv:1509.06321, equation 12). Higher is better if the most
    relevant regions are removed first, lower if the least relevant ones are.
    """
    scores = np.asarray(scores, np.float64)
    return (scores[..., :1] - scores).mean(axis=-1)


def drop(whole: Any, kept: Any) -> np.ndarray:
    """max(0, Y - O)/Y: the share of the probability that is lost: 0 .. 1.

    Chattopadhay et al. 2018 (Grad-CAM++, arXiv:1710.11063, section 4.1.1). Its mean is
    the average drop. NaN where Y is 0.

    Args:
      whole: Y, probability for the picture.
      kept: O, probability for the picture masked by its heatmap.
    """
    whole, kept = np.asarray(whole, np.float64), np.asarray(kept, np.float64)
    lost = np.maximum(whole - kept, 0.0)
    return np.divide(lost, whole, out=np.full_like(lost, np.nan), where=whole > 0)


def increase(whole: Any, kept: Any) -> np.ndarray:
    """1.0 if the probability rose, else 0.0; its mean is the increase in
    confidence (same source as `drop`)."""
    return (np.asarray(kept) > np.asarray(whole)).astype(np.float64)
