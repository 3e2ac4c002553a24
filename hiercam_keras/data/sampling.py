"""Class imbalance: examples sampled, or losses weighted, by class size.

Of the 1,486 bird species of iNaturalist 2021, 678 are of one order. "balanced" gives
every class the same share, "sqrt" a share by the square root of its size, in between
that and "none".
"""

from collections.abc import Mapping

import numpy as np

from hiercam_keras.data import augment
from hiercam_keras.errors import UserError
from hiercam_keras.taxonomy.partial import LabelSpace

KINDS = ("none", "balanced", "sqrt")


def check_kind(kind: str, field: str) -> None:
    """Raises UserError if a kind is none of KINDS; `field` is the config's."""
    if kind not in KINDS:
        raise UserError(f"{field} is {kind!r}: use one of {', '.join(KINDS)}.")


def example_weights(
    labels: np.ndarray, kind: str, field: str, space: LabelSpace | None = None
) -> np.ndarray:
    """Weights of examples by the size of their class.

    An example that is identified only to a coarser rank counts in equal parts for the
    classes below its taxon, and its weight is the mean of theirs. So "balanced" gives
    every class the same share with such examples, too.

    Args:
      labels: int (N,) at one rank.
      kind: one of `KINDS`.
      field: name of the config's field, for the error.
      space: of the labels, if some are of coarser ranks; -1 has the weight 1.

    Returns:
      float64 (N,), of mean 1: N / (K n_c) if balanced, for a class of n_c of the N
      examples and K classes; proportional to 1 / sqrt(n_c) if sqrt.

    Raises:
      UserError: there is no such kind.
    """
    check_kind(kind, field)
    labels = np.asarray(labels)
    if kind == "none":
        return np.ones(len(labels))
    if space is not None:
        return _partial_weights(labels, kind, space)
    sizes = np.bincount(labels)[labels].astype(np.float64)
    weights = 1 / (sizes if kind == "balanced" else np.sqrt(sizes))
    return weights / weights.mean()


def _partial_weights(labels: np.ndarray, kind: str, space: LabelSpace) -> np.ndarray:
    counts = np.bincount(labels[labels >= 0], minlength=space.size)
    sizes = counts[: space.num_taxa].astype(np.float64)
    above = []  # per coarser rank: its first label, owners of the classes, their number
    for offset, parents, size in zip(
        space.offsets, space.parents, space.sizes, strict=False
    ):
        has = parents >= 0
        below = np.bincount(parents[has], minlength=size)
        share = counts[offset : offset + size] / np.maximum(below, 1)
        sizes[has] += share[parents[has]]
        above.append((offset, parents, below))
    with np.errstate(divide="ignore"):
        own = 1 / (sizes if kind == "balanced" else np.sqrt(sizes))
    own[sizes == 0] = 0.0
    weights = np.zeros(space.size + 1)  # the last is that of the label -1
    weights[: space.num_taxa] = own
    for offset, parents, below in above:
        has = parents >= 0
        total = np.bincount(parents[has], own[has], minlength=len(below))
        weights[offset : offset + len(below)] = total / np.maximum(below, 1)
    found = weights[labels]
    found[labels >= 0] /= found[labels >= 0].mean()
    found[labels < 0] = 1.0
    return found


def rank_of(labels: Mapping[str, np.ndarray], rank: str) -> str:
    """The rank of the balanced classes; "" is the finest, the last of the labels.

    Raises:
      UserError: no head is trained at the rank.
    """
    if not rank:
        return list(labels)[-1]
    if rank not in labels:
        raise UserError(
            f"data.sampling_rank is {rank!r}, but the run trains {', '.join(labels)}: "
            'use one of them, or "" for the finest.'
        )
    return rank


def order(
    seed: int, epoch: int, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch in which examples occur in proportion to their weights.

    Systematic sampling: an example of weight w occurs floor(w) or ceil(w) times, and a
    class as often as the sum of its weights, up to one. Which examples occur once more
    is drawn again in each epoch.

    Args:
      seed, epoch: the order is a function of these and of the next two.
      labels: int (N,).
      weights: float (N,) of mean 1.

    Returns:
      Two int64 arrays (N,): examples, and a distinct number for each repetition of an
      example, so that its augmentation differs.
    """
    count = len(labels)
    sequence = np.random.SeedSequence((seed, epoch, 2))
    rng = np.random.Generator(np.random.Philox(sequence))
    mixed = rng.permutation(count)
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]
    ends = np.cumsum(weights[mixed])
    ends *= count / ends[-1]
    ends[-1] = count
    marks = np.floor(ends + rng.random()).astype(np.int64)
    marks -= marks[-1] - count
    times = np.diff(np.maximum(marks, 0), prepend=0)
    drawn = np.repeat(mixed, times)
    starts = np.repeat(np.cumsum(times) - times, times)
    repetition = np.arange(count) - starts
    places = augment.permutation(seed, epoch, count)
    return drawn[places], (drawn + count * repetition)[places]
