"""Targets: what is asked of the model.

Notation: z are the logits of the finest head, s_n = logsumexp(z_c, c below n) is the
score of taxon n at any rank (the log of the sum of its leaves' probabilities, up to the
same constant for all n), s_root = logsumexp(z). Every target is such a score or the
difference of two, and its gradient is

    d s_n / d z_c = P(c | n) for c below n, else 0,

so with a linear head every coarser rank's map is a probability-weighted sum of the
species' maps. That is of labels that exclude one another. Independent labels (sigmoids)
have the score z_c each, and no steps, paths, marginals or log_probability. A class of a
one-logit head has its log-odds as score, z for class 1 and -z for class 0.

A taxon may be None (the one that the model predicts, chosen on the device in the same
pass), a label, a display name or lineage path, or a sequence of these, one for each
image.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hiercam_keras.cam.score_space import ScoreSpace
from hiercam_keras.errors import UserError

Taxon = None | int | str | Sequence

# How the asked row is picked.
GIVEN, BEST, ANCESTOR = 0, 1, 2
# What it is set against. GIVEN_ROW reads the row in `other`.
NONE, PARENT, SIBLINGS, RUNNER_UP, ROOT_ROW, GIVEN_ROW = 0, 1, 2, 3, 4, 5
_NEAREST = "nearest"
# The nearest are several rows; the one that is reported is the runner-up.
_AGAINST = {"siblings": SIBLINGS, "runner_up": RUNNER_UP, _NEAREST: RUNNER_UP}


@dataclasses.dataclass(frozen=True)
class Target:
    """One question, asked of every image of a batch. Build it with the functions below.

    Attributes:
      kind: label, log_probability, step, path or contrast.
      rank: None is the finest head's rank.
      taxon: see the module's docstring.
      against, count, strength: contrast only.
      score: "own" or "marginal", see `ScoreSpace.group`.
      ranks: path only.
    """

    kind: str
    rank: str | None = None
    taxon: Taxon = None
    against: Any = None
    score: str = "own"
    ranks: tuple[str, ...] | None = None
    count: int = 0
    strength: float = 1.0

    @property
    def title(self) -> str:
        """A short name, as it stands in file names and tables."""
        rank = self.rank or "own"
        if self.kind == "contrast":
            named = self.against if isinstance(self.against, str) else "taxon"
            number = str(self.count) if self.count else ""
            strength = f"-{self.strength:g}" if self.strength != 1 else ""
            return f"contrast-{rank}-{named}{number}{strength}"
        marginal = "-marginal" if self.score == "marginal" else ""
        return f"{self.kind}-{rank}{marginal}"


def label(taxon: Taxon = None, rank: str | None = None, score: str = "own") -> Target:
    """y = z_c, the logit of a class at the model's rank (Selvaraju et al. 2017,
    arXiv:1610.02391: the score before the softmax). At a coarser rank: that rank's own
    head where the model has one, else the marginal s_n.

    Args:
      taxon: predicted (None), true labels (B,), or named.
      rank: default the finest head's.
      score: "marginal" asks the finest head even where the rank has its own.
    """
    return Target("label", rank, taxon, score=score)


def predicted(rank: str | None = None, score: str = "own") -> Target:
    """The score of the taxon that is predicted at `rank`: argmax over its scores."""
    return Target("label", rank, None, score=score)


def marginal(rank: str, taxon: Taxon = None) -> Target:
    """s_n = logsumexp(z_c, c below n): the rank-marginal of the finest head.

    The log of a sum of softmax probabilities over the leaves of a hierarchy is how
    coarser classes are scored since hierarchical classification by leaf marginals
    (Deng et al. 2012, "Hedging your bets", doi:10.1109/CVPR.2012.6248086).
    """
    return Target("label", rank, taxon, score="marginal")


def log_probability(taxon: Taxon = None, rank: str | None = None) -> Target:
    """log P(n) = s_n - s_root, the log-softmax score of a taxon at any rank."""
    return Target("log_probability", rank, taxon, score="marginal")


def step(rank: str, taxon: Taxon = None) -> Target:
    """log P(child | parent) = s_child - s_parent: what chose this genus within this
    family. The chain rule of conditional softmax over a tree (Redmon and Farhadi 2017,
    YOLO9000, arXiv:1612.08242, section 4), here read off a flat head.

    A step into an only child is 0 by definition, and the result marks it `trivial`.
    With `taxon=None` the child is the predicted species' ancestor at `rank`, so that
    steps of several ranks form one path.
    """
    return Target("step", rank, taxon)


def path(leaf: Taxon = None, ranks: Sequence[str] | None = None) -> Target:
    """All steps from the root to a leaf, one target for each rank, coarse to fine.

    Their scores add up to log P(leaf), and for methods that are linear in the gradient
    (gradcam, hirescam) so do their signed cams: the chain rule, telescoped.

    Args:
      leaf: a taxon of the finest head's rank; None is the predicted one.
      ranks: keep only the steps into these ranks.
    """
    return Target("path", None, leaf, ranks=tuple(ranks) if ranks else None)


def contrast(
    rank: str | None = None,
    taxon: Taxon = None,
    against: Any = "runner_up",
    *,
    count: int = 3,
    strength: float = 1.0,
) -> Target:
    """s_a - strength * s_b: what speaks for taxon a and not for b (contrastive
    explanation after Prabhushankar et al. 2020, arXiv:2008.00178).

    Against the k nearest taxa it is s_a - strength * mean(s_b1, ..., s_bk), which is
    Finer-CAM's question (Zhang et al. 2025, arXiv:2501.11309): what distinguishes a
    from those that the model takes for similar. Theirs is the mean of the k maps of
    s_a - strength * s_b, and so is this one for methods that are linear in the
    gradient.

    Args:
      rank: default the finest head's; scores are the finest head's marginals.
      taxon: a; None is the predicted one.
      against: "siblings" (s_b = logsumexp over the other children of a's parent),
        "runner_up" (the best other taxon of the rank), "nearest" (the `count` best
        other taxa of the rank for the image), or a taxon of the same rank.
      count: k, of "nearest"; all others where the rank has fewer.
      strength: how much of the other score is taken off, above 0.

    Raises:
      UserError: a count or strength that is not above 0.
    """
    if not isinstance(count, numbers.Integral) or count < 1:
        raise UserError(f"count is the number of nearest taxa, from 1; found {count!r}")
    if not isinstance(strength, numbers.Real) or not 0 < strength < float("inf"):
        raise UserError(
            f"strength is a number above 0, found {strength!r}; without anything to "
            "take off ask label()"
        )
    nearest = isinstance(against, str) and against == _NEAREST
    return Target(
        "contrast",
        rank,
        taxon,
        against=against,
        score="marginal",
        count=int(count) if nearest else 0,
        strength=float(strength),
    )


class Codes(NamedTuple):
    """K targets of B images as integers; every field is int32 (B, K).

    pick: GIVEN (the row in `row`), BEST (of `group`) or ANCESTOR (at the rank of
      `group`, of the predicted leaf). against: NONE .. GIVEN_ROW. other: a row. count:
      of the nearest rows that are set against, 0 for other targets; strength: float32,
      of what is set against. These two are None where no target needs them, so that
      the program of the others is as if there were none.
    """

    pick: np.ndarray
    group: np.ndarray
    row: np.ndarray
    against: np.ndarray
    other: np.ndarray
    count: np.ndarray | None = None
    strength: np.ndarray | None = None

    def take(self, images: np.ndarray) -> Codes:
        """The targets of some images."""
        return Codes(*(None if field is None else field[images] for field in self))


def expand(asked: Any, space: ScoreSpace) -> tuple[Target, ...]:
    """Normalizes targets to a tuple of Target, expanding paths.

    None is the predicted class. Integers of shape (B,) or (B, K) are labels of the
    finest head: one, or K, for each image. A Target, or a sequence of them, is asked of
    every image.
    """
    if asked is None:
        asked = predicted()
    if isinstance(asked, Target):
        asked = [asked]
    if not isinstance(asked, (list, tuple)) or not all(
        isinstance(target, Target) for target in asked
    ):
        columns = label_array(asked, space)
        asked = [label(column) for column in columns.reshape(len(columns), -1).T]
    found = []
    for target in asked:
        if target.kind != "path":
            found.append(target)
            continue
        for rank in target.ranks or space.ranks:
            found.append(Target("step", rank, target.taxon, against="leaf"))
    if not found:
        raise UserError("no targets: ask for at least one")
    return tuple(found)


def label_array(labels: Any, space: ScoreSpace) -> np.ndarray:
    """Integer labels (B,) or (B, K) from an array of any library or a list.

    Raises:
      UserError: anything else. Rows of zeros and ones, as many as there are labels, are
        taken for one-hot or multi-hot vectors and not for K targets an image.
    """
    array = _as_numpy(labels)
    size = space.num_labels[space.finest]
    hot = array.dtype.kind in "biuf" and array.ndim == 2 and array.shape[1] == size
    if hot and np.isin(array, (0, 1)).all():
        raise UserError(
            f"targets of shape {array.shape}, all 0 or 1, look like one-hot vectors of "
            f"the {size} labels: give integer labels, labels.argmax(-1). To ask every "
            "image for several labels give [targets.label(0), targets.label(1)]"
        )
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise UserError(
            "targets are None, Target objects, or integer labels of shape (batch,) or "
            f"(batch, K); found {type(labels).__name__} of shape {array.shape} and "
            f"type {array.dtype}"
        )
    return array


def _as_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor, perhaps on another device
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:  # rows of different lengths, for one
        raise UserError(f"targets are no array of labels ({error})") from error


def encode(targets: Sequence[Target], space: ScoreSpace, batch: int) -> Codes:
    """Targets as integers, of shape (batch, len(targets)).

    Raises:
      UserError: a per-image sequence that does not have `batch` entries, an unknown
        rank, taxon or label, a contrast that has nothing to stand against.
    """
    columns = [_encode_one(target, space, batch) for target in targets]
    stacked = [np.stack(field, axis=1) for field in zip(*columns, strict=True)]
    codes = Codes(*(field.astype(np.int32) for field in stacked))
    shape = (batch, len(targets))
    if any(target.count for target in targets):
        count = np.array([target.count for target in targets], np.int32)
        codes = codes._replace(count=np.broadcast_to(count, shape))
    if any(target.strength != 1 for target in targets):
        strength = np.array([target.strength for target in targets], np.float32)
        codes = codes._replace(strength=np.broadcast_to(strength, shape))
    return codes


def _encode_one(target: Target, space: ScoreSpace, batch: int) -> tuple:
    full = lambda value: np.full(batch, value, np.int64)  # noqa: E731
    is_step = target.kind == "step"
    score = "marginal" if is_step else target.score
    _check_exclusive(target, score, space)
    group = space.group(target.rank, score)
    against, other = NONE, full(0)
    if is_step:
        against = PARENT
    elif target.kind == "log_probability":
        against = ROOT_ROW
    elif target.kind == "contrast":
        if isinstance(target.against, str) and target.against in _AGAINST:
            against = _AGAINST[target.against]
        else:
            against = GIVEN_ROW
            other = _rows(target.against, target, space, score, batch)
    elif space.groups[group].head.one_logit:
        against = RUNNER_UP  # the other class: the difference is the class's log-odds
    if target.taxon is None:
        pick, row = (ANCESTOR if is_step else BEST), full(0)
    elif is_step and target.against == "leaf":
        leaves = _labels(target.taxon, space.finest, space, batch)
        pick, row = GIVEN, space.ancestors[leaves, space.ranks.index(target.rank)]
    else:
        pick, row = GIVEN, _rows(target.taxon, target, space, score, batch)
        _check_contrast(target, space, row, against, other)
    return full(pick), full(group), row, full(against), other


def _check_exclusive(target, score: str, space) -> None:
    """Refuses questions about sums of probabilities of independent labels."""
    siblings = isinstance(target.against, str) and target.against == "siblings"
    simple = target.kind == "contrast" and not siblings  # against may be an array
    if score == "marginal" and not simple and space.head_of[space.finest].independent:
        raise UserError(
            f"{target.title}: steps, paths, marginals, log_probability and contrasts "
            "with siblings are of labels that exclude one another (a softmax), and the "
            f"labels of {space.finest} are independent sigmoids; ask label(), "
            "predicted() or contrast() against a label"
        )


def _check_contrast(target, space, row, against, other) -> None:
    alone = against == SIBLINGS and space.only_child[row].any()
    same = against == GIVEN_ROW and (row == other).any()
    if alone or same:
        image = int(np.argmax(space.only_child[row] if alone else row == other))
        raise UserError(
            f"{target.title}: {space.name(int(row[image]))} "
            + ("has no sibling to stand against" if alone else "stands against itself")
        )


def _rows(taxon, target, space, score, batch) -> np.ndarray:
    rank = target.rank or space.finest
    group = space.groups[space.group(rank, score)]
    return group.start + _labels(taxon, rank, space, batch)


def _labels(taxon, rank: str, space: ScoreSpace, batch: int) -> np.ndarray:
    """Labels (B,) of a taxon given as a label, a name, or a sequence of these."""
    if isinstance(taxon, (str, numbers.Integral)):
        return np.full(batch, _label(taxon, rank, space), np.int64)
    if hasattr(taxon, "__array__"):
        taxon = _as_numpy(taxon)
        if taxon.ndim == 0:
            return np.full(batch, _label(taxon[()], rank, space), np.int64)
    if not isinstance(taxon, (Sequence, np.ndarray)) or np.ndim(taxon) != 1:
        raise UserError(
            "a taxon is None, an integer label or a name, or a sequence of these, one "
            f"for each image; found {taxon!r}"
        )
    found = [_label(one, rank, space) for one in taxon]
    if len(found) != batch:
        raise UserError(
            f"expected one target for each of the {batch} images of the batch, "
            f"found {len(found)}"
        )
    return np.asarray(found, np.int64)


def _label(taxon, rank: str, space: ScoreSpace) -> int:
    if isinstance(taxon, str):
        return space.find(taxon, rank)
    if not isinstance(taxon, numbers.Integral):
        raise UserError(
            f"a target taxon is an integer label or a name, not {taxon!r} "
            f"({type(taxon).__name__})"
        )
    space.row(rank, int(taxon), "marginal" if rank in space.ranks else "own")
    return int(taxon)
