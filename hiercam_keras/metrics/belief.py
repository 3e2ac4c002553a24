"""How far down the tree an answer is believed: from the root to the finest sure rank.

The answer for a picture is a path of taxa, at each rank the likeliest child of the
taxon above. Its probabilities can only decrease downwards. A rule ends the path at the
*believed* taxon:

* `calibrate` chooses a threshold for each rank on pictures with known taxa, with a
  guarantee on the accuracy of the names that are given at the rank;
* `roll_up` is the fixed rule of SpeciesNet, for comparison.

NumPy and SciPy only. Selective classification with a guarantee: Geifman and El-Yaniv
2017 (arXiv:1705.08500); fixed sequences of tests: Angelopoulos et al. 2021, Learn then
test (arXiv:2110.01052); on a tree: Goren et al. 2024 (arXiv:2405.11533).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiercam_keras.taxonomy.scores import marginal_probabilities
from hiercam_keras.taxonomy.tree import Taxonomy

ROOT = -1  # believed depth of a picture with no believed name
UNLABELLED = -2  # true label of a picture that is not identified down to a rank
_CHAINS = 4  # sequences of tests at each rank
_ROUNDING = 1e-4  # of the log-odds of one picture in two batches of float32


@dataclass(frozen=True)
class Paths:
    """The answers for N pictures, from the coarsest rank to the finest.

    Attributes:
      ranks: those with several taxa, coarse to fine: R of them.
      taxa: int (N, R), labels at each rank; each is a child of the one before. -1 at a
        rank that the path skips (a gap of the tree).
      probabilities: float64 (N, R), not increasing along a row.
    """

    ranks: tuple[str, ...]
    taxa: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Thresholds:
    """Least probabilities of believed names, and the pictures that they come from.

    Attributes:
      ranks: R ranks, coarse to fine.
      values: float64 (R,), not decreasing; inf at a rank that is never believed.
      pictures: int (R,), how many of known taxon there were at each rank.
      named: int (R,), how many of them got a name there.
      right: int (R,), how many of these were right.
    """

    ranks: tuple[str, ...]
    values: np.ndarray
    pictures: np.ndarray
    named: np.ndarray
    right: np.ndarray


def ranks_of(taxonomy: Taxonomy, finest: str) -> tuple[str, ...]:
    """Ranks with several taxa down to `finest`, coarse to fine: those of `Paths`."""
    known = taxonomy.ranks[: taxonomy.ranks.index(finest) + 1]
    return tuple(rank for rank in known if taxonomy.num_labels(rank) > 1)


def paths(probabilities: Any, taxonomy: Taxonomy, finest: str) -> Paths:
    """The likeliest child at each rank, from the root down.

    Args:
      probabilities: (N, labels) at the rank `finest`, which add up to 1.
      taxonomy: of the labels.
      finest: rank of the probabilities.
    """
    ranks = ranks_of(taxonomy, finest)
    probabilities = np.asarray(probabilities, np.float64)
    taxa = np.zeros((len(probabilities), len(ranks)), np.int64)
    values = np.zeros(taxa.shape)
    rows = np.arange(len(probabilities))
    above = None  # the node of each leaf, and the chosen one of each picture
    for depth, nodes in enumerate(_nodes(taxonomy, finest, ranks)):
        starts = np.flatnonzero(np.diff(nodes, prepend=-1))
        of_rank = np.add.reduceat(probabilities, starts, axis=-1)
        if above is not None:
            below = above[0][starts][None] == above[1][:, None]
            of_rank = np.where(below, of_rank, -1.0)
        chosen = of_rank.argmax(-1)
        above = nodes, chosen
        taxa[:, depth] = taxonomy.parents(finest, ranks[depth])[starts][chosen]
        values[:, depth] = np.where(taxa[:, depth] < 0, 1.0, of_rank[rows, chosen])
    # Sums of float values in another order may exceed that of the parent by an ulp.
    values = np.minimum(np.minimum.accumulate(values, axis=1), 1.0)
    return Paths(ranks, taxa, values)


def _nodes(taxonomy: Taxonomy, finest: str, ranks: Sequence[str]) -> list[np.ndarray]:
    """For each rank the number of each leaf's taxon there, in the order of the leaves.

    A leaf that skips the rank has its taxon at the next finer rank as a node of its
    own. Without gaps the numbers are the labels.
    """
    found: list[np.ndarray] = []
    finer = np.arange(taxonomy.num_labels(finest))
    for rank in reversed(ranks):
        labels = taxonomy.parents(finest, rank)
        key = np.where(labels >= 0, labels, taxonomy.num_labels(rank) + finer)
        finer = np.cumsum(np.diff(key, prepend=key[:1]) != 0)
        found.append(finer)
    return found[::-1]


def _existing(found: Paths, depth: Any) -> np.ndarray:
    """The depths, up to the next rank that the path does not skip."""
    depth = np.array(depth)
    for at in reversed(range(len(found.ranks))):
        depth[(depth == at) & (found.taxa[:, at] < 0)] = at - 1
    return depth


def calibrate(
    found: Paths,
    truth: Mapping[str, Any],
    accuracy: float = 0.9,
    confidence_level: float = 0.9,
) -> Thresholds:
    """Chooses thresholds so that the names given at each rank are right.

    With probability `confidence_level` over the calibration pictures, all of this
    holds: of new pictures with a believed name at a rank (it is believed there or at a
    finer rank), at least a share `accuracy` has the right name there. It assumes that
    calibration pictures and new ones are drawn independently from one distribution.

    For each rank the pictures are sorted by probability, and it is tested whether the
    k surest have an error rate above 1 - accuracy (exact binomial test). Sequences of
    growing k begin at a few fixed places; each ends at the first k that fails and
    spends an equal part of 1 - confidence_level, so no correction for the number of
    thresholds tried is due. Of the thresholds that passed the lowest is taken that is
    no lower than that of the rank above.

    Args:
      found: answers for N pictures, independent of each other: one of each group.
      truth: true labels (N,) by rank. -1 is a taxon that is not among the labels, for
        which each answer is wrong; UNLABELLED excludes a picture at a rank.
      accuracy: wanted share of right names, above 0 and below 1.
      confidence_level: above 0 and below 1.

    Raises:
      ValueError: a number is out of range, or truth does not fit the paths.
    """
    for name, value in (("accuracy", accuracy), ("confidence_level", confidence_level)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, expected a number between 0 and 1")
    budget = (1 - confidence_level) / max(len(found.ranks), 1)
    values, counts, above = [], [], 0.0
    for depth, rank in enumerate(found.ranks):
        labels = np.asarray(truth[rank])
        if labels.shape != (len(found.taxa),):
            raise ValueError(
                f"truth at {rank} has shape {labels.shape}, expected "
                f"({len(found.taxa)},)"
            )
        # At a gap no name is given.
        known = (labels != UNLABELLED) & (found.taxa[:, depth] >= 0)
        confidence = found.probabilities[known, depth]
        right = found.taxa[known, depth] == labels[known]
        passed = _passed(confidence, right, accuracy, budget)
        passed = passed[passed >= above]
        above = passed.min() if passed.size else np.inf
        named = confidence >= above
        values.append(above)
        counts.append((len(right), int(named.sum()), int(right[named].sum())))
    columns = np.array(counts, np.int64).reshape(-1, 3).T
    return Thresholds(found.ranks, np.array(values), *columns)


def least_pictures(accuracy: float, confidence_level: float, ranks: int) -> int:
    """Pictures of known taxon below which no name can be believed, all right or not."""
    budget = (1 - confidence_level) / ranks / _CHAINS
    return int(np.ceil(np.log(budget) / np.log(accuracy) - 1e-9))


def believed(found: Paths, thresholds: Sequence[float] | np.ndarray) -> np.ndarray:
    """Depth of the believed taxon of each path: int (N,), an index of `ranks` or ROOT.

    It is the finest rank whose probability reaches its threshold, if those of all
    coarser ranks do. Thresholds that do not decrease from coarse to fine make this
    monotone: more evidence for a descendant of the believed taxon never gives a
    coarser rank. A picture at a threshold reaches it in another batch, too, where the
    last digits of its logits may differ.
    """
    thresholds = np.asarray(thresholds, np.float64)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        near = _log_odds(found.probabilities) >= _log_odds(thresholds) - _ROUNDING
    # inf is above all: its log-odds are NaN, and no number reaches them.
    sure = (found.probabilities >= thresholds) | near
    return np.logical_and.accumulate(sure, axis=1).sum(1) - 1


def _log_odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


def roll_up(
    probabilities: Any,
    taxonomy: Taxonomy,
    finest: str,
    sure: float = 0.8,
    enough: float = 0.65,
    best: int = 5,
) -> tuple[Paths, np.ndarray]:
    """SpeciesNet's fixed rule, on the probabilities of a classifier alone.

    The likeliest label above `sure`; otherwise the sums of the `best` likeliest labels
    at each coarser rank, from fine to coarse, and the first sum above `enough`
    (speciesnet 5.0.6, classifier without a detection). Taxa that are not allowed are
    excluded before, so there is one roll-up, with one beginning.

    Returns:
      The path of the taxon at each rank with its sum, and the believed depth (N,) as in
      `believed`. The path is that of the believed taxon, and below it of the likeliest
      label. Its sums are of the `best` labels, not of all.
    """
    probabilities = np.asarray(probabilities, np.float64)
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    kept = np.zeros_like(probabilities)
    top = order[:, :best]
    np.put_along_axis(kept, top, np.take_along_axis(probabilities, top, 1), 1)
    ranks = ranks_of(taxonomy, finest)
    rows = np.arange(len(probabilities))
    taxa = np.stack([taxonomy.parents(finest, rank)[order[:, 0]] for rank in ranks], 1)
    sums = {
        rank: marginal_probabilities(kept, taxonomy, finest, rank) for rank in ranks
    }
    depth = np.full(len(probabilities), ROOT)
    depth[probabilities[rows, order[:, 0]] > sure] = len(ranks) - 1
    for at in reversed(range(len(ranks) - 1)):
        winner = sums[ranks[at]].argmax(-1)
        ends = (depth == ROOT) & (sums[ranks[at]][rows, winner] > enough)
        depth[ends] = at
        for above in range(at + 1):
            parents = taxonomy.parents(ranks[at], ranks[above])
            taxa[ends, above] = parents[winner[ends]]
    values = np.stack([sums[r][rows, taxa[:, i]] for i, r in enumerate(ranks)], axis=1)
    values = np.where(taxa < 0, 1.0, values)
    return Paths(ranks, taxa, np.minimum.accumulate(values, axis=1)), depth


def coverage(found: Paths, depth: Any, taxonomy: Taxonomy, finest: str) -> np.ndarray:
    """How much each believed taxon says: 0 at the root .. 1 for a single label, (N,).

    1 - log(labels below the taxon) / log(all labels): the hierarchical coverage of
    Goren et al. 2024 (arXiv:2405.11533) for equally frequent labels.
    """
    depth = _existing(found, depth)
    said = np.zeros(len(depth))
    total = np.log(taxonomy.num_labels(finest))
    for at, rank in enumerate(found.ranks):
        parents = taxonomy.parents(finest, rank)
        sizes = np.bincount(parents[parents >= 0])
        here = depth == at
        said[here] = 1 - np.log(sizes[found.taxa[here, at]]) / total
    return said


def correct(found: Paths, depth: Any, truth: Mapping[str, Any]) -> np.ndarray:
    """Whether each believed name is right: float (N,), 1, 0, or NaN if not known.

    The root, which says nothing, is right.
    """
    depth = _existing(found, depth)
    right = np.ones(len(depth))
    for at, rank in enumerate(found.ranks):
        labels, here = np.asarray(truth[rank]), depth == at
        right[here] = found.taxa[here, at] == labels[here]
        right[here & (labels == UNLABELLED)] = np.nan
    return right


@dataclass(frozen=True)
class RiskCoverage:
    """Hierarchical risk against coverage, for one threshold at all ranks.

    Attributes:
      thresholds: from high to low, (T,).
      coverage: mean `coverage` of the pictures, (T,), not decreasing.
      risk: share of wrong believed names, the root counted as right, (T,).
      area: of the risk over the coverage, up to the largest coverage that is reached.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float


def risk_coverage(
    found: Paths,
    truth: Mapping[str, Any],
    taxonomy: Taxonomy,
    finest: str,
    points: int = 201,
) -> RiskCoverage:
    """The curve of Goren et al. 2024 (arXiv:2405.11533), section 2, and its area.

    Pictures that are not identified down to their believed rank do not count at it.
    """
    grid = np.unique(np.quantile(found.probabilities, np.linspace(0, 1, points)))
    thresholds = np.concatenate([[np.inf], grid[::-1]])
    said, risk = [], []
    for threshold in thresholds:
        depth = believed(found, np.full(len(found.ranks), threshold))
        right = correct(found, depth, truth)
        known = np.isfinite(right)
        said.append(coverage(found, depth, taxonomy, finest)[known].mean())
        risk.append(1 - right[known].mean())
    said, risk = np.array(said), np.array(risk)
    return RiskCoverage(thresholds, said, risk, float(np.trapezoid(risk, said)))


def _passed(
    confidence: np.ndarray, right: np.ndarray, accuracy: float, budget: float
) -> np.ndarray:
    """Thresholds at which the accuracy is proven, by sequences of tests."""
    from scipy.stats import binom  # takes a second to import

    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], right[order]
    total = len(confidence)
    level = budget / _CHAINS
    first = int(np.ceil(np.log(level) / np.log(accuracy) - 1e-9))
    if total < first:
        return np.array([])
    # Equal confidences have one threshold, with all of them above it.
    last = np.append(np.flatnonzero(np.diff(confidence)), total - 1) + 1
    last = last[last >= first]
    errors = np.cumsum(~right)[last - 1]
    small = binom.cdf(errors, last, 1 - accuracy) <= level
    starts = np.geomspace(first, total, _CHAINS).round()
    kept = np.zeros(len(last), bool)
    for start in np.searchsorted(last, starts):
        failed = np.flatnonzero(~small[start:])
        kept[start : start + failed[0] if failed.size else None] = True
    thresholds = confidence[last - 1]
    thresholds[-1] = 0.0  # all pictures: the same test, without a threshold
    return thresholds[kept]
