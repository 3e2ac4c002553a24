"""Targets: the scores that an explainer explains.

Notation: z are the logits of the finest head. s_n = logsumexp(z_c, c below n) is the
score of taxon n at any rank: up to a constant equal for all n, the logarithm of the sum
of its leaves' probabilities. s_root = logsumexp(z). Every target is such a score or a
difference of two, and

    d s_n / d z_c = P(c | n) for c below n, else 0,

so with a linear head the map of a coarser rank is a probability-weighted sum of the
maps of species. This holds for mutually exclusive labels. Independent labels (sigmoids)
have the score z_c each, and no steps, paths, marginals or log_probability. The score of
a class of a one-logit head is its log-odds, z for class 1 and -z for class 0.

A taxon is None (the predicted one, selected on the device in the same pass), a label, a
display name or lineage path, or a sequence of labels or names, one for each image. In
an array of labels for `step`, UNKNOWN marks an image without a taxon at the rank.
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
UNKNOWN = -1  # as a label: the model has no taxon for the image at this rank

# Selection of the target row.
GIVEN, BEST, ANCESTOR = 0, 1, 2
# Selection of the opposing row. GIVEN_ROW is the row in `other`.
NONE, PARENT, SIBLINGS, RUNNER_UP, ROOT_ROW, GIVEN_ROW = 0, 1, 2, 3, 4, 5
_NEAREST = "nearest"
# "nearest" uses several rows; the runner-up is reported as the rival.
_AGAINST = {"siblings": SIBLINGS, "runner_up": RUNNER_UP, _NEAREST: RUNNER_UP}


@dataclasses.dataclass(frozen=True)
class Target:
    """One target for all images of a batch. Create it with the functions below.

    Attributes:
      kind: "label", "log_probability", "step", "path" or "contrast".
      rank: None for the rank of the finest head.
      taxon: see the module docstring.
      against, count, strength: of `contrast`.
      score: "own" or "marginal", see `ScoreSpace.group`.
      ranks: of `path`.
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
        """A short name for file names and tables, such as "step-family"."""
        rank = self.rank or "own"
        if self.kind == "contrast":
            named = self.against if isinstance(self.against, str) else "taxon"
            number = str(self.count) if self.count else ""
            strength = f"-{self.strength:g}" if self.strength != 1 else ""
            return f"contrast-{rank}-{named}{number}{strength}"
        marginal = "-marginal" if self.score == "marginal" else ""
        return f"{self.kind}-{rank}{marginal}"


def label(taxon: Taxon = None, rank: str | None = None, score: str = "own") -> Target:
    """y = z_c, the logit of a class.

    This is the score before the softmax (Selvaraju et al. 2017, arXiv:1610.02391). At a
    coarser rank it is the logit of that rank's own head if the model has one, else the
    marginal s_n.

    Args:
      taxon: None for the predicted one, labels (B,), or names.
      rank: by default that of the finest head.
      score: "marginal" uses the finest head even if the rank has its own.
    """
    return Target("label", rank, taxon, score=score)


def predicted(rank: str | None = None, score: str = "own") -> Target:
    """The score of the predicted taxon at `rank`, the argmax of the scores there."""
    return Target("label", rank, None, score=score)


def marginal(rank: str, taxon: Taxon = None) -> Target:
    """s_n = logsumexp(z_c, c below n): the rank-marginal of the finest head.

    Up to a constant this is the logarithm of the sum of the softmax probabilities of
    the leaves (Deng et al. 2012, "Hedging your bets", doi:10.1109/CVPR.2012.6248086).
    """
    return Target("label", rank, taxon, score="marginal")


def log_probability(taxon: Taxon = None, rank: str | None = None) -> Target:
    """log P(n) = s_n - s_root, the log-softmax score of a taxon at any rank."""
    return Target("log_probability", rank, taxon, score="marginal")


def step(rank: str, taxon: Taxon = None) -> Target:
    """log P(child | parent) = s_child - s_parent, such as a genus within its family.

    The conditional probabilities of a softmax over a tree (Redmon and Farhadi 2017,
    YOLO9000, arXiv:1612.08242, section 4), computed from a flat head.

    A step into an only child is 0, and the result marks it as `trivial`. With
    `taxon=None` the child is the ancestor at `rank` of the predicted leaf, so that
    steps of several ranks form one path. For an image with the label UNKNOWN nothing
    is asked: its target is `trivial` and its label is UNKNOWN.
    """
    return Target("step", rank, taxon)


def path(leaf: Taxon = None, ranks: Sequence[str] | None = None) -> Target:
    """All steps from the root to a leaf, one target for each rank, coarse to fine.

    The scores sum to log P(leaf). For methods that are linear in the gradient (gradcam,
    hirescam) the signed cams sum to the cam of log P(leaf).

    Args:
      leaf: a taxon at the rank of the finest head; None for the predicted one.
      ranks: only steps into these ranks; None for all.
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
    """s_a - strength * s_b: evidence for taxon a as opposed to taxon b.

    A contrastive explanation after Prabhushankar et al. 2020, arXiv:2008.00178.

    Against the k nearest taxa the score is s_a - strength * mean(s_b1, ..., s_bk), the
    target of Finer-CAM (Zhang et al. 2025, arXiv:2501.11309): evidence that
    distinguishes a from taxa that are similar for the model. Finer-CAM averages the k
    maps of s_a - strength * s_b, which is equal for methods that are linear in the
    gradient.

    Args:
      rank: by default that of the finest head; scores are marginals of the finest head.
      taxon: a; None for the predicted one.
      against: "siblings" (s_b = logsumexp over the other children of a's parent),
        "runner_up" (the other taxon of the rank with the largest score), "nearest" (the
        `count` other taxa of the rank with the largest scores), or a taxon of the rank.
      count: k of "nearest"; all others if the rank has fewer.
      strength: factor of the opposing score, above 0.

    Raises:
      UserError: `count` or `strength` is not above 0.
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
    """K targets of B images as integers; all fields are int32 (B, K) except `strength`.

    Attributes:
      pick: GIVEN (the row in `row`), BEST (of `group`) or ANCESTOR (of the predicted
        leaf, at the rank of `group`).
      group: index of the group in the score space.
      row: the target row for GIVEN.
      against: NONE .. GIVEN_ROW.
      other: the opposing row for GIVEN_ROW.
      count: number of nearest rows, 0 for other targets.
      strength: float32, factor of the opposing score. `count` and `strength` are None
        if no target needs them, which gives a simpler program.
    """

    pick: np.ndarray
    group: np.ndarray
    row: np.ndarray
    against: np.ndarray
    other: np.ndarray
    count: np.ndarray | None = None
    strength: np.ndarray | None = None

    def take(self, images: np.ndarray) -> Codes:
        """The codes of the images with these indices."""
        return Codes(*(None if field is None else field[images] for field in self))


def expand(asked: Any, space: ScoreSpace) -> tuple[Target, ...]:
    """Normalizes targets to a tuple of Target, expanding paths.

    None is the predicted class. Integers of shape (B,) or (B, K) are labels of the
    finest head: one, or K, for each image. A Target or a sequence of Targets applies to
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
    """Converts a list or an array of any library to integer labels (B,) or (B, K).

    Raises:
      UserError: the values are no integers of such a shape, or look like one-hot or
        multi-hot vectors: rows of 0 and 1 with one column for each label.
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
    except (TypeError, ValueError) as error:  # e.g. rows of different lengths
        raise UserError(f"targets are no array of labels ({error})") from error


def encode(targets: Sequence[Target], space: ScoreSpace, batch: int) -> Codes:
    """Encodes targets as integers of shape (batch, len(targets)).

    Raises:
      UserError: a sequence of taxa does not have `batch` entries, a rank, taxon or
        label is unknown, or a contrast has no opponent.
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
    elif is_step and isinstance(target.taxon, np.ndarray):
        # The root is its own parent and only child, so its step is trivial.
        known = target.taxon != UNKNOWN
        taxa = np.where(known, target.taxon, 0)
        pick, row = GIVEN, np.where(known, _rows(taxa, target, space, score, batch), 0)
    else:
        pick, row = GIVEN, _rows(target.taxon, target, space, score, batch)
        _check_contrast(target, space, row, against, other)
    return full(pick), full(group), row, full(against), other


def _check_exclusive(target, score: str, space) -> None:
    """Raises UserError for targets that sum probabilities of independent labels."""
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
            + ("has no sibling to contrast" if alone else "is contrasted with itself")
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
